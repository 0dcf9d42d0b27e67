"""The lock beside a file that OpenClaw itself takes: `<file>.lock`, a folder or a small file, made by whoever gets it.

A folder is proper-lockfile's (npm package, 4.1.2, lib/lockfile.js): its holder sets the folder's time again and again, and one
whose time is older than the tool's `stale` is nobody's any more. A file is OpenClaw's own (openclaw 2026.9.6,
plugin-sdk/file-lock): it names its holder's process in JSON, and is nobody's when that process has ended. Neither goes away by
itself when its holder is killed, so each would block for ever.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from portico.paths import FOLDER_MODE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.errors import LockBusy

STALE_FOLDER_S: Final = 30.0
"""`stale` of OpenClaw's lock on auth-profiles.json (openclaw 2026.2.2 to 2026.2.12, AUTH_STORE_LOCK_OPTIONS)."""
STALE_FILE_S: Final = 180.0
"""`stale` of OpenClaw's lock on a refresh (openclaw 2026.9.6, OAUTH_REFRESH_LOCK_OPTIONS), for a file that names no process."""

_PAUSE_S: Final = 0.05
_LONGEST: Final = 4096


@contextlib.contextmanager
def sidecar(lock: Path, *, busy: LockBusy, wait_s: float, as_file: bool = False) -> Iterator[None]:
    """Hold `lock`, as a folder or as a file; one that nobody holds any more is taken over.

    In a folder that cannot be written to nothing is held: writing the file itself says so in its own words.

    Raises:
        LockBusy: `busy`, after `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            _make(lock, as_file=as_file)
            break
        except FileExistsError:
            if _is_left_behind(lock) and _take_away(lock):
                continue
            if time.monotonic() > deadline:
                raise busy from None
            time.sleep(_PAUSE_S)
        except OSError:
            yield
            return
    try:
        yield
    finally:
        _take_away(lock)


def _make(lock: Path, *, as_file: bool) -> None:
    if not as_file:
        lock.mkdir(FOLDER_MODE)
        return
    holder = {"pid": os.getpid(), "createdAt": datetime.now(UTC).isoformat()}
    fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump(holder, file)


def _take_away(lock: Path) -> bool:
    try:
        if stat.S_ISDIR(lock.lstat().st_mode):
            lock.rmdir()
        else:
            lock.unlink()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _is_left_behind(lock: Path) -> bool:
    try:
        found = lock.lstat()
        age_s = time.time() - found.st_mtime
        if stat.S_ISDIR(found.st_mode):
            return age_s > STALE_FOLDER_S
        pid = _holder(lock) if stat.S_ISREG(found.st_mode) else None
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return age_s > STALE_FILE_S if pid is None else not _runs(pid)


def _holder(lock: Path) -> int | None:
    """The process that a lock file names; None where it names none, as one does whose holder was killed while writing it."""
    with lock.open("rb") as file:
        data = file.read(_LONGEST)
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
