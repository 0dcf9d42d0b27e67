"""Ctrl-C, at every phase of a sign-in: exit code 130, no socket, nothing half stored."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from portico.store.profiles import ProfileIndex
from portico.usage.history_file import HistoryFile
from tests.e2e.terminal import CTRL_C
from tests.minimax_session import GLOBAL, SIGN_IN

# Stops the world where the test wants to press Ctrl-C: told on stdout, released by the end of stdin, which follows the interrupt.
_PAUSED = """
import os, sys
from portico.{module} import {owner} as owner
original = getattr(owner, {name!r})
def paused(*args, **kwargs):
    setattr(owner, {name!r}, original)
    print('{{"event": "paused"}}', flush=True)
    os.read(0, 1)
    return original(*args, **kwargs)
setattr(owner, {name!r}, paused)
from portico.cli.main import main
sys.argv[0] = 'portico'
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def session(minimax):
    return minimax()


def start(session, *options, script=None, **env):
    command = [sys.executable, "-m", "portico"] if script is None else [sys.executable, "-c", script]
    return subprocess.Popen(
        [*command, *SIGN_IN, "--region", "global", "--json", *session.store, *options],
        env=session.run_portico.environment({**session.env, **env}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupt(process):
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert "Traceback" not in err
    return process.returncode, out


def nothing_is_stored(session):
    assert session.profiles() == []
    assert session.paths.config.read_bytes() == session.info.config.read_bytes()
    assert ProfileIndex(session.paths).view().leftovers == ()


def is_closed(url):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port)) != 0


@pytest.mark.requirement("E19")
def test_while_waiting_for_the_redirect_the_socket_goes_and_nothing_is_stored(session):
    process = start(session, "--flow", "browser", "--no-browser")
    redirect = json.loads(process.stdout.readline())["redirectUri"]
    assert not is_closed(redirect)

    code, out = interrupt(process)

    assert code == 130
    assert json.loads(out.splitlines()[-1])["error"]["exitCode"] == 130
    assert is_closed(redirect)
    nothing_is_stored(session)


@pytest.mark.requirement("E19")
def test_while_waiting_for_a_device_code(session):
    process = start(session, "--flow", "device", "--no-browser")
    assert json.loads(process.stdout.readline())["event"] == "device-code"

    assert interrupt(process)[0] == 130
    nothing_is_stored(session)


@pytest.mark.requirement("E19")
@pytest.mark.parametrize(
    ("module", "owner", "name"),
    [("store.vault", "Vault", "probe"), ("net.client", "HttpClient", "post_form")],
    ids=["before the browser", "during the exchange"],
)
def test_before_anything_is_stored(session, module, owner, name):
    script = _PAUSED.format(module=module, owner=owner, name=name)
    process = start(session, "--flow", "browser", script=script)
    while json.loads(process.stdout.readline())["event"] != "paused":
        continue

    assert interrupt(process)[0] == 130
    nothing_is_stored(session)


@pytest.mark.requirement("E19")
def test_during_the_commit_the_sign_in_is_kept_whole(session):
    script = _PAUSED.format(module="store.vault", owner="Vault", name="commit")
    process = start(session, "--flow", "browser", script=script)
    while json.loads(process.stdout.readline())["event"] != "paused":
        continue

    assert interrupt(process)[0] == 130
    profile = ProfileIndex(session.paths).get(GLOBAL)
    assert profile is not None
    assert profile.config_pending is False
    assert ProfileIndex(session.paths).view().leftovers == ()
    assert session.run("ask", "Hello?").returncode == 0


@pytest.mark.requirement("E19")
def test_at_the_prompt_of_a_terminal(machine):
    with machine.emulator():
        terminal = machine.sit_down("onboard", "--auth-choice", "minimax-portal")
        terminal.expect("Select MiniMax")
        terminal.press(CTRL_C)

        assert terminal.end() == 130
        assert "Traceback" not in terminal.text
        assert machine.records() == []


@pytest.mark.requirement("E19")
def test_in_a_terminal_while_the_browser_is_awaited(machine):
    with machine.emulator("--redirect"):
        terminal = machine.sit_down(
            "onboard", "--auth-choice", "minimax-portal", "--region", "global", "--no-browser", "--no-background"
        )
        url = terminal.expect(r"https://account\.minimax\.io/\S+")
        port = int(re.search(r"127\.0\.0\.1%3A(\d+)", url.replace("\n", ""))[1])
        terminal.press(CTRL_C)

        assert terminal.end() == 130
        assert is_closed(f"http://127.0.0.1:{port}/")
        assert machine.records() == []


@pytest.mark.requirement("E19")
def test_a_streaming_answer(session):
    session.sign_in("--region", "global")
    script = _PAUSED.format(module="models", owner="protocols", name="_usage")
    process = subprocess.Popen(
        [sys.executable, "-c", script, "ask", "Tell me a long story."],
        env=session.run_portico.environment(session.env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert "paused" in process.stdout.readline()

    assert interrupt(process)[0] == 130
    entries = HistoryFile(session.paths, pytest.fail).read(
        lambda history: history.execute("SELECT outcome FROM requests").fetchall()
    )
    assert entries == [("left",)]
