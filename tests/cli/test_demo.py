"""`demo`: the transcript names what happened, and nothing is left of it, however it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portico.cli.demo import window
from portico.testing.secret_service import missing_part

PROVIDER_HOSTS = "account.minimax.io"


@pytest.fixture
def desk(paths, portico_run, request, tmp_path, monkeypatch, hostile_folder):
    """A user's environment whose temporary files and keyring can be looked at afterwards, in a folder full of hostile modules."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    service = request.getfixturevalue("secret_service") if missing_part() is None else None

    def left():
        pids = {each.name for each in Path("/proc").iterdir() if each.name.isdigit()} - {str(os.getpid())}
        processes = [pid for pid in pids if str(folder).encode() in _environ(pid)]
        records = [item.attributes for item in service.items()] if service is not None else []
        return [*processes, *folder.iterdir(), *records]

    return portico_run, left


def _environ(pid):
    try:
        return b"".join(Path("/proc", pid, name).read_bytes() for name in ("environ", "cmdline"))
    except OSError:
        return b""


@pytest.mark.requirement("P2")
@pytest.mark.requirement("E117")
def test_the_whole_sign_in_is_played_and_nothing_is_left(desk):
    portico, left = desk

    done = portico("demo", timeout=60)

    assert done.returncode == 0, done.stderr
    for said in (
        PROVIDER_HOSTS,
        "portico onboard --auth-choice minimax-portal --region global --flow browser",
        "waited for the redirect at http://127.0.0.1:",
        "Redirect received",
        "service portico, user minimax-portal:default#",
        "Refreshed in the background: generation",
        "models of the account: minimax-portal/MiniMax-M2.1",
        "answering as MiniMax-M2.1",
        "revoked at the provider, deleted here",
    ):
        assert said in done.stdout
    assert re.match(r"\[ +\d+\.\d s\] ", done.stdout)
    assert left() == []


@pytest.mark.requirement("E19")
@pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them")
@pytest.mark.parametrize(
    ("after", "sign"),
    [("$ portico onboard", signal.SIGINT), pytest.param("Signed in as", signal.SIGTERM, marks=pytest.mark.slow)],
)
def test_interrupted_it_leaves_nothing_either(desk, after, sign):
    portico, left = desk
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "portico", "demo", "--flow", "device", "--region", "cn"],
        env=portico.environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while after not in process.stdout.readline():
        assert process.poll() is None

    process.send_signal(sign)
    process.communicate(timeout=60)

    assert process.returncode == (130 if sign == signal.SIGINT else 143)
    assert left() == []


@pytest.mark.slow
def test_as_json_each_step_is_one_event(desk):
    portico, _ = desk

    done = portico("demo", "--flow", "device", "--json", timeout=60)

    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events} == {"step", "detail"}
    assert events[-1]["text"].startswith("Done.")


def test_kept_it_names_what_is_wrong_in_the_users_configuration(desk, paths):
    portico, _ = desk
    paths.config.write_text("{ gateway: { prot: 1 } }")

    done = portico("demo", "--keep")

    assert done.returncode == 9
    assert f"{paths.config}:1:14" in done.stderr


def test_kept_it_prints_three_commands_that_work_and_ends_with_its_emulator(desk):
    portico, left = desk

    done = portico("demo", "--keep", timeout=60)

    assert done.returncode == 0, done.stderr
    pid = int(re.search(r"kill (\d+)", done.stdout)[1])
    try:
        again = portico("demo", "--keep", timeout=60)
        assert (again.returncode, "already running" in again.stderr) == (10, True)
        first, second, third = (line.strip() for line in done.stdout.splitlines()[-4:-1])
        script = f"set -e\n{first}\n{second}\n{third}".replace("portico ", f"{sys.executable} -P -m portico ")
        shell = subprocess.run(
            ["sh", "-c", script], env=portico.environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert shell.returncode == 0, shell.stderr
        assert "minimax-portal:default" in shell.stdout
        assert "What can you do?" in shell.stdout
    finally:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 30
    while Path("/proc", str(pid), "cmdline").exists() and Path("/proc", str(pid), "cmdline").read_bytes():
        assert time.monotonic() < deadline
    assert left() == []


def test_with_a_screen_a_throwaway_chromium_is_pointed_at_the_emulator_alone(tmp_path, monkeypatch):
    if os.name != "posix" or sys.platform == "darwin":
        pytest.skip("the Linux way of finding a browser")
    from portico.emulation.connect_proxy import make_authority

    make_authority(tmp_path, ["account.minimax.io"])
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "chromium"
    fake.write_text(f'#!{shutil.which("sh")}\nprintf "%s\\n" "$@" > {tmp_path}/args\n')
    fake.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    env = {"DISPLAY": ":0", "PATH": str(tmp_path / "bin")}

    browser = window(env, tmp_path, proxy_url="http://127.0.0.1:9", ca_file=tmp_path / "ca.pem")
    subprocess.run([browser, "https://account.minimax.io/x?y=$(z)"], check=True)

    args = (tmp_path / "args").read_text().splitlines()
    assert args[-1] == "https://account.minimax.io/x?y=$(z)"
    assert "--proxy-server=http://127.0.0.1:9" in args
    assert f"--user-data-dir={tmp_path / 'browser'}" in args
    assert (tmp_path / "browser.pid").read_text().strip().isdigit()
    assert window({"PATH": env["PATH"]}, tmp_path, proxy_url="", ca_file=tmp_path / "ca.pem") is None
    assert window({**env, "SSH_CONNECTION": "x"}, tmp_path, proxy_url="", ca_file=tmp_path / "ca.pem") is None


def test_its_help_says_that_the_redirect_is_the_emulators_own(portico_run):
    shown = portico_run("demo", "--help").stdout

    assert "Only the emulator offers the browser flow" in shown
