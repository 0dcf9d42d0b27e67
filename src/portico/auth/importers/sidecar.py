"""OpenClaw's lock for a file: `<file>.lock`, a folder or a small file that the lock's owner makes.

The npm package proper-lockfile makes a folder (4.1.2, lib/lockfile.js): the owner updates the folder's time repeatedly, and a
folder older than the tool's `stale` has no owner. OpenClaw itself makes a file (openclaw 2026.9.6, plugin-sdk/file-lock) that
names the owner's process in JSON. This process may run in a container that shares the folder, so it may not be visible here. So
a file has no owner only if its process is not found and the file is old. Both stay after the owner was killed, so a lock
without an owner is taken over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from portico.paths import FOLDER_MODE
from portico.util.files import read_start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.errors import LockBusy

STALE_FOLDER_S: Final = 30.0
"""The `stale` of OpenClaw's lock on auth-profiles.json (openclaw 2026.2.2 to 2026.2.12, AUTH_STORE_LOCK_OPTIONS)."""
STALE_FILE_S: Final = 180.0
"""The `stale` of OpenClaw's refresh lock (openclaw 2026.9.6, OAUTH_REFRESH_LOCK_OPTIONS), if its process is not found."""

_POLL_S: Final = 0.05
_MAX_LOCK_BYTES: Final = 4096
# After these errors the tool itself could not make a lock either. Other errors, such as a full disk, may be temporary.
_UNLOCKABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR})


class LockNotMadeError(Exception):
    """The lock cannot be made, for example on a full disk. No part of it remains. The message has the reason."""


@contextlib.contextmanager
def sidecar(lock: Path, *, busy_error: LockBusy, wait_s: float, as_file: bool = False) -> Iterator[None]:
    """Keep `lock`, a folder or a file, until the block ends. A lock without an owner is taken over.

    If its folder does not exist or is not writable, no lock is taken: writing the locked file then fails with its own error.

    Raises:
        LockBusy: `busy_error`, after `wait_s` seconds.
        LockNotMadeError: the lock cannot be made.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            own = _make(lock, as_file=as_file)
            break
        except FileExistsError:
            stale = _find_stale(lock)
            if stale is not None and _remove_stale(lock, stale):
                continue
            if time.monotonic() > deadline:
                raise busy_error from None
            time.sleep(_POLL_S)
        except OSError as error:
            if error.errno not in _UNLOCKABLE:
                raise LockNotMadeError(error.strerror or str(error)) from None
            yield
            return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            # Another process may have taken this lock over; then it is not deleted.
            if _is_same(lock.lstat(), own):
                _delete(lock)


def _make(lock: Path, *, as_file: bool) -> os.stat_result:
    if not as_file:
        lock.mkdir(FOLDER_MODE)
        return lock.lstat()
    owner = {"pid": os.getpid(), "createdAt": datetime.now(UTC).isoformat()}
    fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(owner, file)
        return lock.lstat()
    except BaseException as error:
        with contextlib.suppress(OSError):
            lock.unlink()
        if isinstance(error, OSError):
            raise LockNotMadeError(error.strerror or str(error)) from None
        raise


def _remove_stale(lock: Path, stale: os.stat_result) -> bool:
    """Delete the lock that `stale` describes, and no other lock. Return whether it was deleted.

    Two processes may find the same stale lock, but only one can rename it. The second process may then rename the new lock of
    the first, and so restores it.
    """
    try:
        if not _is_same(lock.lstat(), stale):
            return False
        renamed = lock.with_name(f".{lock.name}.{secrets.token_hex(8)}.stale")
        lock.rename(renamed)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with contextlib.suppress(OSError):
        if _is_same(renamed.lstat(), stale):
            _delete(renamed)
            return True
    with contextlib.suppress(OSError):
        _restore(renamed, lock)
    with contextlib.suppress(OSError):
        _delete(renamed)
    return False


def _restore(renamed: Path, lock: Path) -> None:
    """Recreate `lock`. A rename could replace the lock that a third process has made, so it is not used."""
    info = renamed.lstat()
    if not stat.S_ISDIR(info.st_mode):
        os.link(renamed, lock)
        return
    lock.mkdir(FOLDER_MODE)
    os.utime(lock, ns=(info.st_atime_ns, info.st_mtime_ns))


def _is_same(first: os.stat_result, second: os.stat_result) -> bool:
    """Whether both are the same lock.

    Inode numbers are reused, and an owner may set the time, so both are compared. A restored folder has the old time but a new
    inode, so folders are compared only by time.
    """
    if (first.st_dev, first.st_mtime_ns) != (second.st_dev, second.st_mtime_ns):
        return False
    return first.st_ino == second.st_ino or (stat.S_ISDIR(first.st_mode) and stat.S_ISDIR(second.st_mode))


def _delete(lock: Path) -> None:
    if stat.S_ISDIR(lock.lstat().st_mode):
        lock.rmdir()
    else:
        lock.unlink()


def _find_stale(lock: Path) -> os.stat_result | None:
    """Return the status of a lock without an owner; None if the lock may have an owner or no longer exists."""
    try:
        info = lock.lstat()
        age_s = time.time() - info.st_mtime
        if stat.S_ISDIR(info.st_mode):
            with os.scandir(lock) as entries:
                return info if age_s > STALE_FOLDER_S and next(entries, None) is None else None
        pid = _owner_pid(lock) if stat.S_ISREG(info.st_mode) else None
    except OSError:
        return None
    return info if age_s > STALE_FILE_S and not (pid is not None and _is_running(pid)) else None


def _owner_pid(lock: Path) -> int | None:
    """Return the process that a lock file names. None if its owner was killed before it had written the name."""
    data = read_start(lock, _MAX_LOCK_BYTES, follow=False)
    try:
        owner = json.loads(data)
    except (ValueError, RecursionError):
        return None
    pid = owner.get("pid") if isinstance(owner, dict) else None
    return pid if isinstance(pid, int) and not isinstance(pid, bool) and pid > 0 else None


def _is_running(pid: int) -> bool:
    """Whether process `pid` runs. On Windows, assume yes, because the test could end the process."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
