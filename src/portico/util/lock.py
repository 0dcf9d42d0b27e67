"""Locks between processes, on files that are never deleted.

The lock is `flock` (POSIX) or a locked byte range (Windows), not the existence of the file: the system releases it when its owner
dies. If the file were deleted on release, two processes could own the lock at the same time, each on its own inode. `fcntl.lockf`
is not used: its locks belong to the process, so two owners in one process would not exclude each other.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from portico.errors import LockBusy, StoreError
from portico.paths import FILE_MODE, hashed_name, make_private_folder
from portico.util.files import FileFailed, disk_hint, read_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULT_TIMEOUT_S: Final = 10.0
_FIRST_DELAY_S: Final = 0.001
_MAX_DELAY_S: Final = 0.05
# Windows locks are mandatory: with a byte far after the text, others can still read the owner's process id.
_LOCKED_BYTE: Final = 1 << 30
_EXISTING_FLAGS: Final = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_OPEN_FLAGS: Final = _EXISTING_FLAGS | os.O_CREAT
_FOREIGN_MODE: Final = 0o666  # minus the umask, as the other program would create the file

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    _try_lock_shared = _try_lock  # msvcrt has no shared locks: two checks at the same time may see each other

    def _unlock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _try_lock(fd: int, mode: int = fcntl.LOCK_EX) -> bool:
        try:
            fcntl.flock(fd, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _try_lock_shared(fd: int) -> bool:
        return _try_lock(fd, fcntl.LOCK_SH)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


class FileLock:
    """A lock with one owner at a time, between processes and within a process. Not reentrant.

    `what` names the protected object in messages. `foreign`: the lock file belongs to another program, which also locks it. Then
    Portico does not create or change its folder, and writes nothing to the file.
    """

    def __init__(self, path: Path, *, what: str = "this file", foreign: bool = False) -> None:
        self.path = path
        self._foreign = foreign
        self._what = what
        self._fd: int | None = None

    def try_acquire(self) -> bool:
        """Acquire the lock if it is free; StoreError if the lock file cannot be opened or locked."""
        if self._fd is not None:
            return False
        try:
            fd = self._open()
        except OSError as error:
            raise self._lock_error(error) from error
        try:
            if not _try_lock(fd) or not self._is_current(fd):
                os.close(fd)
                return False
            if not self._foreign:
                _write_pid(fd)
        except OSError as error:
            os.close(fd)
            raise self._lock_error(error) from error
        self._fd = fd
        return True

    def is_valid(self) -> bool:
        """Whether this object owns the lock, and the file has not been deleted since."""
        return self._fd is not None and self._is_current(self._fd)

    def acquire(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Acquire the lock, or raise LockBusy after `timeout_s` seconds."""
        deadline = time.monotonic() + timeout_s
        delay = _FIRST_DELAY_S
        while not self.try_acquire():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise self.busy_error(timeout_s)
            time.sleep(min(delay, remaining))
            delay = min(delay * 2, _MAX_DELAY_S)

    def release(self) -> None:
        """Release the lock; does nothing if this object does not own it."""
        fd, self._fd = self._fd, None
        if fd is None:
            return
        if not self._foreign:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
        try:
            _unlock(fd)
        finally:
            os.close(fd)

    def is_locked(self) -> bool:
        """Whether the lock has an owner.

        The check needs a shared lock for a moment, so an `acquire` at the same time must try again.
        """
        try:
            fd = os.open(self.path, _EXISTING_FLAGS)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._lock_error(error) from error
        try:
            return not _try_lock_shared(fd)
        except OSError as error:
            raise self._lock_error(error) from error
        finally:
            os.close(fd)

    def owner_pid(self) -> int | None:
        """Return the owner's process id; None if there is no owner, or if its id cannot be read."""
        try:
            # Without an owner the file may still have the id of a killed process.
            return int(read_start(self.path, 32, follow=False).partition(b"\n")[0]) if self.is_locked() else None
        except (OSError, ValueError, StoreError):
            return None

    def busy_error(self, waited_s: float) -> LockBusy:
        pid = self.owner_pid()
        owner = f"Process {pid}" if pid is not None else "Another process"
        why = f"waited {waited_s:g} s for {self.path}"
        hint = "try again when it has finished" if pid is None else f"try again, or look at what process {pid} is doing"
        return LockBusy(f"{owner} is using {self._what}.", why=why, hint=hint)

    def _open(self) -> int:
        if self._foreign:
            return os.open(self.path, _OPEN_FLAGS, _FOREIGN_MODE)
        make_private_folder(self.path.parent)
        return os.open(self.path, _OPEN_FLAGS, FILE_MODE)

    def _is_current(self, fd: int) -> bool:
        """Whether the locked file is still the file at the path: another program may have deleted it."""
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False

    def _lock_error(self, error: OSError) -> StoreError:
        if self._foreign:
            advice = f"check that {self.path.parent} is a folder you own, on a file system that can lock files"
            hint = disk_hint(error, advice)
        else:
            hint = disk_hint(error) or "set PORTICO_STATE_DIR to a folder of your own, on a file system that can lock files"
        return FileFailed(f"Could not lock {self._what}.", why=f"{self.path}: {error.strerror}", hint=hint)


def _write_pid(fd: int) -> None:
    line = f"{os.getpid()}\n".encode()
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, line)  # before the truncate: a reader sees this id, or the old id of a killed owner, but never an empty file
    os.ftruncate(fd, len(line))


def named_lock(folder: Path, kind: str, name: str | Path, *, what: str) -> FileLock:
    """Return the lock in `folder` for the object of this `kind` and `name`, which may have any characters."""
    return FileLock(folder / f"{kind}-{hashed_name(name)}.lock", what=what)


@contextlib.contextmanager
def file_lock(
    path: Path, timeout_s: float = DEFAULT_TIMEOUT_S, what: str = "this file", *, foreign: bool = False
) -> Iterator[FileLock]:
    """Own the lock at `path` in the `with` block. Raises the errors of `FileLock.acquire`."""
    lock = FileLock(path, what=what, foreign=foreign)
    lock.acquire(timeout_s)
    try:
        yield lock
    finally:
        lock.release()
