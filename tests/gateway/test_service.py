"""The life of a gateway process, with real processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from portico.errors import ConfigError, LockBusy, StoreError
from portico.gateway import control
from portico.gateway.shutdown import PinnedProcess
from portico.secret import Secret
from portico.services import gateway_state
from portico.services.gateway_state import gateway_lock, write_state
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer, Fault, Gate, serve
from portico.testing.canary import canary, in_text
from portico.util.clock import SystemClock
from tests.auth.helpers import PROFILE, OffLoop, a_profile, until
from tests.gateway.helpers import body_of, get, server_on, status_of, talk, wait_until

pytestmark = pytest.mark.requirement("S9")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_started_it_answers_and_stopped_it_is_gone(gateway_paths):
    state = control.start(gateway_paths, port=0)
    assert control.running(gateway_paths) == state
    assert alive(state.pid)
    assert gateway_state.status(gateway_paths) == ("running", state)
    assert os.getsid(state.pid) != os.getsid(0), "it does not go with this terminal"
    assert control.stop(gateway_paths) == control.StoppedGateway(state.pid, state)
    assert not alive(state.pid)
    assert not gateway_paths.gateway.exists()
    assert gateway_state.status(gateway_paths) == ("stopped", None)


LETS_GO_AND_STAYS = """
import signal, sys, threading, time
from pathlib import Path
from portico.util.lock import FileLock
lock, asked = FileLock(Path(sys.argv[1])), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: asked.set())
lock.acquire()
print(flush=True)
asked.wait()
lock.release()
time.sleep(60)
"""


@pytest.mark.requirement("E127")
def test_stopping_does_not_wait_for_a_child_that_stays_for_the_answer_to_a_refresh(gateway_paths):
    words = [sys.executable, "-c", LETS_GO_AND_STAYS, str(gateway_lock(gateway_paths).path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"\n"
            stopping = threading.Thread(target=control.stop, args=(gateway_paths,), daemon=True)
            stopping.start()
            stopping.join(10)
            assert not stopping.is_alive()
            assert child.poll() is None
        finally:
            child.kill()


def test_stopping_and_restarting_nothing_is_said_so(gateway_paths):
    assert control.stop(gateway_paths) is None
    assert control.restart(gateway_paths, port=0) is None
    assert control.running(gateway_paths) is None


def test_a_restart_is_another_process(gateway_paths):
    first = control.start(gateway_paths, port=0)
    old, new = control.restart(gateway_paths, port=0)
    assert old.state == first
    assert new.instance != first.instance
    assert control.running(gateway_paths) == new
    assert not alive(old.pid)


def test_a_second_gateway_is_refused_by_name(gateway_paths):
    state = control.start(gateway_paths, port=0)
    with pytest.raises(LockBusy) as raised:
        control.start(gateway_paths, port=0)
    assert raised.value.id == "gateway-running"
    assert str(state.pid) in raised.value.why
    assert control.running(gateway_paths) == state


def test_looking_at_the_gateway_does_not_keep_one_from_starting(gateway_paths):
    gateway_paths.locks.mkdir(parents=True)
    with gateway_lock(gateway_paths).path.open("w") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert gateway_state.status(gateway_paths) == ("stopped", None), "two that look do not see each other"
        gone = threading.Timer(0.4, looked_at.close)
        gone.start()
        state = control.start(gateway_paths, port=0)
        gone.join()
    assert control.running(gateway_paths) == state


def test_a_taken_port_is_refused_and_its_owner_is_sent_nothing(gateway_paths):
    with socket.create_server(("127.0.0.1", 0)) as owner:
        with pytest.raises(ConfigError) as raised:
            control.start(gateway_paths, port=owner.getsockname()[1])
        assert raised.value.id == "port-taken"
        owner.settimeout(0.1)
        with pytest.raises(TimeoutError):
            owner.accept()
    assert not gateway_paths.gateway.exists()


def test_a_gateway_that_was_killed_is_not_running_and_another_can_start(gateway_paths):
    first = control.start(gateway_paths, port=0)
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    assert gateway_paths.gateway.exists()
    assert gateway_state.status(gateway_paths) == ("stopped", None)
    assert control.stop(gateway_paths) is None
    assert not gateway_paths.gateway.exists(), "the stale note is gone"
    assert control.start(gateway_paths, port=0) != first


@pytest.fixture
def innocent():
    """A process that has nothing to do with a gateway."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def killed_gateway(paths):
    """The note of a gateway that was killed, and what it told everybody while it lived."""
    state = control.start(paths, port=0)
    reply = body_of(get(state.port))
    os.kill(state.pid, signal.SIGKILL)
    os.waitpid(state.pid, 0)
    return state, reply


def test_a_program_that_repeats_what_a_dead_gateway_told_is_not_taken_for_it(gateway_paths):
    state, reply = killed_gateway(gateway_paths)
    with server_on(state.port, reply):
        assert gateway_state.status(gateway_paths) == ("stopped", None)
        assert control.start(gateway_paths, port=0).port != state.port


def test_a_process_that_came_to_a_dead_gateways_id_is_not_signalled_whatever_answers(gateway_paths, innocent):
    state, reply = killed_gateway(gateway_paths)
    write_state(gateway_paths, replace(state, pid=innocent.pid))
    with server_on(state.port, json.dumps({**json.loads(reply), "pid": innocent.pid}).encode()):
        assert control.stop(gateway_paths) is None
    assert innocent.poll() is None


@pytest.mark.requirement("E127")
def test_a_process_that_only_has_the_noted_id_is_not_signalled_while_another_is_the_gateway(gateway_paths, innocent):
    state = control.start(gateway_paths, port=0)
    write_state(gateway_paths, replace(state, pid=innocent.pid))
    assert control.stop(gateway_paths) == control.StoppedGateway(state.pid, None)
    assert innocent.poll() is None


def test_a_process_that_is_not_ours_any_more_when_it_is_pinned_is_not_signalled(innocent):
    is_ours = False
    with contextlib.closing(PinnedProcess(innocent.pid, lambda: is_ours)) as process:
        assert not process.send(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            innocent.wait(0.1)
        is_ours = True
        assert process.send(signal.SIGTERM)
        assert innocent.wait(10) == -signal.SIGTERM
        assert not process.send(signal.SIGTERM)  # it has ended


@pytest.mark.requirement("E127")
def test_a_gateway_that_does_not_answer_is_unresponsive_and_killed_only_by_stop(gateway_paths, monkeypatch):
    monkeypatch.setattr("portico.services.gateway_state._PROBE_S", 0.2)
    monkeypatch.setattr("portico.gateway.control.TERM_S", 0.3)
    state = control.start(gateway_paths, port=0)
    os.kill(state.pid, signal.SIGSTOP)
    assert gateway_state.status(gateway_paths) == ("unresponsive", None)
    assert control.stop(gateway_paths) == control.StoppedGateway(state.pid, state, killed=True)
    assert gateway_state.status(gateway_paths) == ("stopped", None)


@pytest.mark.requirement("E127")
def test_where_the_system_shows_no_open_files_one_that_does_not_answer_is_named_and_left(gateway_paths, monkeypatch):
    monkeypatch.setattr("portico.services.gateway_state._PROBE_S", 0.2)
    state = control.start(gateway_paths, port=0)
    os.kill(state.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patched, pytest.raises(LockBusy, match=str(state.pid)) as raised:
            patched.setattr("portico.gateway.control.has_open", lambda _pid, _path: None)
            control.stop(gateway_paths)
        assert raised.value.id == "gateway-unresponsive"
    finally:
        os.kill(state.pid, signal.SIGCONT)
    wait_until(lambda: control.running(gateway_paths) is not None)


def test_a_gateway_that_cannot_start_says_why(gateway_paths):
    gateway_paths.config.write_text("{ gateway: { port: 'many' } }")
    with pytest.raises(ConfigError) as raised:
        control.start(gateway_paths, port=0)
    assert raised.value.id == "gateway-failed"
    assert "portico.json5" in raised.value.why


def test_nothing_that_is_sent_to_it_gets_into_its_log(gateway_paths):
    state = control.start(gateway_paths, port=0)
    before = gateway_paths.gateway_log.read_bytes()
    for rubbish in (b"GET /" + b"A" * 20_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nAuthorization Bearer A\r\n\r\n"):
        assert status_of(talk(state.port, rubbish)) == 400
    control.stop(gateway_paths)
    text = gateway_paths.gateway_log.read_bytes().removeprefix(before)
    assert text.endswith(b"ending\n")
    assert text.count(b"\n") == 1


def test_half_open_connections_do_not_take_it_down(gateway_paths):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # the least that systems give: macOS
    try:
        state = control.start(gateway_paths, port=0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with contextlib.ExitStack() as connections:
        for _ in range(400):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", state.port)))
            connection.sendall(b"G")
        assert control.running(gateway_paths) == state
        control.stop(gateway_paths)
    assert "Too many open files" not in gateway_paths.gateway_log.read_text()


def use_file_store(paths, passphrase):
    vault = Vault(paths, ProfileIndex(paths), store="file", passphrase=passphrase)
    vault.probe()
    return vault


def test_the_passphrase_goes_through_a_pipe_and_nowhere_else(gateway_paths, monkeypatch):
    secret = canary("passphrase")
    environment = {**os.environ, "PORTICO_PASSPHRASE": secret, "PORTICO_PASSPHRASE_FILE": ""}
    use_file_store(gateway_paths, PassphraseSource(environment))
    state = control.start(gateway_paths, port=0, env=environment)
    process = Path(f"/proc/{state.pid}")
    if process.exists():
        environ = (process / "environ").read_bytes().decode()
        arguments = (process / "cmdline").read_bytes().decode()
        assert in_text(environ + arguments) == []
        assert "PORTICO_PASSPHRASE=" not in environ
        assert "--passphrase-stdin" in arguments
    assert stat.S_IMODE(gateway_paths.gateway_log.stat().st_mode) == 0o600


def test_without_the_passphrase_it_needs_it_is_not_started(gateway_paths):
    use_file_store(gateway_paths, PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")}))
    with pytest.raises(StoreError) as raised:
        control.start(gateway_paths, port=0)
    assert raised.value.id == "passphrase-needed"


@pytest.fixture
async def signed_in(gateway_paths):
    """A sign-in in the file store whose token is due, and the environment to start a gateway with."""
    environment = {**os.environ, "PORTICO_PASSPHRASE": canary("passphrase")}
    vault = OffLoop(Vault(gateway_paths, ProfileIndex(gateway_paths), store="file", passphrase=PassphraseSource(environment)))
    server, clock = AuthorizationServer(access_ttl_s=3600), SystemClock()
    async with serve(server) as base:
        issued = server.mint.start(CLIENT_ID)
        profile = replace(a_profile(base, clock), created_at=clock.wall_ms() - 100_000)
        vault.commit(profile, Tokens(Secret(issued.access), Secret(issued.refresh), clock.wall_ms() + 1_000))
        yield server, vault, environment
        await until_gone(gateway_paths)


async def until_gone(paths):
    OffLoop(control).stop(paths)
    await until(lambda: not OffLoop(gateway_lock(paths)).owner_pid())


@pytest.mark.requirement("P16")
async def test_a_token_is_refreshed_in_the_store_while_no_command_is_run(gateway_paths, signed_in):
    server, vault, environment = signed_in
    before = vault.read(PROFILE)
    OffLoop(control).start(gateway_paths, port=0, env=environment)
    await until(lambda: server.presented.total == 1)
    await until(lambda: vault.read(PROFILE).generation > before.generation)
    after = vault.read(PROFILE)
    assert server.mint.family_of(after.access.reveal()) is not None
    await until(lambda: f"{PROFILE}: refreshed" in gateway_paths.gateway_log.read_text())


async def test_a_stop_waits_for_a_refresh_that_was_sent(gateway_paths, signed_in):
    server, vault, environment = signed_in
    gate = Gate()
    server.faults.add("/token", Fault(gate=gate))
    before = vault.read(PROFILE)
    blocking = OffLoop(control)
    state = blocking.start(gateway_paths, port=0, env=environment)
    await gate.reached()
    os.kill(state.pid, signal.SIGTERM)
    await until(lambda: "ending" in gateway_paths.gateway_log.read_text())
    assert alive(state.pid)
    gate.release()
    await until(lambda: blocking.status(gateway_paths)[0] == "stopped")
    assert vault.read(PROFILE).generation > before.generation
    assert server.mint.is_current(vault.read(PROFILE).refresh.reveal())


@pytest.mark.requirement("P16")
async def test_a_token_is_refreshed_in_the_keyring_while_no_command_is_run(gateway_paths, secret_service):
    vault = OffLoop(Vault(gateway_paths, ProfileIndex(gateway_paths), store="keyring"))
    server, clock = AuthorizationServer(access_ttl_s=3600), SystemClock()
    async with serve(server) as base:
        issued = server.mint.start(CLIENT_ID)
        profile = replace(a_profile(base, clock), created_at=clock.wall_ms() - 100_000)
        before = vault.commit(profile, Tokens(Secret(issued.access), Secret(issued.refresh), clock.wall_ms() + 1_000))
        OffLoop(control).start(gateway_paths, port=0)
        await until(lambda: vault.read(PROFILE).generation > before.generation)
        OffLoop(control).stop(gateway_paths)
    assert server.presented.total == 1
    assert server.mint.is_current(vault.read(PROFILE).refresh.reveal())
    vault.delete(PROFILE)


def test_a_gateway_whose_state_folder_is_deleted_ends_and_makes_no_new_one(gateway_paths):
    state = control.start(gateway_paths, port=0)
    shutil.rmtree(gateway_paths.state)

    wait_until(lambda: os.waitpid(state.pid, os.WNOHANG)[0] == state.pid, 15)

    assert not gateway_paths.state.exists()
