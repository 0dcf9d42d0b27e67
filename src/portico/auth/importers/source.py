"""Reads another tool's file or database without changing it, and removes one credential without changing anything else."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.auth.importers.database import HEAD, DatabaseBusyError, read_cells, replace_cell
from portico.auth.importers.found import untrusted_reason
from portico.auth.importers.sidecar import LockNotMadeError, sidecar
from portico.config.document import Document
from portico.errors import ConfigError, LockBusy, PorticoError
from portico.util.files import copy_permissions, read_start, replace, sync_folder, temporaries, write_temporary
from portico.util.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.auth.importers.found import CellName, FoundCredential, Importer
    from portico.config.document import ConfigPath

_MAX_BYTES: Final = 4 << 20
_MAX_ATTEMPTS: Final = 5
_LOCK_TIMEOUT_S: Final = 10.0

Removal = Literal["removed", "not-erased", "gone", "changed"]


class SourceNotRemoved(ConfigError):
    """The other tool's copy could not be removed from its file."""

    id = "source-not-removed"


class ImportUnreadable(ConfigError):
    """The other tool's credentials cannot be imported."""

    id = "import-unreadable"


def read_source(importer: Importer, path: Path) -> tuple[FoundCredential, ...]:
    """Return the credentials in `path`; empty if the file has no credentials or does not exist.

    Raises:
        ConfigError: `import-unreadable`, with the file and the expected content.
        LockBusy: the tool keeps its database locked.
    """
    if _is_database(importer, path):
        return tuple(credential for credential, _ in _credentials_in_cells(importer, path, _read_cells(importer, path) or {}))
    data = _read_bytes(importer, path)
    return () if data is None else _parse(importer, path, data)


def is_current_database(importer: Importer, path: Path) -> bool:
    """Whether `path` is a database in which the tool keeps its entries, even if there are no entries.

    Raises:
        ConfigError, LockBusy: as `read_source`.
    """
    return _is_database(importer, path) and _read_cells(importer, path) is not None


def remove_from_source(importer: Importer, path: Path, credential: FoundCredential) -> Removal:
    """Remove `credential` from `path`. Only its member is removed; all other bytes, the mode and a symbolic link stay.

    In a database, the member is removed from its cell, in a transaction that also sets the cell's time; nothing else changes.
    `not-erased`: removed, but the old text stays in the database's file until the tool closes it. `gone`: it was already removed.
    `changed`: the tool has stored other tokens there, so nothing was changed.

    Raises:
        ConfigError: `source-not-removed`: the file, or the tool's lock, cannot be read or written. The file is unchanged.
        LockBusy: the tool holds its lock, or keeps changing the file.
    """
    target = Path(os.path.realpath(path))
    remove = _remove_from_database if _is_database(importer, path) else _remove_from_file
    with _tool_lock(importer, target, credential):
        for _ in range(_MAX_ATTEMPTS):
            outcome = remove(importer, path, target, credential)
            if outcome is not None:
                return outcome
    raise _busy_error(importer, path)


def _remove_from_file(importer: Importer, path: Path, target: Path, credential: FoundCredential) -> Removal | None:
    """Return the outcome, or None if the file was replaced at the last moment."""
    data = _read_bytes(importer, path)
    credentials = () if data is None else _parse(importer, path, data)
    current = next((other for other in credentials if credential.is_same_entry(other)), None)
    if data is None or current is None:
        return "gone"
    if not current.has_same_tokens(credential):
        return "changed"
    return "removed" if _replace_content(importer, target, data, _without(data.decode(), target.name, current).encode()) else None


def _remove_from_database(importer: Importer, path: Path, target: Path, credential: FoundCredential) -> Removal | None:
    """Return the outcome, or None if the cell was replaced at the last moment."""
    cells = _read_cells(importer, path) or {}
    credentials = _credentials_in_cells(importer, path, cells)
    current, text = next(((other, text) for other, text in credentials if credential.is_same_entry(other)), (None, ""))
    if current is None or current.cell is None:
        return "gone"
    if not current.has_same_tokens(credential):
        return "changed"
    try:
        result = replace_cell(target, current.cell, text, _without(text, target.name, current), busy_timeout_s=_LOCK_TIMEOUT_S)
    except DatabaseBusyError:
        raise _busy_error(importer, path) from None
    except OSError as error:
        raise _not_removed_error(importer, target, error.strerror or str(error)) from None
    except ValueError as error:
        raise _not_removed_error(importer, target, str(error)) from None
    return {"erased": "removed", "not-erased": "not-erased", "other-text": None}[result]


def _read_cells(importer: Importer, path: Path) -> dict[CellName, str] | None:
    try:
        return read_cells(Path(os.path.realpath(path)), importer.tables, max_bytes=_MAX_BYTES, busy_timeout_s=_LOCK_TIMEOUT_S)
    except DatabaseBusyError:
        raise _busy_error(importer, path) from None
    except OSError as error:
        raise _unreadable_error(importer, path, error.strerror or str(error)) from None
    except ValueError as error:
        raise _unreadable_error(importer, path, str(error)) from None


def _credentials_in_cells(importer: Importer, path: Path, cells: Mapping[CellName, str]) -> list[tuple[FoundCredential, str]]:
    """Return the credentials in the cells, each with the text of its cell."""
    return [
        (dataclasses.replace(credential, cell=name), text)
        for name, text in cells.items()
        for credential in _parse(importer, path, text.encode())
    ]


def _without(text: str, name: str, credential: FoundCredential) -> str:
    document = Document.parse(text, name=name)
    for location in sorted((credential.location, *credential.copy_locations), key=_removal_order, reverse=True):
        document = document.unset(location)
    return document.text


def _removal_order(location: ConfigPath) -> list[str]:
    """Sort by position in an array, because removing an element moves the later elements."""
    return [str(step).zfill(9) for step in location]


def _is_database(importer: Importer, path: Path) -> bool:
    """Whether `path` is a database of the tool."""
    return bool(importer.tables) and _read_start(importer, path, len(HEAD)) == HEAD


def _read_bytes(importer: Importer, path: Path) -> bytes | None:
    """Return the whole file, or None if it does not exist."""
    data = _read_start(importer, path, _MAX_BYTES + 1)
    if data is not None and len(data) > _MAX_BYTES:
        raise _unreadable_error(importer, path, f"it is larger than {_MAX_BYTES >> 20} MiB")
    return data


def _read_start(importer: Importer, path: Path, length: int) -> bytes | None:
    def check(fd: int) -> None:
        problem = untrusted_reason(os.fstat(fd))
        if problem is not None:
            raise _unreadable_error(importer, path, f"it {problem}")

    try:
        return read_start(path, length, check=check)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable_error(importer, path, error.strerror or str(error)) from None
    except ValueError:
        raise _unreadable_error(importer, path, "a file cannot have this name") from None


def _parse(importer: Importer, path: Path, data: bytes) -> tuple[FoundCredential, ...]:
    if not data and path.suffix == ".sqlite":
        return ()  # a database without any content yet
    related = next(
        (
            document
            for related_path in importer.related_files(path)
            if (document := _read_related(importer, related_path)) is not None
        ),
        None,
    )
    try:
        return importer.read(Document.parse(data.decode(), name=str(path)), related)
    except UnicodeDecodeError:
        raise _unreadable_error(importer, path, "it is not UTF-8 text") from None
    except ConfigError as error:
        # Only the position, because the message could quote a token.
        raise _unreadable_error(importer, path, "it is not JSON", where=error.where) from None
    except RecursionError:
        raise _unreadable_error(importer, path, "it is nested too deeply") from None
    except ValueError as error:
        raise _unreadable_error(importer, path, str(error)) from None


def _read_related(importer: Importer, path: Path) -> Document | None:
    """Return the related file; None if it cannot be read. Then a prompt asks the user for the missing data."""
    try:
        data = _read_bytes(importer, path)
        return Document.parse(data.decode(), name=str(path)) if data is not None else None
    except (PorticoError, ValueError, RecursionError):
        return None


def _replace_content(importer: Importer, target: Path, old_content: bytes, new_content: bytes) -> bool:
    """Replace `old_content` by `new_content`. Return False if the file no longer has `old_content`."""
    try:
        info = target.stat()
        for leftover in temporaries(target):  # the temporary file of a killed removal: it contains the file's other secrets
            leftover.unlink(missing_ok=True)
        temporary = write_temporary(target, new_content)
        try:
            copy_permissions(temporary, info)
            if _read_bytes(importer, target) != old_content:
                return False
            replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except OSError as error:
        why = f"{error.strerror or error} [{errno.errorcode.get(error.errno or 0, 'error')}]"
        raise _not_removed_error(importer, target, why) from None
    return True


@contextlib.contextmanager
def _tool_lock(importer: Importer, target: Path, credential: FoundCredential) -> Iterator[None]:
    """Take the lock that the tool itself takes for a write, or for the refresh of a database entry.

    A new `flock` file is not deleted: the tool may already use it, and after a deletion two processes could own the lock.
    """
    if not target.parent.is_dir():
        yield
        return
    lock = _sidecar_path(importer, target, credential)
    if lock is not None:
        try:
            with sidecar(
                lock, as_file=credential.cell is not None, busy_error=_busy_error(importer, target, lock), wait_s=_LOCK_TIMEOUT_S
            ):
                yield
        except LockNotMadeError as error:
            raise _not_removed_error(importer, target, f"its lock {lock} cannot be made: {error}") from None
    elif importer.lock == "flock":
        description = f"{importer.label}'s {target.name}"
        with file_lock(target.with_suffix(".lock"), _LOCK_TIMEOUT_S, what=description, foreign=True):
            yield
    else:
        yield


def _sidecar_path(importer: Importer, target: Path, credential: FoundCredential) -> Path | None:
    if credential.cell is not None:
        return importer.entry_lock(target, str(credential.location[-1]))
    return target.with_name(f"{target.name}.lock") if importer.lock == "folder" else None


def _busy_error(importer: Importer, path: Path, lock: Path | None = None) -> LockBusy:
    hint = f"End {importer.label} and run the command again."
    if lock is not None:
        hint += f" If it is not running, delete {lock}."
    return LockBusy(f"{importer.label} is using {path}.", hint=hint)


def _not_removed_error(importer: Importer, target: Path, why: str) -> ConfigError:
    hint = f"Correct that and run the command again, or sign out in {importer.label}."
    return SourceNotRemoved(f"Could not change {target}. It is unchanged.", why=why, hint=hint)


def _unreadable_error(importer: Importer, path: Path, why: str, *, where: str | None = None) -> ConfigError:
    return ImportUnreadable(
        f"Could not read {importer.label}'s file {path}.",
        why=f"{why}; expected {importer.expected}",
        where=where,
        hint="Nothing was changed. Sign in instead: {prog} onboard --auth-choice minimax-portal",
    )
