"""What was read from files, read again when one of them has changed."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from portico.errors import PorticoError, frames_of, internal_error, place_of
from portico.store.off_loop import start_off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

RETRY_S: Final = 1.0
T = TypeVar("T")
Signature = tuple[tuple[str, int, int, int] | None, ...]
_log = logging.getLogger(__name__)


class Reloading(Generic[T]):
    """A value made of files. `load` is called on another thread, and tells which files the value rests on.

    Where `load` raises anything, `failed` takes the last good value's place, or with `keeps` that value stays; `fault` has the
    error (`internal-error` for one that nobody foresaw) until a later load succeeds: one is tried when a file changes, and after
    `RETRY_S`, as what failed need not be in a file. It is looked for changes every `every_s` seconds at most.
    """

    def __init__(
        self, load: Callable[[], tuple[T, Iterable[Path]]], failed: T, *, keeps: bool = False, every_s: float = 0.0
    ) -> None:
        self._load = load
        self._every_s = every_s
        self._look_at = self._retry_at = 0.0
        self._value = self._failed = failed
        self._keeps = keeps
        self._files: tuple[Path, ...] = ()
        self._seen: Signature | None = None
        self._loading: asyncio.Future[tuple[T, tuple[Path, ...], Signature]] | None = None
        self.fault: PorticoError | None = None

    async def now(self) -> T:
        """The value as the files are now."""
        now = time.monotonic()
        if now < self._look_at and self._loading is None:
            return self._value
        self._look_at = now + self._every_s
        while self._is_stale():
            if self._loading is None:
                self._loading = start_off_loop(self._loaded)
                self._loading.add_done_callback(self._settle)
            await asyncio.wait([self._loading])
        return self._value

    def _is_stale(self) -> bool:
        if self.fault is not None and time.monotonic() >= self._retry_at:
            return True
        return self._seen is None or signature(self._files) != self._seen

    def _loaded(self) -> tuple[T, tuple[Path, ...], Signature]:
        # Taken before and after: what changes in between is seen by the next look.
        before = signature(self._files)
        value, files = self._load()
        files = tuple(files)
        return value, files, before if files == self._files else signature(files)

    def _settle(self, loading: asyncio.Future[tuple[T, tuple[Path, ...], Signature]]) -> None:
        self._loading = None
        error = loading.exception()
        if error is None:
            self._value, self._files, self._seen = loading.result()
            self.fault = None
            return
        self._seen, self._retry_at = signature(self._files), time.monotonic() + RETRY_S
        fault = error if isinstance(error, PorticoError) else internal_error(error)
        if self.fault is None or str(self.fault) != str(fault):
            _log.warning("%s%s", fault, "" if fault is error else f"\n{place_of(error)}\n{frames_of(error)}")
        self.fault = fault
        if not self._keeps:
            self._value = self._failed


def signature(files: Iterable[Path]) -> Signature:
    """What tells a changed file from the same one; None for one that is not there."""
    return tuple(map(_seen, map(str, files)))


def _seen(path: str) -> tuple[str, int, int, int] | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - a few microseconds, at each request
    except OSError:
        return None
    return path, stat.st_mtime_ns, stat.st_size, stat.st_ino
