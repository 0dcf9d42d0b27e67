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

_PAUSE_S: Final = 0.05
_LONGEST: Final = 4096
# The tool itself could make no lock there either. Any other failure, such as a full disk, may be of this moment alone.
_NO_PLACE: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR})


class LockNotMadeError(Exception):
    """The lock cannot be made, as on a full disk; nothing of it is left. The text says why."""


@contextlib.contextmanager
def sidecar(lock: Path, *, busy: LockBusy, wait_s: float, as_file: bool = False) -> Iterator[None]:
    """Hold `lock`, as a folder or as a file; one that nobody holds any more is taken over.

    In a folder that is not there or cannot be written to nothing is held: writing the file itself says so in its own words.

    Raises:
        LockBusy: `busy`, after `wait_s` seconds.
        LockNotMadeError: as the class says.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            ours = _make(lock, as_file=as_file)
            break
        except FileExistsError:
            found = _left_behind(lock)
            if found is not None and _take_aside(lock, found):
                continue
            if time.monotonic() > deadline:
                raise busy from None
            time.sleep(_PAUSE_S)
        except OSError as error:
            if error.errno not in _NO_PLACE:
                raise LockNotMadeError(error.strerror or str(error)) from None
            yield
            return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            # Somebody may have thought that this one was left behind, and has one of its own there now.
            if _is_same(lock.lstat(), ours):
                _delete(lock)


def _make(lock: Path, *, as_file: bool) -> os.stat_result:
    if not as_file:
        lock.mkdir(FOLDER_MODE)
        return lock.lstat()
    holder = {"pid": os.getpid(), "createdAt": datetime.now(UTC).isoformat()}
    fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(holder, file)
        return lock.lstat()
    except BaseException as error:
        with contextlib.suppress(OSError):
            lock.unlink()
        if isinstance(error, OSError):
            raise LockNotMadeError(error.strerror or str(error)) from None
        raise


def _take_aside(lock: Path, found: os.stat_result) -> bool:
    """Delete the lock that was `found` left behind, and no other: whether the way is free.

    Two may find the same one, and only one of them can rename it. What the other renames is the lock of the first: it goes back.
    """
    try:
        if not _is_same(lock.lstat(), found):
            return False
        aside = lock.with_name(f".{lock.name}.{secrets.token_hex(8)}.stale")
        lock.rename(aside)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    with contextlib.suppress(OSError):
        if _is_same(aside.lstat(), found):
            _delete(aside)
            return True
    with contextlib.suppress(OSError):
        _put_back(aside, lock)
    with contextlib.suppress(OSError):
        _delete(aside)
    return False


def _put_back(aside: Path, lock: Path) -> None:
    """Make `lock` again as it was. Never by a rename: that replaces an empty folder, or a file, that a third one has made."""
    found = aside.lstat()
    if not stat.S_ISDIR(found.st_mode):
        os.link(aside, lock)
        return
    lock.mkdir(FOLDER_MODE)
    os.utime(lock, ns=(found.st_atime_ns, found.st_mtime_ns))


def _is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are one lock: a number of a file that is deleted is soon another's, and a holder may set the time.

    A folder that was put back is a new one with the old time, so that the time alone tells folders apart.
    """
    if (one.st_dev, one.st_mtime_ns) != (other.st_dev, other.st_mtime_ns):
        return False
    return one.st_ino == other.st_ino or (stat.S_ISDIR(one.st_mode) and stat.S_ISDIR(other.st_mode))


def _delete(lock: Path) -> None:
    if stat.S_ISDIR(lock.lstat().st_mode):
        lock.rmdir()
    else:
        lock.unlink()


def _left_behind(lock: Path) -> os.stat_result | None:
    """What is known of a lock that nobody holds any more; None where somebody may hold it, or it is gone by now."""
    try:
        found = lock.lstat()
        age_s = time.time() - found.st_mtime
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(lock) as inside:
                return found if age_s > STALE_FOLDER_S and next(inside, None) is None else None
        pid = _holder(lock) if stat.S_ISREG(found.st_mode) else None
    except OSError:
        return None
    return found if age_s > STALE_FILE_S and not (pid is not None and _runs(pid)) else None


def _holder(lock: Path) -> int | None:
    """The process that a lock file names; None where it names none, as one does whose holder was killed while writing it."""
    data = read_start(lock, _LONGEST, follow=False)
    try:
        holder = json.loads(data)
    except (ValueError, RecursionError):
        return None
    pid = holder.get("pid") if isinstance(holder, dict) else None
    return pid if isinstance(pid, int) and not isinstance(pid, bool) and pid > 0 else None


def _runs(pid: int) -> bool:
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
