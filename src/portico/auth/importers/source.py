"""The other tool's file: read without touching it, and one credential taken out of it without touching the rest."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.config.document import Document
from portico.errors import ConfigError, LockBusy, PorticoError
from portico.paths import FOLDER_MODE
from portico.store.atomic import look_like, replace, sync_folder, temporaries, write_temporary
from portico.store.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.auth.importers.found import FoundCredential, Importer
    from portico.config.document import ConfigPath

_LONGEST: Final = 4 << 20
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_ROUNDS: Final = 5
_LOCK_S: Final = 10.0
_PAUSE_S: Final = 0.05

Removal = Literal["removed", "gone", "changed"]


def read_source(importer: Importer, path: Path) -> tuple[FoundCredential, ...]:
    """The credentials in `path`; none where the file has none, or is not there.

    Raises:
        ConfigError: `import-unreadable`, naming the file and what was expected in it.
    """
    data = _bytes_of(importer, path)
    return () if data is None else _found(importer, path, data)


def remove_from_source(importer: Importer, path: Path, credential: FoundCredential) -> Removal:
    """Take `credential` out of `path`: that member alone goes, every other byte, the mode and the link stay.

    `gone`: it is not there any more. `changed`: the tool has stored other tokens there meanwhile, so nothing was touched.

    Raises:
        ConfigError: `source-not-removed`: the file cannot be read or written; it is as it was.
        LockBusy: the tool holds its lock, or the file never stops changing.
    """
    target = Path(os.path.realpath(path))
    with _tool_lock(importer, target):
        for _ in range(_ROUNDS):
            data = _bytes_of(importer, path)
            found = () if data is None else _found(importer, path, data)
            now = next((other for other in found if credential.is_entry(other)), None)
            if data is None or now is None:
                return "gone"
            if not now.is_same(credential):
                return "changed"
            if _put(importer, target, data, _without(data, target.name, now)):
                return "removed"
    raise _busy(importer, path)


def _without(data: bytes, name: str, credential: FoundCredential) -> bytes:
    document = Document.parse(data.decode(), name=name)
    for place in sorted((credential.at, *credential.copies), key=_order, reverse=True):
        document = document.unset(place)
    return document.text.encode()


def _order(place: ConfigPath) -> list[str]:
    """Later elements of an array come later: taking one out moves those behind it."""
    return [str(step).zfill(9) for step in place]


def _bytes_of(importer: Importer, path: Path) -> bytes | None:
    try:
        fd = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(importer, path, error.strerror or str(error)) from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise _unreadable(importer, path, "it is not a plain file")
        if os.name == "posix" and found.st_uid != os.geteuid():
            raise _unreadable(importer, path, "it belongs to another user")
        with os.fdopen(fd, "rb", closefd=False) as file:
            data = file.read(_LONGEST + 1)
    except OSError as error:
        raise _unreadable(importer, path, error.strerror or str(error)) from None
    finally:
        os.close(fd)
    if len(data) > _LONGEST:
        raise _unreadable(importer, path, f"it is larger than {_LONGEST >> 20} MiB")
    return data


def _found(importer: Importer, path: Path, data: bytes) -> tuple[FoundCredential, ...]:
    beside = next((document for place in importer.beside(path) if (document := _beside(importer, place)) is not None), None)
    try:
        return importer.read(Document.parse(data.decode(), name=str(path)), beside)
    except UnicodeDecodeError:
        raise _unreadable(importer, path, "it is not UTF-8 text") from None
    except ConfigError as error:
        raise _unreadable(importer, path, f"it is not JSON: {error.message}", where=error.where) from None
    except RecursionError:
        raise _unreadable(importer, path, "it is nested too deeply") from None
    except ValueError as error:
        raise _unreadable(importer, path, str(error)) from None


def _beside(importer: Importer, place: Path) -> Document | None:
    """The file that says more; what cannot be read there says nothing, and the user is asked."""
    try:
        data = _bytes_of(importer, place)
        return Document.parse(data.decode(), name=str(place)) if data is not None else None
    except (PorticoError, ValueError, RecursionError):
        return None


def _put(importer: Importer, target: Path, before: bytes, after: bytes) -> bool:
    """Put `after` in the place of `before`; False if something else stands there by now."""
    try:
        found = target.stat()
        for leftover in temporaries(target):  # of a removal that was killed: it holds what else is in the file
            leftover.unlink(missing_ok=True)
        temporary = write_temporary(target, after)
        try:
            look_like(temporary, found)
            if _bytes_of(importer, target) != before:
                return False
            replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        raise ConfigError(
            "source-not-removed",
            f"{target} cannot be changed; it is as it was",
            why=f"{error.strerror or error} [{errno.errorcode.get(error.errno or 0, 'error')}]",
            hint=f"sign out in {importer.label}, or take that entry out by hand",
        ) from None
    return True


@contextlib.contextmanager
def _tool_lock(importer: Importer, target: Path) -> Iterator[None]:
    """Hold what the tool itself holds while it writes.

    A `flock` file that the tool has not made yet stays there: the tool uses it from then on, and deleting it would let two in.
    """
    if not target.parent.is_dir():
        yield
    elif importer.lock == "flock":
        what = f"{importer.label}'s {target.name}"
        with file_lock(target.with_suffix(".lock"), _LOCK_S, what=what, foreign=True):
            yield
    elif importer.lock == "folder":
        with _lock_folder(importer, target):
            yield
    else:
        yield


@contextlib.contextmanager
def _lock_folder(importer: Importer, target: Path) -> Iterator[None]:
    folder = target.with_name(f"{target.name}.lock")
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            folder.mkdir(FOLDER_MODE)
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise _busy(importer, target) from None
            time.sleep(_PAUSE_S)
        except OSError:
            break  # a folder that cannot be written to: writing the file says so in its own words
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _busy(importer: Importer, path: Path) -> LockBusy:
    return LockBusy("source-busy", f"{importer.label} is using {path}", hint=f"end {importer.label} and run the command again")


def _unreadable(importer: Importer, path: Path, why: str, *, where: str | None = None) -> ConfigError:
    return ConfigError(
        "import-unreadable",
        f"{importer.label}'s file cannot be used: {path}",
        why=f"{why}; expected {importer.expected}",
        where=where,
        hint="nothing was changed; sign in instead: {prog} onboard --auth-choice minimax-portal",
    )
