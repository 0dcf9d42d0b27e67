"""Whatever a gateway waits for, it ends within 5 s of being asked to, and it has no port before it can answer."""

from __future__ import annotations

import contextlib
import json
import os
import plistlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from portico.gateway import control, shutdown
from portico.services import gateway_state
from portico.services.gateway_state import gateway_lock, read_state
from portico.services.managers import launchd_plist, systemd_unit
from portico.services.service import Service, ServiceCommands
from tests.free_port import free_port
from tests.gateway.fronts import with_key
from tests.gateway.hanging import BEFORE_IT_SERVES, HOLDS_THE_INTERPRETER, KEEP_FRESH, PLACES, hanging
from tests.minimax_session import in_this_process

pytestmark = [
    pytest.mark.requirement("E127"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]
SOON_S = 3.0
ENDED_BY = 128


@pytest.fixture
def impatient(monkeypatch):
    """`stop` waits half a second for what it has sent SIGTERM, in the place of 5."""
    monkeypatch.setattr("portico.gateway.control.TERM_S", 0.5, raising=False)
    monkeypatch.setattr("portico.services.gateway_state._PROBE_S", 0.2)


def is_free(port):
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.mark.requirement("E128")
@pytest.mark.parametrize("place", PLACES)
def test_sigterm_ends_it_in_time_whatever_it_waits_for_and_it_has_a_port_only_if_it_serves(gateway_paths, place):
    port = free_port()
    with hanging(PLACES[place], "gateway", "run", "--port", str(port), "--quiet") as process:
        assert is_free(port) == (place in BEFORE_IT_SERVES)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) in {0, ENDED_BY + signal.SIGTERM}
    assert not gateway_lock(gateway_paths).is_locked()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_a_closed_terminal_and_ctrl_c_end_it_too(gateway_paths, number):
    with hanging(PLACES[BEFORE_IT_SERVES[0]], "gateway", "run", "--port", "0") as process:
        process.send_signal(number)
        assert process.wait(SOON_S) == ENDED_BY + number


def test_started_by_nohup_it_does_not_end_with_its_terminal(gateway_paths):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hanging(PLACES[BEFORE_IT_SERVES[2]], "gateway", "run", "--port", "0") as process:
            process.send_signal(signal.SIGHUP)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.6)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SOON_S) == ENDED_BY + signal.SIGTERM
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("words", [(), ("--once",)])
def test_what_keeps_sign_ins_fresh_without_the_gateway_ends_as_soon(gateway_paths, words):
    with hanging(KEEP_FRESH, "auth", "keep-fresh", *words, "--quiet") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) in {0, ENDED_BY + signal.SIGTERM}


def test_all_of_it_fits_into_the_five_seconds():
    assert shutdown.DRAIN_S < shutdown.LONGEST_S < control.TERM_S <= 5


def test_a_service_manager_kills_no_gateway_that_still_waits_for_the_response_to_a_refresh():
    """The steps of that wait come on top: two for the last look before its end, and the cleanup."""
    longest_s = shutdown.LONGEST_S + shutdown.ANSWER_S + 2 * shutdown._BEAT_S + shutdown._CLEANUP_S + shutdown._LAST_WORDS_S
    service = Service("portico", "", ServiceCommands("", ""), ("portico",), {}, Path("portico.log"))
    systemd_s = int(re.search(r"^TimeoutStopSec=(\d+)$", systemd_unit(service), re.MULTILINE)[1])
    assert longest_s < plistlib.loads(launchd_plist(service))["ExitTimeOut"]
    assert longest_s < systemd_s


@pytest.mark.requirement("E128")
@pytest.mark.parametrize("place", [BEFORE_IT_SERVES[1], "a call on the event loop while it serves"])
def test_a_gateway_whose_state_folder_is_deleted_ends_even_while_it_hangs(gateway_paths, place):
    with hanging(PLACES[place], "gateway", "run", "--port", "0") as process:
        shutil.rmtree(gateway_paths.state)
        process.wait(SOON_S)
    assert not gateway_paths.state.exists()


# --- `gateway stop` --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [BEFORE_IT_SERVES[0], "a call on the event loop while it serves"])
def test_stop_ends_a_gateway_that_cannot_answer_the_challenge(gateway_paths, impatient, place):
    with hanging(PLACES[place], "gateway", "run", "--port", "0", "--quiet") as process:
        ended = control.stop(gateway_paths)
        assert ended.pid == process.pid
        process.wait(SOON_S)
    assert gateway_state.status(gateway_paths) == ("stopped", None)
    assert not gateway_paths.gateway.exists()


@pytest.mark.linux
def test_stop_kills_a_gateway_that_lets_no_other_code_run_and_says_so(gateway_paths, impatient):
    with hanging(HOLDS_THE_INTERPRETER, "gateway", "run", "--port", "0") as process:
        done = in_this_process(("gateway", "stop"), dict(os.environ))
        process.wait(SOON_S)
    assert done.returncode == 0, done.stderr
    assert f"(pid {process.pid}) did not stop within" in done.stdout
    assert "SIGKILL" in done.stdout


@pytest.mark.linux
def test_as_json_stop_says_whether_it_had_to_kill(gateway_paths, impatient):
    with hanging(HOLDS_THE_INTERPRETER, "gateway", "run", "--port", "0") as process:
        killed = json.loads(in_this_process(("gateway", "stop", "--json"), dict(os.environ)).stdout)
        process.wait(SOON_S)
    assert killed == {"stopped": True, "killed": True, "running": False, "pid": process.pid}


@pytest.mark.linux
def test_restart_brings_a_gateway_where_one_hung(gateway_paths, impatient):
    with hanging(HOLDS_THE_INTERPRETER, "gateway", "run", "--port", "0") as process:
        done = in_this_process(("gateway", "restart", "--port", "0", "--json"), dict(os.environ))
        process.wait(SOON_S)
    assert done.returncode == 0, done.stdout
    restarted = json.loads(done.stdout)
    assert (restarted["previousPid"], restarted["killed"]) == (process.pid, True)
    assert control.running(gateway_paths) is not None
    ended = json.loads(in_this_process(("gateway", "stop", "--json"), dict(os.environ)).stdout)
    assert (ended["stopped"], ended["killed"], ended["pid"]) == (True, False, restarted["pid"])


@pytest.mark.linux
def test_a_process_that_only_came_to_the_id_in_the_locks_file_is_not_ended(gateway_paths, impatient):
    with (
        hanging(PLACES[BEFORE_IT_SERVES[2]], "gateway", "run", "--port", "0"),
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as innocent,
    ):
        gateway_lock(gateway_paths).path.write_text(f"{innocent.pid}\n")
        done = in_this_process(("gateway", "stop", "--json"), dict(os.environ))
        assert (done.returncode, json.loads(done.stdout)["error"]["id"]) == (10, "gateway-unresponsive")
        assert innocent.poll() is None
        innocent.kill()


@pytest.mark.timeout(60)
def test_open_connections_of_every_kind_do_not_keep_it_five_seconds(gateway_paths):
    key = with_key(gateway_paths)
    state = control.start(gateway_paths, port=0)
    head = f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1:{state.port}\r\nx-api-key: {key}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n".encode()
    with contextlib.ExitStack() as connections:
        for sent in (b"", b"GE", head, head + b"{"):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", state.port)))
            connection.sendall(sent)
        began = time.monotonic()
        assert control.stop(gateway_paths).killed is False
        assert time.monotonic() - began < shutdown.DRAIN_S
    assert not gateway_lock(gateway_paths).is_locked()
    assert read_state(gateway_paths) is None


def test_a_lock_that_cannot_be_looked_at_just_now_is_looked_at_again(monkeypatch):
    class Released:
        """A lock that is released by another thread while this one asks for it."""

        looks = 0

        def is_valid(self):
            self.looks += 1
            raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(shutdown, "_CHECK_LOCK_EVERY_S", 0.01)
    watch, lock = shutdown.EndWatch(), Released()
    watch.guard(lock)
    deadline = time.monotonic() + SOON_S
    while lock.looks < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    watch.guard(None)

    assert lock.looks >= 3
    assert watch.received is None
