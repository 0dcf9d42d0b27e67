"""The lock between processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from portico.errors import LockBusy, StoreError
from portico.util.lock import FileLock, file_lock, named_lock

ANOTHER_UID = 65534
OWNER = """
import sys
from pathlib import Path
from portico.util.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
lock.acquire(5)
print("held", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
sys.stdin.readline()
"""

COUNTER = """
import sys
from pathlib import Path
from portico.util.lock import file_lock
lock, counter = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(int(sys.argv[3])):
    with file_lock(lock, 20):
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def start_owner(path):
    child = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    assert child.stdout.readline() == "held\n"
    return child


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_lock_of_another_process_is_busy_and_names_that_process(tmp_path):
    path = tmp_path / "locks" / "one.lock"
    with start_owner(path) as child:
        with pytest.raises(LockBusy) as exc_info, file_lock(path, 0.05, what="the profile index"):
            pass
        child.stdin.write("\n\n")
    assert exc_info.value.id == "lock-busy"
    assert str(child.pid) in exc_info.value.message
    assert "the profile index" in exc_info.value.message


def test_a_released_lock_is_free_and_its_file_stays(tmp_path):
    path = tmp_path / "one.lock"
    with start_owner(path) as child:
        inode = path.stat().st_ino
        child.stdin.write("\n")
        child.stdin.flush()
        assert child.stdout.readline() == "released\n"
        with file_lock(path, 1):
            assert path.stat().st_ino == inode
        child.stdin.write("\n")
    assert path.stat().st_ino == inode
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_process_id_of_a_killed_owner_is_replaced(tmp_path):
    path = tmp_path / "one.lock"
    path.write_text("1234567890\n" * 2)
    with file_lock(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / "one.lock"
    with start_owner(path) as child:
        child.kill()
        child.wait()
        with file_lock(path, 1) as lock:
            assert lock.is_valid()


def test_a_lock_has_only_one_owner_in_a_process(tmp_path):
    first, second = FileLock(tmp_path / "one.lock"), FileLock(tmp_path / "one.lock")
    assert first.try_acquire()
    assert not second.try_acquire()
    assert not first.try_acquire()
    first.release()
    assert second.try_acquire()
    second.release()


def test_a_thread_waits_for_the_lock_of_another(tmp_path):
    path = tmp_path / "one.lock"
    got = threading.Event()

    def wait_for_it():
        with file_lock(path, 5):
            got.set()

    with file_lock(path, 1):
        waiter = threading.Thread(target=wait_for_it)
        waiter.start()
        assert not got.wait(0.05)
    waiter.join(5)
    assert got.is_set()


def test_after_its_file_is_deleted_no_one_gets_the_lock_on_the_old_inode(tmp_path):
    path = tmp_path / "one.lock"
    stale, fresh = FileLock(path), FileLock(path)
    opened = stale._open

    def open_then_lose():
        fd = opened()
        path.unlink()
        stale._open = opened
        return fd

    stale._open = open_then_lose
    assert not stale.try_acquire()
    assert fresh.try_acquire()
    assert not stale.try_acquire()
    fresh.release()


def test_many_processes_counting_under_the_lock_lose_no_count(tmp_path):
    counter = tmp_path / "counter"
    counter.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "one.lock"), str(counter), "60"]
    children = [subprocess.Popen(command, env=environment()) for _ in range(4)]
    assert [child.wait(30) for child in children] == [0, 0, 0, 0]
    assert counter.read_text() == "240"


@pytest.mark.requirement("E44")
def test_a_symbolic_link_in_the_place_of_the_lock_is_refused(tmp_path):
    (tmp_path / "one.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError) as exc_info:
        FileLock(tmp_path / "one.lock").try_acquire()
    assert exc_info.value.id == "file-failed"
    assert not (tmp_path / "elsewhere").exists()


def test_looking_takes_nothing_creates_nothing_and_is_not_fooled_by_the_dead(tmp_path):
    path = tmp_path / "locks" / "one.lock"
    assert not FileLock(path).is_locked()
    assert not path.parent.exists()
    with start_owner(path) as child:
        assert FileLock(path).is_locked()
        assert FileLock(path).owner_pid() == child.pid
        child.kill()
    assert path.read_text() == f"{child.pid}\n"
    assert not FileLock(path).is_locked()
    assert FileLock(path).owner_pid() is None


@pytest.mark.parametrize("name", ["minimax-portal:default", "../../up", "a/b", "\U0001f511", "x" * 1000])
def test_a_lock_is_named_after_anything_and_stays_in_its_folder(tmp_path, name):
    path = named_lock(tmp_path, "vault", name, what="it").path
    assert path.parent == tmp_path
    assert path != named_lock(tmp_path, "refresh", name, what="it").path
    assert path != named_lock(tmp_path, "vault", name.upper() + "x", what="it").path
    with file_lock(path):
        assert path.exists()


@pytest.mark.requirement("E62")
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX owners and modes")
def test_a_lock_file_of_another_user_is_an_error_and_not_a_busy_lock():
    """As root, another user opens root's lock file; as another user, the lock file is one that its owner may not open."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        lock = folder / "locks" / "refresh-0.lock"
        lock.parent.mkdir(mode=0o700)
        root = os.geteuid() == 0
        lock.touch(mode=0o600 if root else 0)
        if root:
            os.chown(lock.parent, ANOTHER_UID, ANOTHER_UID)
        assert in_a_child_of(ANOTHER_UID if root else None, lock) == f"file-failed: {lock}: Permission denied"


def in_a_child_of(user, path):
    """What taking the lock comes to in a process of `user`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = "taken"
        try:
            if user is not None:
                os.setgid(user)
                os.setuid(user)
            FileLock(path).try_acquire()
        except StoreError as error:
            answer = f"{error.id}: {error.why}"
        except BaseException as error:  # noqa: BLE001 - a forked child must never return into its parent's code
            answer = repr(error)
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer
