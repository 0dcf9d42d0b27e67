"""The background process: a token is replaced in the keyring while no command runs, and no secret shows on the way."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from portico.paths import STATE_ENV, resolve_paths
from portico.store.profiles import ProfileIndex
from portico.testing.canary import in_text
from tests.e2e.terminal import YES
from tests.minimax_session import GLOBAL


def processes_of(state):
    """Arguments and environment of every process that uses this state folder."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            environ = (folder / "environ").read_bytes().decode(errors="replace")
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"{STATE_ENV}={state}\0" in environ:
            yield arguments + environ


@pytest.mark.requirement("P16")
@pytest.mark.requirement("S5")
def test_a_token_is_refreshed_while_no_command_is_run_and_shows_in_no_process(machine, unused_tcp_port):
    with machine.emulator("--redirect", "--access-ttl", "3"):
        assert machine.type("config", "set", "gateway.port", str(unused_tcp_port)).returncode == 0
        result = machine.type(
            *("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--non-interactive", "--background")
        )
        assert result.returncode == 0
        assert "refreshes the tokens until this machine restarts" in result.stderr
        state = machine.env[STATE_ENV]
        index = ProfileIndex(resolve_paths(env=machine.env))
        first = index.get(GLOBAL)

        deadline = time.monotonic() + 20
        while index.get(GLOBAL).generation == first.generation:
            assert time.monotonic() < deadline, "the token was never refreshed"
        running = list(processes_of(state))

        assert len(running) == 1
        assert in_text("".join(running)) == []
        assert index.get(GLOBAL).expires_at > first.expires_at
        assert machine.type("gateway", "stop").returncode == 0
        assert list(processes_of(state)) == []
        users = {user.partition("@")[0] for user in machine.records()}
        assert users == {f"{GLOBAL}#{index.get(GLOBAL).slot}", "gateway:default#a"}


def test_the_prompt_for_the_background_process_starts_it(machine, unused_tcp_port):
    with machine.emulator("--redirect"):
        machine.type("config", "set", "gateway.port", str(unused_tcp_port))
        terminal = machine.sit_down("onboard", "--auth-choice", "minimax-portal", "--region", "cn")
        terminal.expect("Stay signed in")
        terminal.press(YES)
        terminal.expect("until this machine restarts")

        assert terminal.end() == 0
        assert "running" in machine.type("gateway", "status").stdout.lower()
        assert machine.type("gateway", "stop").returncode == 0
