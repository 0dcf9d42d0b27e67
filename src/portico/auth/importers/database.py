"""Another tool's SQLite database: read without a trace, and one cell of it changed in a transaction.

A database in WAL mode is read together with its log while the tool runs (https://www.sqlite.org/wal.html, "Read-Only Databases"),
with the log's index mapped for reading alone (`readonly_shm`), so that no file is made, changed or deleted. `immutable` is for a
database without a log only: it leaves the log out.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import quote

from portico.auth.importers.found import CellName

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from portico.auth.importers.found import CellTable

HEAD: Final = b"SQLite format 3\0"
"""What a database begins with (https://www.sqlite.org/fileformat.html, section 1.3)."""

_ROUNDS: Final = 5
# Tables of the kind STRICT, such as openclaw 2026.9.6 makes, are unreadable to earlier versions.
_STRICT_SINCE: Final = (3, 37)
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class DatabaseBusyError(Exception):
    """Another process holds the database."""


def read_cells(path: Path, tables: Sequence[CellTable], *, longest: int, busy_s: float) -> dict[CellName, str] | None:
    """The texts in `tables`; None where the database has none of these tables. `longest` bounds a text, in characters.

    Raises:
        ValueError: it cannot be read, and why.
        OSError: the same, as the system says it.
        DatabaseBusyError: another process keeps it locked for longer than `busy_s` seconds, or it never stops changing.
    """
    for _ in range(_ROUNDS):
        before = _state(path)
        try:
            with _open(path, _how_to_read(path), busy_s) as connection:
                there = [table for table in tables if _has(connection, table)]
                cells = {name: text for table in there for name, text in _cells(connection, table, longest)}
        except sqlite3.Error as error:
            _refuse(error, path)
        # Without a log nothing is locked, so a writer that came meanwhile shows only by what it has changed.
        if _log_of(path).exists() or _state(path) == before:
            return cells if there else None
    raise DatabaseBusyError


def replace_cell(path: Path, cell: CellName, before: str, after: str, *, busy_s: float) -> bool:
    """Put `after` in the place of `before`, in one transaction; False if something else stands there by now.

    The old text is overwritten, not only given free. The log and its index that this makes are gone afterwards, unless another
    process has them open.

    Raises:
        ValueError: it cannot be changed, and why; it is as it was.
        DatabaseBusyError: another process keeps it locked for longer than `busy_s` seconds.
    """
    table = cell.table
    # The names are constants of this program; S608 sees an f-string.
    change = f'UPDATE "{table.name}" SET "{table.text}" = ?, "{table.changed}" = ? WHERE "{table.key}" = ? AND "{table.text}" = ?'  # noqa: S608
    try:
        with _open(path, "mode=rw", busy_s) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            changed = connection.execute(change, (after, time.time_ns() // 10**6, cell.key, before)).rowcount
            connection.execute("COMMIT")
            with contextlib.suppress(sqlite3.Error):  # a reader may be in the way; the log is then emptied by the tool
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        _refuse(error, path)
    return changed == 1


@contextlib.contextmanager
def _open(path: Path, how: str, busy_s: float) -> Iterator[sqlite3.Connection]:
    name = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(name, uri=True, timeout=busy_s, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection
    finally:
        connection.close()


def _how_to_read(path: Path) -> str:
    """The parameters of SQLite's URI (https://www.sqlite.org/uri.html) that leave everything in the folder as it is.

    Raises:
        ValueError: there is a log that can be read by making a file only.
    """
    if _log_of(path).exists():
        index = path.with_name(f"{path.name}-shm")
        if index.exists():
            return "mode=ro&readonly_shm=1"
        if _log_of(path).stat().st_size:
            raise ValueError(f"its log {_log_of(path).name} is there without {index.name}; start the tool once")
    return "mode=ro" if path.with_name(f"{path.name}-journal").exists() else "mode=ro&immutable=1"


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _state(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _has(connection: sqlite3.Connection, table: CellTable) -> bool:
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (table.name,)).fetchone() is not None


def _cells(connection: sqlite3.Connection, table: CellTable, longest: int) -> Iterator[tuple[CellName, str]]:
    columns = f'"{table.key}", substr("{table.text}", 1, ?), length("{table.text}")'
    where = f'"{table.key}" IN ({", ".join("?" * len(table.rows))})' if table.rows else "1"
    query = f'SELECT {columns} FROM "{table.name}" WHERE {where} ORDER BY "{table.key}"'  # noqa: S608 - the names are constants
    for key, text, length in connection.execute(query, (longest, *table.rows)):
        if not isinstance(text, str) or length > longest:
            raise ValueError(f"{table.name} has no text, or more than {longest >> 20} MiB of it")
        yield CellName(table, str(key)), text


def _refuse(error: sqlite3.Error, path: Path) -> NoReturn:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _BUSY:
        raise DatabaseBusyError from None
    old = f"; this Python's SQLite is {sqlite3.sqlite_version}, and STRICT tables need 3.37" if _is_old() else ""
    raise ValueError(f"SQLite cannot use {path.name}: {error}{old}") from None


def _is_old() -> bool:
    return sqlite3.sqlite_version_info < _STRICT_SINCE
