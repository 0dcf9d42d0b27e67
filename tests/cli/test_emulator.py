from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from portico.emulation.run import EmulatorState, write_state
from portico.terminal.output import shell_lines
from portico.testing.canary import canary
from tests.free_port import free_port
from tests.plugins.helpers import was_imported, write_plugin

Start = Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the emulator makes its throwaway folder, in place of the machine's own /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def start_emulator(run_portico, temporary: Path) -> Iterator[Start]:
    """Start `portico emulator run --json ...`, and give its process and what it says when it is ready."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "portico", "emulator", "run", "--json", *words],
            env=run_portico.environment({"TMPDIR": str(temporary)}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process, json.loads(process.stdout.readline())

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def is_gone_soon(pid: int) -> bool:
    """Whether a process that has been told to end is gone, reaped by whoever must, within five seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def end(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str]:
    process.send_signal(how)
    _, err = process.communicate(timeout=15)
    return process.returncode, err


def test_env_and_approve_say_that_none_is_running(run_portico) -> None:
    for words in (("env",), ("approve", "ABCD-EFGH")):
        done = run_portico("emulator", *words)
        assert done.returncode == 2
        assert "No emulator is running." in done.stderr
        assert "portico emulator run" in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_that_evaluates_env_notices_that_none_is_running(run_portico, shell) -> None:
    assert run_portico("emulator", "env", "--shell", shell).stdout == "false\n"
    assert run_portico("emulator", "env", "--shell", "json").stdout == ""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_shell_that_was_pointed_at_an_ended_one_is_told_and_finds_the_next(start_emulator, run_portico) -> None:
    first, ready = start_emulator()
    there = ready["env"]
    end(first, signal.SIGINT)

    listed = run_portico("auth", "list", env=there)
    assert listed.returncode == 9
    assert "The emulator that this shell uses has ended." in listed.stderr
    assert not Path(there["PORTICO_STATE_DIR"]).exists()
    assert run_portico("emulator", "env", env=there).stdout == "false\n"

    _, second = start_emulator()
    assert json.loads(run_portico("emulator", "env", "--json", env=there).stdout) == second["env"]
    done = run_portico("emulator", "run", env=there)
    assert (done.returncode, "already running" in done.stderr) == (10, True)


def test_wrong_settings_of_its_plugin_do_not_keep_it_from_running(start_emulator, paths) -> None:
    entry = {"enabled": True, "config": {"portals": {"globl": {}}}}
    paths.config.write_text(json.dumps({"plugins": {"entries": {"minimax-portal-auth": entry}}}))
    _, ready = start_emulator()
    assert "account.minimax.io" in ready["hosts"]


def test_where_the_user_switched_its_plugin_off_that_is_named(run_portico, paths) -> None:
    paths.config.write_text(json.dumps({"plugins": {"entries": {"minimax-portal-auth": {"enabled": False}}}}))
    done = run_portico("emulator", "run")
    assert done.returncode == 6
    assert "minimax-portal-auth: disabled in config" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_told_to_end_and_leaves_nothing(start_emulator, run_portico, temporary: Path, paths, how) -> None:
    process, ready = start_emulator()
    assert ready["event"] == "ready"
    assert "account.minimax.io" in ready["hosts"]
    assert paths.emulator.exists()
    assert any(temporary.iterdir())
    assert end(process, how) == (0, "The emulator stopped, and deleted everything that it made.\n")
    assert not list(temporary.iterdir())
    assert not paths.emulator.exists()
    assert "No emulator is running." in run_portico("emulator", "env").stderr


def test_a_second_one_is_refused_and_the_first_is_named(start_emulator, run_portico) -> None:
    process, _ = start_emulator()
    done = run_portico("emulator", "run")
    assert done.returncode == 10
    assert "already" in done.stderr
    assert str(process.pid) in done.stderr


@pytest.mark.linux
@pytest.mark.requirement("E118")
def test_approve_starts_its_helper_without_the_stores_passphrase_and_without_the_code_in_its_arguments(
    portico_run, paths
) -> None:
    secret, seen, arguments = canary("passphrase"), [], []

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            helper = own_approver()
            seen.extend((helper / "environ").read_text().split("\0"))
            arguments.extend((helper / "cmdline").read_text().split("\0"))
            self.send_error(404)

        def log_message(self, *_words: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Page) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{page.server_port}"
        write_state(EmulatorState(address, {"NO_PROXY": "127.0.0.1"}, [f"{address}/{{code}}"]), paths.emulator)
        portico_run("emulator", "approve", "ABCD-EFGH", env={"PORTICO_PASSPHRASE": secret})
        page.shutdown()
    assert any(each.startswith("NO_PROXY=127.0.0.1") for each in seen)
    assert not any(secret in each for each in seen)
    assert arguments
    assert not any("ABCD-EFGH" in each for each in arguments)


def own_approver() -> Path:
    """The folder in /proc of the approver that a command of this test has started."""

    def parent(process: Path) -> Path:
        status = (process / "status").read_text()
        return Path("/proc", next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])

    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_text().split("\0")
            if any(word.endswith("approver.py") for word in words) and parent(parent(process)).name == str(os.getpid()):
                return process
    raise AssertionError("there is none")


def test_env_prints_what_points_a_shell_at_it(start_emulator, run_portico) -> None:
    _, ready = start_emulator()
    as_json = json.loads(run_portico("emulator", "env", "--shell", "json").stdout)
    assert as_json == ready["env"]
    lines = run_portico("emulator", "env", "--shell", "bash").stdout.splitlines()
    said = dict(shlex.split(line)[1].split("=", 1) for line in lines)
    assert said == ready["env"]
    # A shell that is pointed at it has another state folder.
    assert json.loads(run_portico("emulator", "env", "--json", env=ready["env"]).stdout) == ready["env"]


def test_approve_finds_a_waiting_code(start_emulator, run_portico) -> None:
    import ssl
    import urllib.request

    from minimax_portal_auth.portals import OPENCLAW_CLIENT

    _, ready = start_emulator("--access-ttl", "30")
    context = ssl.create_default_context(cafile=ready["env"]["SSL_CERT_FILE"])
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": ready["proxyUrl"]}), urllib.request.HTTPSHandler(context=context)
    )

    def post(path: str, form: str) -> dict[str, Any]:
        with opener.open(f"https://account.minimaxi.com/oauth2/{path}", data=form.encode(), timeout=10) as reply:
            return json.load(reply)

    code = post("device/code", f"client_id={OPENCLAW_CLIENT}&scope=x&state=s")["user_code"]
    poll = f"grant_type=urn:ietf:params:oauth:grant-type:user_code&client_id={OPENCLAW_CLIENT}&user_code={code}"
    assert post("token", poll) == {"status": "pending"}
    done = run_portico("emulator", "approve", code.lower())
    assert (done.returncode, done.stderr) == (0, "Approved.\n")
    assert post("token", poll)["status"] == "success"
    unknown = run_portico("emulator", "approve", "ZZZZ-ZZZZ")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("portico: No sign-in waits for the code ZZZZ-ZZZZ.\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--knob", "expirey=s"), "Did you mean expiry?"),
        (("--knob", "notice"), "NAME=VALUE"),
        (("--access-ttl", "0"), "above 0"),
        (("--access-ttl", "soon"), "above 0"),
    ],
)
def test_what_cannot_be_turned_is_told_before_anything_starts(run_portico, temporary: Path, words, says: str) -> None:
    done = run_portico("emulator", "run", *words, env={"TMPDIR": str(temporary)})
    assert done.returncode == 2
    assert says in done.stderr
    assert not list(temporary.iterdir())


def test_fish_gets_its_own_quoting() -> None:
    assert shell_lines({"A": r"it's \ here"}, "fish") == [r"set -gx A 'it\'s \\ here'"]


def test_running_it_enables_no_plugin(start_emulator, paths) -> None:
    start_emulator()
    assert not paths.config.exists()


def test_it_imports_no_plugin_that_the_user_switched_off(start_emulator, run_portico, paths, tmp_path: Path) -> None:
    folder = write_plugin(tmp_path / "plugins", "acme-auth", emulators=["acme"])
    plugins = {"load": {"paths": [str(folder)]}, "entries": {"acme-auth": {"enabled": False}}}
    paths.config.write_text(json.dumps({"plugins": plugins}))
    _, ready = start_emulator()
    assert "account.minimax.io" in ready["hosts"]
    assert not was_imported(folder)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_its_end_takes_keyring_records_and_the_background_process_with_it(start_emulator, portico_run, secret_service) -> None:
    process, ready = start_emulator("--redirect")
    there = ready["env"]
    port = portico_run("config", "set", "gateway.port", str(free_port()), env=there)
    assert port.returncode == 0, port.stderr
    words = ("--auth-choice", "minimax-portal", "--non-interactive", "--background", "--region", "cn", "--flow", "browser")
    done = portico_run("onboard", *words, env=there)
    assert done.returncode == 0, done.stderr
    assert len(secret_service.items()) == 2, "the token, and the key of the gateway"
    status = json.loads(portico_run("gateway", "status", "--json", env=there).stdout)
    code, _ = end(process, signal.SIGINT)
    assert code == 0
    assert secret_service.items() == []
    assert is_gone_soon(status["pid"])
