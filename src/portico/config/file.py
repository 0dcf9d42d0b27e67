"""The configuration file on disk: read whole, changed under a lock, replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.document import Document
from portico.config.reading import decoded, encoded, os_failure, read_bytes
from portico.errors import ConfigError, LockBusy
from portico.paths import FILE_MODE, make_folder
from portico.store.atomic import look_like, replace, sync_folder, temporaries, write_temporary
from portico.store.lock import file_lock, short_name
from portico.store.steps import no_step

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from portico.store.steps import OnStep

BACKUPS: Final = (".bak", ".bak.1", ".bak.2", ".bak.3", ".bak.4")
_ROUNDS: Final = 5


class ConfigFile:
    """A configuration file. `locks` is the folder for the lock of its edits."""

    def __init__(self, path: Path, locks: Path, *, on_step: OnStep = no_step) -> None:
        self.path = path
        self._locks = locks
        self._on_step = on_step

    def load(self) -> Document:
        """What the file says; a file that does not exist says `{}`.

        Raises:
            ConfigError: it cannot be read (`config-unreadable`) or is not JSON5 in UTF-8 (`config-syntax`).
        """
        return self._parsed(read_bytes(self.path))

    def edit(self, change: Callable[[Document], Document], *, private: bool = False) -> bool:
        """Put what `change` makes of the file in its place, and say whether that differs.

        Programs that edit through here wait for each other. One that does not, an editor say, is noticed until just before the
        file is replaced, and `change` is then called again with what it wrote. The five last versions are kept as `.bak` files.
        `private` takes the file away from everybody else; otherwise it keeps its mode.

        Raises:
            ConfigError: the file cannot be read or written (`config-write-failed`); it then is as it was.
            LockBusy: another process holds the lock, or the file never stopped changing.
        """
        target = Path(os.path.realpath(self.path))
        with self._locked(target):
            for _ in range(_ROUNDS):
                before = read_bytes(self.path)
                document = self._parsed(before)
                text = change(document).text
                if text == document.text:
                    return False
                if self._replace(target, before, encoded(text, self.path), private=private):
                    return True
        raise LockBusy(
            "config-changing", f"{self.path} is being changed by another program", hint="close it there and run the command again"
        )

    def put(self, document: Document, *, in_place_of: bytes | None, private: bool = False) -> None:
        """Put a whole new text in the file's place, if the file still is `in_place_of` (None: if there still is none).

        Raises:
            ConfigError: it is not (`config-changed-meanwhile`), or cannot be written (`config-write-failed`); it is as it was.
            LockBusy: another process holds the lock.
        """
        target = Path(os.path.realpath(self.path))
        with self._locked(target):
            data = encoded(document.text, self.path)
            if read_bytes(self.path) != in_place_of or not self._replace(target, in_place_of, data, private=private):
                raise ConfigError("config-changed-meanwhile", f"another program has changed {self.path} meanwhile")

    def _locked(self, target: Path) -> AbstractContextManager[object]:
        return file_lock(self._locks / f"config-{short_name(target)}.lock", what=f"the configuration {self.path}")

    def _parsed(self, data: bytes | None) -> Document:
        return Document.parse("{}\n", name=str(self.path)) if data is None else decoded(data, str(self.path))

    def _replace(self, target: Path, before: bytes | None, after: bytes, *, private: bool) -> bool:
        """Put `after` in the place of `before`; False if something else stands there by now."""
        try:
            make_folder(target.parent)
            for leftover in temporaries(target):
                leftover.unlink(missing_ok=True)
            temporary = write_temporary(target, after, on_step=self._on_step)
            try:
                _take_over(temporary, target, mode=FILE_MODE if private else 0o777)
                if read_bytes(self.path) != before:
                    return False
                if before is not None:
                    _back_up(target, before)
                self._on_step("backed-up")
                replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise os_failure(f"cannot write {self.path}; it is as it was", error, "config-write-failed") from error
        self._on_step("renamed")
        try:
            sync_folder(target.parent)
        except OSError as error:
            raise os_failure(f"{self.path} is changed, but a power cut may undo it", error, "config-write-failed") from error
        return True


def _take_over(temporary: Path, target: Path, *, mode: int) -> None:
    """Make `temporary` look like `target`, unless the mode of `target` forbids writing."""
    with contextlib.suppress(FileNotFoundError):
        found = target.stat()
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, "the file is read-only")
        look_like(temporary, found, mode=mode)


def _back_up(target: Path, data: bytes) -> None:
    """Keep the last version, for the file's owner alone."""
    names = [target.with_name(target.name + suffix) for suffix in BACKUPS]
    for newer, older in reversed(list(pairwise(names))):
        with contextlib.suppress(FileNotFoundError):
            newer.replace(older)
    copy = write_temporary(names[0], data)
    try:
        look_like(copy, target.stat(), mode=FILE_MODE)
        replace(copy, names[0])
    finally:
        copy.unlink(missing_ok=True)
