"""The lock beside a file that OpenClaw itself takes: `<file>.lock`, a folder or a small file, made by whoever gets it.

A folder is proper-lockfile's (npm package, 4.1.2, lib/lockfile.js): its holder sets the folder's time again and again, and one
whose time is older than the tool's `stale` is nobody's any more. A file is OpenClaw's own (openclaw 2026.9.6,
plugin-sdk/file-lock): it names its holder's process in JSON. That process may run in a container that has the folder as well, and
cannot be seen from here then, so a file is nobody's only when its process is not here and it is old. Neither goes away by itself
when its holder is killed, so each would block for ever.
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
"""`stale` of OpenClaw's lock on auth-profiles.json (openclaw 2026.2.2 to 2026.2.12, AUTH_STORE_LOCK_OPTIONS)."""
STALE_FILE_S: Final = 180.0
"""`stale` of OpenClaw's lock on a refresh (openclaw 2026.9.6, OAUTH_REFRESH_LOCK_OPTIONS), for one whose process is not here."""

_POLL_S: Final = 0.05
_MAX_LOCK_BYTES: Final = 4096
# The tool itself could make no lock there either. Any other failure, such as a full disk, may be of this moment alone.
_UNLOCKABLE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR})


class LockNotMadeError(Exception):
    """The lock cannot be made, as on a full disk; nothing of it is left. The text says why."""


@contextlib.contextmanager
def sidecar(lock: Path, *, busy_error: LockBusy, wait_s: float, as_file: bool = False) -> Iterator[None]:
    """Hold `lock`, as a folder or as a file; one that nobody holds any more is taken over.

    In a folder that is not there or cannot be written to nothing is held: writing the file itself says so in its own words.

    Raises:
        LockBusy: `busy_error`, after `wait_s` seconds.
        LockNotMadeError: as the class says.
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
            # Somebody may have thought that this one was left behind, and has one of its own there now.
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
    """Delete the lock that `stale` describes, and no other; returns whether it is gone.

    Two may find the same one, and only one of them can rename it. What the other renames is the lock of the first: it goes back.
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
    """Make `lock` again as it was. Never by a rename: that replaces an empty folder, or a file, that a third one has made."""
    info = renamed.lstat()
    if not stat.S_ISDIR(info.st_mode):
        os.link(renamed, lock)
        return
    lock.mkdir(FOLDER_MODE)
    os.utime(lock, ns=(info.st_atime_ns, info.st_mtime_ns))


def _is_same(first: os.stat_result, second: os.stat_result) -> bool:
    """Whether both are one lock: a number of a file that is deleted is soon another's, and a holder may set the time.

    A folder that was put back is a new one with the old time, so that the time alone tells folders apart.
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
    """What is known of a lock that nobody holds any more; None where somebody may hold it, or it is gone by now."""
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
    """The process that a lock file names; None where it names none, as one does whose holder was killed while writing it."""
    data = read_start(lock, _MAX_LOCK_BYTES, follow=False)
    try:
        owner = json.loads(data)
    except (ValueError, RecursionError):
        return None
    pid = owner.get("pid") if isinstance(owner, dict) else None
    return pid if isinstance(pid, int) and not isinstance(pid, bool) and pid > 0 else None


def _is_running(pid: int) -> bool:
    """Whether a process of this number runs; where that cannot be asked without harm (Windows), yes."""
    if os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
