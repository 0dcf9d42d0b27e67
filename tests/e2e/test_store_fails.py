"""A store that fails after the user has approved: the sign-in is not lost, and no live token is left with nobody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from portico.paths import resolve_paths
from tests.e2e.terminal import ENTER
from tests.minimax_session import GLOBAL, SIGN_IN, sealed_store


def break_sealed_store(paths):
    """A file where the store's folder was: no write can succeed there, whoever runs it."""
    shutil.rmtree(paths.encrypted_records)
    paths.encrypted_records.write_text("in the way")


@pytest.mark.requirement("E37")
def test_at_a_terminal_the_other_store_is_offered_and_takes_the_tokens(machine):
    machine.env |= sealed_store()
    with machine.emulator():
        words = ("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--no-background", "--no-browser")
        terminal = machine.sit_down(*words, "--store", "file")
        code = terminal.expect(r"[A-Z]{4}-[A-Z]{4}")
        break_sealed_store(resolve_paths(env=machine.env))
        assert machine.type("emulator", "approve", code).returncode == 0
        terminal.expect("still in memory")
        terminal.expect("Where do you want to store the tokens")
        terminal.press(ENTER)
        terminal.expect(f"Signed in: {GLOBAL}")

        assert terminal.end() == 0
        assert len(machine.records()) == 1
        assert "answering as MiniMax-M2.1" in machine.type("ask", "Saved?").stdout


@pytest.mark.requirement("E37")
def test_with_nobody_to_ask_the_sign_in_is_revoked_again_and_says_so(minimax):
    session = minimax(redirect=False)
    process = subprocess.Popen(
        [sys.executable, "-m", "portico", *SIGN_IN, "--region", "global", "--no-browser", "--store", "file", "--json"],
        env=session.run_portico.environment({**session.env, **sealed_store()}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    device = json.loads(process.stdout.readline())
    break_sealed_store(session.paths)
    approved = subprocess.run(
        [*session.env["BROWSER"].replace("%s", device["verificationUri"]).split()],
        env=session.run_portico.environment(session.env),
        check=False,
    )
    assert approved.returncode == 0

    out, err = process.communicate(timeout=30)
    ended = subprocess.CompletedProcess(process.args, process.returncode, out, err)
    session.run_portico._save_output(ended, with_stdout=True)

    error = json.loads(out.splitlines()[-1])["error"]
    assert process.returncode == 7
    assert re.search("the new tokens were revoked", error["message"])
    assert error["hint"]
    assert session.profiles() == []
