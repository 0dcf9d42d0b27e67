"""The browser that approves in a test run: it ends with the run, and whatever fails in it is reported."""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import time

import pytest

from tests.approving_browser import approving_browser
from tests.source_tree import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no FIFOs")

RUN = """
import sys, time
from pathlib import Path
from tests.approving_browser import approving_browser
with approving_browser(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""
SOON_S = 10.0


def open_address(browser, url):
    subprocess.run([*shlex.split(browser.value())[:-1], url], timeout=SOON_S, check=True)


def wait_for(condition):
    deadline = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_ends_with_a_run_that_is_killed(tmp_path):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    with subprocess.Popen([sys.executable, "-c", RUN, tmp_path], env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "ready\n"
        run.kill()
        # Its standard output is the browser's too, and ends with the last of both.
        assert select.select([run.stdout], [], [], SOON_S)[0]
        assert run.stdout.read() == ""


def test_once_it_has_ended_no_sign_in_waits_for_it_and_the_run_fails(tmp_path):
    with pytest.raises(AssertionError, match="has ended with code -9"), approving_browser(tmp_path) as browser:
        program = shlex.split(browser.value())[0]
        browser.process.send_signal(signal.SIGKILL)
        browser.process.wait(SOON_S)
        subprocess.run([program, "http://127.0.0.1:9/"], timeout=SOON_S, check=True)
        with pytest.raises(AssertionError, match="has ended with code -9"):
            browser.value()


def test_a_failed_approval_is_reported_with_its_exit_code(tmp_path, capfd):
    reported = ""

    def has_reported():
        nonlocal reported
        reported += capfd.readouterr().err
        return "exit code" in reported

    with approving_browser(tmp_path) as browser:
        open_address(browser, "http://127.0.0.1:9/")
        wait_for(has_reported)
    assert "127.0.0.1:9" in reported
    assert "the browser that approves: exit code 1" in reported
