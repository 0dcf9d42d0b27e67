"""The provider page's commands, typed as they stand, against the emulator: device code, Global and CN."""

from __future__ import annotations

import json
import re

import pytest

from portico.testing.canary import in_text
from tests.e2e.terminal import ENTER, NO, SECOND
from tests.minimax_session import CN, GLOBAL

MODELS = ["minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning"]


def onboard(machine, keys, *, stay=NO):
    terminal = machine.sit_down("onboard", "--auth-choice", "minimax-portal")
    terminal.expect("Select MiniMax.*endpoint")
    terminal.expect("api.minimax.io")
    terminal.expect("api.minimaxi.com")
    terminal.press(keys)
    terminal.expect("Stay signed in")
    terminal.press(stay)
    terminal.expect("Next:")
    assert terminal.end() == 0
    return terminal.text


@pytest.mark.requirement("P2")
@pytest.mark.requirement("P12")
@pytest.mark.parametrize(("region", "keys", "profile"), [("global", ENTER, GLOBAL), ("cn", SECOND, CN)])
def test_the_pages_three_commands_sign_in_and_the_model_answers(machine, region, keys, profile):
    with machine.emulator():
        enabled = machine.type("plugins", "enable", "minimax-portal-auth")
        assert (enabled.returncode, enabled.stdout.splitlines()[0]) == (0, 'Enabled plugin "minimax-portal-auth".')
        restarted = machine.type("gateway", "restart")
        assert restarted.returncode == 0
        assert "openclaw gateway start" in restarted.stdout + restarted.stderr
        assert machine.records() == []

        shown = onboard(machine, keys)

        assert re.search(r"enter the code\s+[A-Z]{4}-[A-Z]{4}", shown)
        assert f"Signed in: {profile}" in shown
        assert "minimax-portal/MiniMax-M2.1" in shown
        listed = json.loads(machine.type("auth", "list", "--json", "--verbose").stdout)["profiles"]
        assert [(each["id"], each["region"], each["store"]) for each in listed] == [(profile, region, "keyring")]
        assert machine.records() == [listed[0]["user"]]
        assert machine.type("models", "list", "--plain").stdout.split() == MODELS
        assert "answering as MiniMax-M2.1" in machine.type("ask", "Are you there?").stdout
        lightning = machine.type("models", "set", MODELS[1])
        assert f"Default model: {MODELS[1]}" in lightning.stdout
        assert "answering as MiniMax-M2.1-lightning" in machine.type("ask", "And you?").stdout
        token = machine.type("auth", "token", keep=False).stdout
        assert in_text(token) == [token.strip()]

        assert machine.type("auth", "logout", "--yes").returncode == 0

        assert machine.records() == []
        assert machine.type("auth", "token").returncode == 3
        assert machine.type("ask", "Still there?").stderr.startswith(f"Unknown model: {MODELS[1]}\n")


@pytest.mark.requirement("P14")
def test_a_wrong_case_gets_a_did_you_mean_in_the_users_own_command_name(machine):
    with machine.emulator():
        machine.type("plugins", "enable", "minimax-portal-auth")

        done = machine.type("models", "set", "minimax-portal/minimax-m2.1-LIGHTNING")

        assert done.returncode == 2
        assert "Did you mean minimax-portal/MiniMax-M2.1-lightning?" in done.stderr
        assert "openclaw" in machine.type("auth", "token").stderr
