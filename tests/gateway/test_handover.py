"""One gateway process takes another's place: no connection is refused, what was begun ends whole, and the lock is never free."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from portico.errors import StoreError, UsageError
from portico.gateway import handover, service
from portico.gateway.ending import EndWatch
from portico.gateway.handover import Seat, hand_over, inherited
from portico.gateway.port import bound
from portico.gateway.server import _Process
from portico.gateway.state import gateway_lock, read_state
from portico.store.lock import FileLock
from tests.gateway.fronts import configure, with_key
from tests.gateway.parts import wait_until
from tests.plugins.trees import write_plugin

pytestmark = pytest.mark.skipif(os.name != "posix", reason="handing a socket over is POSIX")


@pytest.fixture
def plugin(gateway_paths, tmp_path):
    """A plugin that is on, whose files a test may change."""
    folder = write_plugin(tmp_path / "plugins", "acme-auth")
    gateway_paths.config.parent.mkdir(parents=True, exist_ok=True)
    entries = {"load": {"paths": [str(folder)]}, "entries": {"acme-auth": {"enabled": True}}}
    gateway_paths.config.write_text(json.dumps({"plugins": entries}), encoding="utf-8")
    return folder


def changed(folder):
    """The plugin as after an upgrade, which puts new files in the old ones' place."""
    for path in [*folder.rglob("*.py")]:
        new = path.with_suffix(".new")
        new.write_text(path.read_text(encoding="utf-8") + "\n# upgraded\n", encoding="utf-8")
        new.replace(path)


@pytest.mark.requirement("E73")
def test_changed_plugins_bring_in_a_new_process_and_no_connection_is_refused_meanwhile(gateway_paths, plugin):
    before = service.start(gateway_paths, port=0)
    changed(plugin)
    answers, deadline = 0, time.monotonic() + 30
    while (now := read_state(gateway_paths)) is None or now.pid == before.pid:
        with socket.create_connection(("127.0.0.1", before.port), timeout=10) as connection:
            connection.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{before.port}\r\nConnection: close\r\n\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert gateway_lock(gateway_paths).is_taken()
        answers += 1
        assert time.monotonic() < deadline, gateway_paths.gateway_log.read_text()

    after = service.running(gateway_paths)
    assert answers > 1
    assert (after.port, after.pid != before.pid) == (before.port, True)
    assert gateway_lock(gateway_paths).holder() == after.pid
    wait_until(lambda: not alive(before.pid))
    assert "handed over to process" in gateway_paths.gateway_log.read_text()
    assert service.stop(gateway_paths).pid == after.pid
    assert not gateway_lock(gateway_paths).is_taken()


def alive(pid):
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.requirement("E127")
def test_a_predecessor_that_still_serves_keeps_neither_the_lock_nor_its_process_once_its_successor_was_stopped(
    gateway_paths, plugin
):
    plugins = json.loads(gateway_paths.config.read_text(encoding="utf-8"))["plugins"]
    body = b'{"model": "acme/model"}'
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        where = {"baseUrl": f"http://127.0.0.1:{silent.getsockname()[1]}/v1", "apiKey": "for-a-silent-provider"}
        configure(gateway_paths, {"acme": where}, extra={"plugins": plugins})
        key = with_key(gateway_paths)
        before = service.start(gateway_paths, port=0)
        client = stack.enter_context(socket.create_connection(("127.0.0.1", before.port), timeout=10))
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{before.port}\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}Authorization: Bearer {key}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
        silent.settimeout(30)
        stack.enter_context(silent.accept()[0])
        changed(plugin)
        wait_until(lambda: (now := read_state(gateway_paths)) is not None and now.pid != before.pid, 30)
        began = time.monotonic()
        assert alive(before.pid)
        service.stop(gateway_paths)
        assert not gateway_lock(gateway_paths).is_taken()
        wait_until(lambda: not alive(before.pid))
        assert time.monotonic() - began < 6


@pytest.mark.requirement("E127")
def test_a_stop_that_meets_a_successor_before_it_answers_ends_the_predecessor_too(gateway_paths, plugin):
    before = service.start(gateway_paths, port=0)
    changed(plugin)
    wait_until(lambda: gateway_lock(gateway_paths).holder() not in {before.pid, None}, 30)
    assert not service.stop(gateway_paths).killed
    assert not gateway_lock(gateway_paths).is_taken()
    wait_until(lambda: not alive(before.pid))


def test_a_plugin_that_is_switched_on_does_so_too(gateway_paths, plugin, run_portico):
    gateway_paths.config.write_text(gateway_paths.config.read_text().replace("true", "false"), encoding="utf-8")
    before = service.start(gateway_paths, port=0)
    assert run_portico("plugins", "enable", "acme-auth").returncode == 0
    wait_until(lambda: read_state(gateway_paths).pid != before.pid, 30)


def test_an_edit_of_the_config_that_concerns_no_plugin_leaves_the_process_alone(gateway_paths, plugin, run_portico):
    before = service.start(gateway_paths, port=0)
    assert run_portico("config", "set", "agents.defaults.model", '"acme/model"').returncode == 0
    time.sleep(3)  # three looks: nothing can be waited for where nothing is to happen
    assert service.running(gateway_paths) == before


@pytest.fixture
def here(gateway_paths):
    lock = gateway_lock(gateway_paths)
    assert lock.try_acquire()
    with bound(0) as listener:
        yield Seat(listener, lock)
    lock.release()


async def test_a_successor_that_does_not_come_up_leaves_the_place_to_its_predecessor(gateway_paths, here, monkeypatch):
    monkeypatch.setattr("portico.gateway.handover.gateway_command", lambda _port: [sys.executable, "-c", "raise SystemExit(1)"])
    assert await hand_over(gateway_paths, here, os.environ, None) is None
    assert await asyncio.to_thread(gateway_lock(gateway_paths).holder) == os.getpid()
    assert here.listener.fileno() != -1


@pytest.mark.requirement("E128")
async def test_a_successor_that_fails_once_it_has_the_lock_takes_it_from_nobody(gateway_paths, here):
    gateway_paths.config.parent.mkdir(parents=True, exist_ok=True)
    gateway_paths.config.write_text("{ no config", encoding="utf-8")
    assert await hand_over(gateway_paths, here, os.environ, None) is None
    assert await asyncio.to_thread(gateway_lock(gateway_paths).holder) == os.getpid()


@pytest.mark.requirement("E128")
def test_a_successor_that_fails_and_stays_for_the_answer_to_a_refresh_takes_the_lock_from_nobody(gateway_paths, here):
    lock = gateway_lock(gateway_paths)
    lock.inherit(os.dup(here.lock.bequeath()))
    heir = object.__new__(_Process)
    heir._watch, heir._seat = EndWatch(), Seat(here.listener.dup(), lock, None)

    async def stay():
        await heir._stay_for_answers(asyncio.create_task(asyncio.sleep(0)))

    asyncio.run(stay())
    assert gateway_lock(gateway_paths).is_taken()
    here.lock.leave()
    assert not gateway_lock(gateway_paths).is_taken()


async def test_a_successor_that_hangs_is_ended(gateway_paths, here, monkeypatch):
    monkeypatch.setattr("portico.gateway.handover.READY_S", 0.2)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr("portico.gateway.handover.gateway_command", lambda _port: command)
    began = time.monotonic()
    assert await hand_over(gateway_paths, here, os.environ, None) is None
    assert time.monotonic() - began < 10


@pytest.mark.requirement("E127")
@pytest.mark.parametrize("begun", [False, True], ids=["while the successor is started", "while it has not answered yet"])
async def test_a_gateway_that_is_asked_to_end_while_it_hands_over_leaves_no_successor(gateway_paths, here, monkeypatch, begun):
    start, heirs, may_start = handover._started, [], threading.Event()

    def starts(*words):
        may_start.wait(10)
        heirs.append(start(*words))
        return heirs[0]

    monkeypatch.setattr(handover, "_started", starts)
    command = [sys.executable, "-c", SIGNS_AND_HANGS, str(gateway_lock(gateway_paths).path)]
    monkeypatch.setattr(handover, "gateway_command", lambda _port: command)
    handing_over = asyncio.create_task(hand_over(gateway_paths, here, os.environ, None))
    if begun:
        may_start.set()
        async with asyncio.timeout(10):
            while await asyncio.to_thread(gateway_lock(gateway_paths).holder) == os.getpid():
                await asyncio.sleep(0.01)
    else:
        await asyncio.sleep(0)
    handing_over.cancel()
    await asyncio.sleep(0)
    may_start.set()
    await asyncio.wait([handing_over])
    assert handing_over.cancelled()
    try:
        await asyncio.to_thread(heirs[0].wait, 5)
    finally:
        heirs[0].kill()
    assert await asyncio.to_thread(gateway_lock(gateway_paths).holder) == os.getpid()


SIGNS_AND_HANGS = """
import os, sys, time
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.parametrize("words", ["", "1", "a,b,c", "1000,1001,1002"])
def test_what_names_no_seat_is_refused(paths, words):
    with pytest.raises(UsageError):
        inherited(paths, words)


def test_a_lock_is_inherited_with_its_open_file_and_held_until_the_last_of_both_ends(tmp_path):
    lock = FileLock(tmp_path / "locks" / "a.lock")
    lock.acquire()
    code = """
import sys, time
from pathlib import Path
from portico.store.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
lock.inherit(int(sys.argv[2]))
print(lock.holder(), flush=True)
sys.stdin.read()
"""
    fd = lock.bequeath()
    heir = subprocess.Popen(
        [sys.executable, "-c", code, str(lock.path), str(fd)], pass_fds=(fd,), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert int(heir.stdout.readline()) == heir.pid
    os.close(fd)  # as the end of a process does; `release` would unlock it for both
    assert not FileLock(lock.path).try_acquire()
    heir.communicate()
    assert FileLock(lock.path).try_acquire()


def test_who_holds_a_lock_can_be_read_at_any_moment_while_it_is_signed_again(tmp_path, monkeypatch):
    lock, look = FileLock(tmp_path / "locks" / "a.lock"), FileLock(tmp_path / "locks" / "a.lock")
    lock.acquire()
    seen = []

    def and_then_look(call):
        def done(*words):
            call(*words)
            seen.append(look.holder())

        return done

    for name in ("ftruncate", "lseek", "write"):
        monkeypatch.setattr(os, name, and_then_look(getattr(os, name)))
    lock.sign()
    assert set(seen) == {os.getpid()}


def test_a_file_that_is_not_the_lock_is_no_inheritance(tmp_path):
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT, 0o600)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "a.lock").touch()
    with pytest.raises(StoreError):
        FileLock(tmp_path / "locks" / "a.lock").inherit(other)
    os.close(other)
