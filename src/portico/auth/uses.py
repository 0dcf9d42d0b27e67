"""When each sign-in's token was last handed out, whichever process did it: the time of an empty file of its own.

Callers only touch that file, so that no lock and no write of the index stands between them and a token. What cannot be noted is
not missed: a sign-in then counts as unused, and is kept alive all the same.
"""

from __future__ import annotations

import os

from portico.paths import FILE_MODE, make_private_folder
from portico.store.lock import short_name

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from pathlib import Path

    from portico.interfaces.basics import Clock
    from portico.paths import Paths

# Which day somebody used a token matters, and which minute does not.
_NOTED_FOR_MS = 60_000
_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class Uses:
    """The last use of each profile. Blocking, for some microseconds."""

    def __init__(self, paths: Paths, clock: Clock) -> None:
        self._folder = paths.uses
        self._clock = clock
        self._noted: dict[str, int] = {}

    def note(self, profile_id: str) -> None:
        """A token of the profile is being handed out."""
        now = self._clock.wall_ms()
        if not 0 <= now - self._noted.get(profile_id, -_NOTED_FOR_MS) < _NOTED_FOR_MS:
            self._noted[profile_id] = now
            try:
                _touch(self._mark(profile_id), now)
            except OSError:
                return

    def last(self, profile_id: str) -> int | None:
        """When that was last noted (wall ms), None where it never was."""
        try:
            return self._mark(profile_id).stat().st_mtime_ns // 1_000_000
        except OSError:
            return None

    def forget(self, profile_id: str) -> None:
        """The profile is signed out."""
        try:
            self._mark(profile_id).unlink()
        except OSError:
            return

    def _mark(self, profile_id: str) -> Path:
        return self._folder / short_name(profile_id)


def _touch(mark: Path, now_ms: int) -> None:
    try:
        descriptor = os.open(mark, _FLAGS, FILE_MODE)
    except FileNotFoundError:
        make_private_folder(mark.parent)
        descriptor = os.open(mark, _FLAGS, FILE_MODE)
    try:
        # By descriptor where that can be done: a link in the mark's place must not lead to another file.
        os.utime(descriptor if os.utime in os.supports_fd else mark, ns=(now_ms * 1_000_000, now_ms * 1_000_000))
    finally:
        os.close(descriptor)
