"""A lock between processes, on a file that is never deleted.

The lock is `flock` (POSIX) or a locked byte range (Windows) and not the file's existence: the system lets go of it when its
holder dies, and there is no age or process id to guess from. Deleting such a file on release lets two holders in, each with its
own inode. `fcntl.lockf` is not used: its locks belong to the process, so a second holder inside one process would be admitted.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Final

from portico.errors import LockBusy, StoreError
from portico.paths import FILE_MODE, make_private_folder
from portico.util.files import FileFailed, disk_hint, read_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEFAULT_TIMEOUT_S: Final = 10.0
_FIRST_DELAY_S: Final = 0.001
_MAX_DELAY_S: Final = 0.05
# Windows locks are mandatory: a byte far behind the text leaves the holder's process id readable to others.
_LOCKED_BYTE: Final = 1 << 30
_EXISTING_FLAGS: Final = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
_OPEN_FLAGS: Final = _EXISTING_FLAGS | os.O_CREAT
_FOREIGN_MODE: Final = 0o666  # less the umask, as the other program would make it

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

    _try_lock_shared = _try_lock  # there is no shared lock in msvcrt; two that look at the same instant may see each other

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
    """One holder at a time, among processes and within one. Not reentrant: a second `acquire` waits like anybody else's.

    `what` names the guarded thing in messages. `foreign`: another program locks this file too, in a folder of its own. That
    folder is neither made nor changed, and nothing is written into the file.
    """

    def __init__(self, path: Path, *, what: str = "this file", foreign: bool = False) -> None:
        self.path = path
        self._foreign = foreign
        self._what = what
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def try_acquire(self) -> bool:
        """Take the lock if it is free now.

        Raises:
            StoreError: the lock file cannot be opened or locked at all.
        """
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
        """Whether this object holds the lock that others would ask for: its file may have been deleted, and made anew."""
        return self._fd is not None and self._is_current(self._fd)

    def acquire(self, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Take the lock, waiting up to `timeout_s` seconds.

        Raises:
            LockBusy: somebody else held it all that time.
            StoreError: the lock file cannot be opened or locked at all.
        """
        deadline = time.monotonic() + timeout_s
        delay = _FIRST_DELAY_S
        while not self.try_acquire():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise self.busy_error(timeout_s)
            time.sleep(min(delay, remaining))
            delay = min(delay * 2, _MAX_DELAY_S)

    def release(self) -> None:
        """Let go. Releasing a lock that is not held does nothing."""
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
        """Whether somebody holds the lock now. Looks do not see one another; an `acquire` that meets one has to try again.

        Raises:
            StoreError: the lock file cannot be opened or locked at all.
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

    def holder(self) -> int | None:
        """The process id that the holder wrote, None where nobody holds it or nothing can be read."""
        try:
            # One that was killed has left its id behind.
            return int(read_start(self.path, 32, follow=False).partition(b"\n")[0]) if self.is_locked() else None
        except (OSError, ValueError, StoreError):
            return None

    def busy_error(self, waited_s: float) -> LockBusy:
        """The error of a caller that has waited in vain."""
        pid = self.holder()
        holder = f"process {pid}" if pid is not None else "another process"
        return LockBusy(
            f"{holder} is using {self._what}",
            why=f"waited {waited_s:g} s for {self.path}",
            hint="try again when it has finished" if pid is None else f"try again, or look at what process {pid} is doing",
        )

    def _open(self) -> int:
        if self._foreign:
            return os.open(self.path, _OPEN_FLAGS, _FOREIGN_MODE)
        make_private_folder(self.path.parent)
        return os.open(self.path, _OPEN_FLAGS, FILE_MODE)

    def _is_current(self, fd: int) -> bool:
        """Whether the locked file is still the one at the path: somebody may have deleted it behind our back."""
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
        return FileFailed(f"cannot lock {self._what}", why=f"{self.path}: {error.strerror}", hint=hint)


def _write_pid(fd: int) -> None:
    """Leave this process's id for those who wait."""
    line = f"{os.getpid()}\n".encode()
    os.lseek(fd, 0, os.SEEK_SET)
    os.write(fd, line)  # over what a killed holder has left: a reader finds the one or the other, and never none
    os.ftruncate(fd, len(line))


def named_lock(folder: Path, kind: str, name: str | Path, *, what: str) -> FileLock:
    """The lock in `folder` for the one thing of its `kind` that is called `name`, whatever characters that has; not taken yet."""
    return FileLock(folder / f"{kind}-{hashed_name(name)}.lock", what=what)


def hashed_name(name: str | Path) -> str:
    """A file's name for the one thing that is called `name`, whatever characters that has: 16 hexadecimal digits."""
    import hashlib

    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


@contextlib.contextmanager
def file_lock(
    path: Path, timeout_s: float = DEFAULT_TIMEOUT_S, what: str = "this file", *, foreign: bool = False
) -> Iterator[FileLock]:
    """Hold the lock at `path` for the length of a `with` block.

    Raises:
        LockBusy: somebody else held it for all of `timeout_s` seconds.
        StoreError: the lock file cannot be opened or locked at all.
    """
    lock = FileLock(path, what=what, foreign=foreign)
    lock.acquire(timeout_s)
    try:
        yield lock
    finally:
        lock.release()
