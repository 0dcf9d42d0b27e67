from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from dataclasses import replace

import pytest

from portico.gateway.port import bind_port
from portico.secret import Secret
from portico.services.gateway_state import GatewayState, gateway_lock, read_state, remove_state, running, write_state
from tests.gateway.helpers import server_on

OURS = GatewayState(4711, 18444, 5, "abcd", Secret("00" * 32))


@pytest.fixture
def somebody_else():
    """A web server that answers every path with another gateway's state."""
    with server_on(0, json.dumps({**OURS.as_json(), "proof": "00" * 32}).encode()) as server:
        yield server


def test_the_note_is_private_and_comes_back_whole(paths):
    state = OURS
    write_state(paths, state)
    assert read_state(paths) == state
    assert stat.S_IMODE(paths.gateway.stat().st_mode) == 0o600
    remove_state(paths, replace(OURS, pid=2, instance="later"))
    assert read_state(paths) == state, "another gateway's note is left alone"
    remove_state(paths, state)
    assert read_state(paths) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"pid":"1","port":1,"startedAt":1,"instance":"a","key":"00"}',
        '{"pid":1,"port":70000,"startedAt":1,"instance":"a","key":"00"}',
        '{"pid":1,"port":1,"startedAt":1,"instance":"a"}',
        '{"pid":1,"port":1,"startedAt":1,"instance":"a","key":""}',
    ],
)
def test_a_note_that_makes_no_sense_is_no_gateway(paths, text):
    paths.state.mkdir(parents=True)
    paths.gateway.write_text(text)
    assert read_state(paths) is None
    assert running(paths) is None


@pytest.fixture
def lock_held(paths):
    """This process is the holder of the gateway's lock."""
    lock = gateway_lock(paths)
    assert lock.try_acquire()
    yield
    lock.release()


@pytest.mark.requirement("S9")
def test_another_program_on_the_port_is_not_taken_for_ours_and_gets_no_credential(paths, somebody_else, lock_held):
    write_state(paths, replace(OURS, pid=os.getpid(), port=somebody_else.server_port))
    assert running(paths) is None
    assert {name.lower() for name in somebody_else.seen[0]} == {"host", "connection"}


def test_nobody_is_asked_while_the_noted_process_does_not_hold_the_lock(paths, somebody_else, lock_held):
    write_state(paths, replace(OURS, pid=os.getppid(), port=somebody_else.server_port))
    assert running(paths) is None
    assert somebody_else.seen == []


def test_proxies_of_the_environment_are_not_asked(paths, somebody_else, lock_held, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{somebody_else.server_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{somebody_else.server_port}")
    with bind_port(0) as silent:
        port = silent.getsockname()[1]
    write_state(paths, replace(OURS, pid=os.getpid(), port=port))
    assert running(paths) is None
    assert somebody_else.seen == []


@pytest.mark.requirement("E120")
def test_a_program_on_its_port_that_answers_byte_by_byte_keeps_nobody_waiting(paths, lock_held, monkeypatch):
    monkeypatch.setattr("portico.services.gateway_state._PROBE_S", 0.2)
    ended = threading.Event()

    def drip():
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            while not ended.wait(0.05):
                connection.sendall(b"H")

    with bind_port(0) as listener:
        listener.setblocking(True)
        write_state(paths, replace(OURS, pid=os.getpid(), port=listener.getsockname()[1]))
        threading.Thread(target=drip, daemon=True).start()
        asking = threading.Thread(target=running, args=(paths,), daemon=True)
        asking.start()
        asking.join(5)
        ended.set()
        assert not asking.is_alive()
