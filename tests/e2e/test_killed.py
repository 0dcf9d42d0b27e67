"""SIGKILL between the vault's commit and the config's edit: the next command finishes the sign-in."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from portico.store.profiles import ProfileIndex
from tests.minimax_session import GLOBAL, SIGN_IN

_KILLED = """
import os, signal, sys
from portico.accounts import config_patch
config_patch.write_config = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from portico.cli.main import main
sys.argv[0] = 'portico'
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.requirement("E41")
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("next_command", [("ask", "Still there?"), ("auth", "list"), ("models", "list")])
def test_the_next_command_finds_the_sign_in_whole_and_writes_its_config(minimax, next_command):
    session = minimax()
    words = (*SIGN_IN, "--region", "global", "--flow", "browser", *session.store)
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, *words],
        env=session.run_portico.environment(session.env),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    session.run_portico._save_output(killed, with_stdout=True)
    assert killed.returncode == -9
    assert ProfileIndex(session.paths).get(GLOBAL).config_pending is True
    assert "minimax-portal/" not in session.paths.config.read_text(encoding="utf-8")

    session.ok(*next_command)

    assert ProfileIndex(session.paths).get(GLOBAL).config_pending is False
    assert json.loads(session.ok("models", "list", "--json"))["models"][0]["tags"][0] == "default"
