"""Every block of the provider page, byte for byte, on a machine whose `openclaw` is Portico, and what the page says of it."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest

from portico.testing.canary import in_text
from tests.e2e.page.blocks_of_the_page import BLOCKS, FOLDER, SUFFIXES, fences, files
from tests.e2e.terminal import ENTER, NO, SECOND
from tests.minimax_session import CN, GLOBAL

MODELS = ["minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning"]
KEY, MINIMAX, OPUS, LOCAL = "sk-...", "minimax/MiniMax-M2.1", "anthropic/claude-opus-4-6", "lmstudio/minimax-m2.1-gs32"
SIGN_IN, BY_KEY, FALLBACK, LM_STUDIO, LIST = (
    BLOCKS / name for name in ("1-sign-in.sh", "2-api-key.json5", "3-fallback.json5", "4-lm-studio.json5", "5-list.sh")
)
ANTHROPIC = {"ANTHROPIC_API_KEY": "sk-ant-emulated"}
PORT_WAIT_S = 30.0


@pytest.fixture
def desk(machine, minimax):
    """A machine pointed at an emulator with these knobs, whose config holds a block of the page and no other byte."""

    def begin(block, **knobs):
        session = minimax(redirect=False, knobs={"api-key": KEY, **knobs})
        machine.env |= session.run_portico.environment(session.env) | {"PATH": machine.env["PATH"]}
        machine.info = session.info
        shutil.copyfile(block, session.paths.config)
        return machine

    return begin


def asked(machine, *words, **env):
    """What `ask --json` told, and its stderr."""
    result = machine.type("ask", "--json", *words, "Are you there?", **env)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def listed(machine, **env):
    """The page's `openclaw models list`, as the block has it: the rows by model, cell by cell."""
    terminal = machine.open_terminal("bash", str(LIST), columns=200, **env)
    assert terminal.end() == 0
    rows = (re.split(r" {2,}", line.strip()) for line in terminal.text.splitlines()[2:])
    return {row[0]: row for row in rows if len(row) > 1}  # below them are notes


def test_each_block_is_a_file_of_its_own_to_the_byte():
    assert [(path.suffix, path.read_bytes()) for path in files()] == [(SUFFIXES[name], body) for name, body in fences()]
    assert len(files()) == len(FOLDER.joinpath("minimax.md").read_text(encoding="utf-8").split("```")) // 2


@pytest.mark.requirement("P2")
@pytest.mark.requirement("P12")
@pytest.mark.requirement("P15")
@pytest.mark.parametrize(
    ("region", "keys", "profile"),
    [("global", ENTER, GLOBAL), ("cn", SECOND, CN)],
)
def test_the_pages_three_commands_sign_in_and_the_model_answers(machine, region, keys, profile):
    with machine.emulator():
        assert machine.records() == []
        terminal = machine.open_terminal("bash", str(SIGN_IN))
        terminal.expect('Enabled plugin "minimax-portal-auth"')
        terminal.expect("No gateway is running.*openclaw gateway start")
        terminal.expect("Select MiniMax.*endpoint")
        terminal.expect(r"Global.*api\.minimax\.io")
        terminal.expect(r"CN.*api\.minimaxi\.com")
        terminal.press(keys)
        terminal.expect("Stay signed in")
        terminal.press(NO)
        terminal.expect("Next:")

        assert terminal.end() == 0
        assert re.search(r"enter the code\s+[A-Z]{4}-[A-Z]{4}", terminal.text)
        assert f"Signed in: {profile}" in terminal.text
        assert "API key" not in terminal.text
        (signed_in,) = json.loads(machine.type("auth", "list", "--json", "--verbose").stdout)["profiles"]
        assert (signed_in["id"], signed_in["region"], signed_in["store"]) == (profile, region, "keyring")
        assert machine.records() == [signed_in["user"]]
        assert [*listed(machine)] == MODELS
        assert "answering as MiniMax-M2.1" in machine.type("ask", "Are you there?").stdout
        lightning = machine.type("models", "set", MODELS[1])
        assert f"Default model: {MODELS[1]}" in lightning.stdout
        assert "answering as MiniMax-M2.1-lightning" in machine.type("ask", "And you?").stdout
        token = machine.type("auth", "token", keep=False).stdout
        assert in_text(token) == [token.strip()]

        assert machine.type("auth", "logout", "--yes").returncode == 0

        assert machine.records() == []
        assert machine.type("auth", "token").returncode == 3
        assert machine.type("ask", "Still there?").stderr.startswith("openclaw: You are not signed in to minimax-portal.\n")


@pytest.mark.requirement("P3")
@pytest.mark.requirement("P15")
def test_the_pages_block_with_a_key_is_a_config_that_answers_at_the_pages_url_and_price(desk):
    machine = desk(BY_KEY)

    reply, _ = asked(machine)

    assert reply["model"] == MINIMAX
    assert "answering as MiniMax-M2.1. You said: Are you there?" in reply["answer"]
    assert reply["cost"] == pytest.approx((reply["usage"]["input"] * 15 + reply["usage"]["output"] * 60) / 1e6)
    row = listed(machine)[MINIMAX]
    assert "200k" in row
    assert "default" in " ".join(row)
    result = machine.type("ask", "--no-fallback", "Hello", MINIMAX_API_KEY="sk-another-key")
    assert (result.returncode, "2049" in result.stderr or "invalid api key" in result.stderr) == (3, True)


@pytest.mark.requirement("P4")
@pytest.mark.requirement("P15")
def test_the_pages_fallback_answers_for_an_opus_without_a_key_or_overloaded_and_both_aliases_are_known(desk):
    machine = desk(FALLBACK, anthropic="overloaded")

    without_key, text = asked(machine)
    overloaded, reply = asked(machine, **ANTHROPIC)

    assert without_key["model"] == overloaded["model"] == MINIMAX
    assert f"{OPUS} is skipped: no credential for provider anthropic" in text
    assert f"{OPUS} (environment variable ANTHROPIC_API_KEY) did not answer" in reply
    assert asked(machine, "--model", "minimax")[0]["model"] == MINIMAX
    assert machine.type("ask", "--no-fallback", "--model", "opus", "Hello").stderr.startswith(f"Unknown model: {OPUS}\n")
    rows = listed(machine)
    assert [*rows] == [OPUS, MINIMAX]
    assert "fallback#1" in " ".join(rows[MINIMAX])


@pytest.mark.requirement("P4")
def test_while_the_pages_opus_answers_it_is_the_one_that_does(desk):
    reply, text = asked(desk(FALLBACK), **ANTHROPIC)

    assert (reply["model"], text) == (OPUS, "")


@pytest.mark.requirement("P5")
@pytest.mark.requirement("P15")
def test_the_pages_local_model_answers_from_lm_studios_own_port(desk):
    deadline = time.monotonic() + PORT_WAIT_S
    machine = desk(LM_STUDIO, lmstudio="1234")
    while not machine.info.loopback and time.monotonic() < deadline:
        time.sleep(0.5)  # something on this machine has the port; a run beside this one gives it back
        machine = desk(LM_STUDIO, lmstudio="1234")
    if not machine.info.loopback:
        pytest.skip("port 1234, which the page names, is another program's here")

    reply, text = asked(machine)

    assert (reply["model"], reply["cost"], text) == (LOCAL, 0, "")
    assert "answering as minimax-m2.1-gs32" in reply["answer"]
    assert asked(machine, "--model", "Minimax")[0]["model"] == LOCAL
    assert "alias:minimax" in " ".join(listed(machine)[LOCAL])


@pytest.mark.requirement("P14")
def test_a_wrong_case_gets_a_did_you_mean_in_the_users_own_command_name(machine):
    with machine.emulator():
        machine.type("plugins", "enable", "minimax-portal-auth")

        result = machine.type("models", "set", "minimax-portal/minimax-m2.1-LIGHTNING")

        assert result.returncode == 2
        assert "Did you mean minimax-portal/MiniMax-M2.1-lightning?" in result.stderr
        assert "openclaw" in machine.type("auth", "token").stderr
