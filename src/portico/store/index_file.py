"""The file behind the profile index: its version, its last good copy, and what happens when it is damaged."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Final, cast

from portico.errors import StoreError
from portico.store.atomic import no_step, read_private, set_aside, temporaries, write_private
from portico.store.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.paths import Paths
    from portico.store.atomic import OnStep
    from portico.store.profile_record import JsonObject

VERSION: Final = 1
LOCK_NAME: Final = "index.lock"
_DAMAGED: Final = "index-damaged"


class IndexFile:
    """`auth-profiles.json`. Every save keeps the one before it as `.bak`, whose pointers to the tokens are still true."""

    def __init__(self, paths: Paths, *, on_step: OnStep = no_step) -> None:
        self.path = paths.index
        self.backup = paths.index.with_name(f"{paths.index.name}.bak")
        self._lock_path = paths.locks / LOCK_NAME
        self._on_step = on_step
        self._seen: tuple[tuple[int, int, int], JsonObject] | None = None

    def load(self) -> JsonObject:
        """The index as it is now, empty where there is no file. Not to be changed by the caller.

        Raises:
            StoreError: it cannot be read, is of a later version, or is damaged (it is then set aside, and the last good copy put
                back where there is one).
        """
        mark = self._mark()
        if mark is not None and self._seen is not None and self._seen[0] == mark:
            return self._seen[1]
        data = read_private(self.path)
        if data is None:
            return _empty()
        try:
            document = _parse(data, self.path)
        except ValueError as error:
            with self._locked():
                raise self._recover(error) from None
        if mark is not None and mark == self._mark():
            self._seen = (mark, document)
        return document

    @contextlib.contextmanager
    def editing(self, *, durable: bool = True) -> Iterator[JsonObject]:
        """The index under its lock, read afresh and saved if the block ends well and has changed it.

        Raises:
            StoreError: as for `load`, or it cannot be written.
            LockBusy: another process held the lock for ten seconds.
        """
        with self._locked():
            data = read_private(self.path)
            try:
                document = _empty() if data is None else _parse(data, self.path)
            except ValueError as error:
                raise self._recover(error) from None
            yield document
            text = (json.dumps(document, indent=2) + "\n").encode()
            if text == data or (data is None and document == _empty()):
                return
            for stale in temporaries(self.path):  # their writers are dead: they would hold the lock
                stale.unlink(missing_ok=True)
            if data is not None:
                self._keep_backup()
            write_private(self.path, text, durable=durable, on_step=self._on_step)

    def _keep_backup(self) -> None:
        temporary = self.backup.with_name(f".{self.path.name}.bak.tmp")
        with contextlib.suppress(OSError):  # a file system without hard links goes without the second copy
            temporary.unlink(missing_ok=True)
            os.link(self.path, temporary)
            temporary.replace(self.backup)
            temporary.unlink(missing_ok=True)  # rename(2) leaves it where both names are one file already

    def _recover(self, cause: ValueError) -> StoreError:
        """Under the lock: set the damaged file aside and put the last good copy back. The error to raise."""
        data = read_private(self.path)
        if data is not None and _is_sound(data, self.path):
            return StoreError(_DAMAGED, f"{self.path} was damaged and has been put right", hint="run the command again")
        kept = set_aside(self.path)
        last = read_private(self.backup)
        message = f"{self.path} was damaged; it is kept as {kept.name}"
        why = f"not a profile index: {cause}"
        if last is None or not _is_sound(last, self.backup):
            return StoreError(_DAMAGED, message, why=why, hint="sign in again: {prog} onboard")
        write_private(self.path, last)
        return StoreError(
            _DAMAGED, f"{message}, and the last good copy is back in its place", why=why, hint="check it with: {prog} auth list"
        )

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        return file_lock(self._lock_path, what="the profile index")

    def _mark(self) -> tuple[int, int, int] | None:
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _empty() -> JsonObject:
    return {"version": VERSION, "profiles": {}}


def _parse(data: bytes, path: Path) -> JsonObject:
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - a damaged file is one kind of error
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise StoreError(
            "index-newer",
            f"{path} was written by a later version of this program",
            why=f"its format is {version}; this version knows {VERSION}",
            hint="upgrade, or set PORTICO_STATE_DIR to another folder; the file has not been touched",
        )
    if version != VERSION or not isinstance(document.get("profiles"), dict):
        raise ValueError("`version` or `profiles` is missing or wrong")
    return cast("JsonObject", document)


def _is_sound(data: bytes, path: Path) -> bool:
    try:
        _parse(data, path)
    except ValueError:
        return False
    return True
