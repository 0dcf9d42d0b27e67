"""Reads another tool's SQLite database without leaving a trace, and changes one cell in a transaction.

A database in WAL mode is read together with its log while the tool runs (https://www.sqlite.org/wal.html, "Read-Only
Databases"). The log's index is mapped read-only (`readonly_shm`), so no file is created, changed or deleted. `immutable`
ignores the log, so it is used only for a database without a log.

The file may be damaged or malicious (https://www.sqlite.org/security.html): the cost of a statement is limited, and computed
columns are not read. SQLite's messages are not shown, because they may quote the database's content.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, NoReturn
from urllib.parse import quote

from portico.auth.importers.found import CellName, untrusted_reason

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from portico.auth.importers.found import CellTable

HEAD: Final = b"SQLite format 3\0"
"""The first bytes of a database (https://www.sqlite.org/fileformat.html, section 1.3)."""

Replaced = Literal["erased", "not-erased", "other-text"]

_MAX_ATTEMPTS: Final = 5
_MAX_ROWS: Final = 100
# SQLite's limits: steps per statement (https://www.sqlite.org/c3ref/progress_handler.html), and bytes per value.
_MAX_STEPS: Final = 5_000_000
_MAX_VALUE: Final = 16 << 20
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_IMMUTABLE: Final = "mode=ro&immutable=1"
# Earlier versions of SQLite cannot read STRICT tables, which openclaw 2026.9.6 uses.
_STRICT_VERSION: Final = (3, 37)
_BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# Only a program with write access can finish this write (https://www.sqlite.org/rescode.html).
_UNFINISHED_WRITE: Final = frozenset(
    {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTINIT}
)
_MESSAGES: Final[Mapping[int, str]] = MappingProxyType(
    {
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
        sqlite3.SQLITE_CORRUPT: "it is damaged",
        sqlite3.SQLITE_FULL: "the disk is full",
        sqlite3.SQLITE_INTERRUPT: "it takes too much work",
        sqlite3.SQLITE_NOTADB: "it is damaged, or not a database",
        sqlite3.SQLITE_READONLY: "it cannot be written to",
        sqlite3.SQLITE_TOOBIG: "it holds a value that is too long",
    }
)


class DatabaseBusyError(Exception):
    """Another process has locked the database."""


def read_cells(path: Path, tables: Sequence[CellTable], *, max_bytes: int, busy_timeout_s: float) -> dict[CellName, str] | None:
    """Return the texts in `tables`, or None if the database has none of these tables. `max_bytes` limits all texts together.

    Raises:
        ValueError: the database cannot be read; the message says why.
        OSError: the database cannot be read.
        DatabaseBusyError: another process keeps it locked for more than `busy_timeout_s` seconds, or keeps changing it.
    """
    for _ in range(_MAX_ATTEMPTS):
        before, mode = _file_stats(path), _read_mode(path)
        try:
            with _open(path, mode, busy_timeout_s) as connection:
                present = [table for table in tables if _has_table(connection, table)]
                cells = _read_table_cells(connection, present, max_bytes)
        except sqlite3.Error as error:
            if _read_mode(path) != mode:
                continue  # the tool has started or ended during the read
            _raise_error(error, path)
        # A reader without the log takes no lock. Only the files' sizes and times show a write during the read.
        if mode != _IMMUTABLE or _file_stats(path) == before:
            return cells if present else None
    raise DatabaseBusyError


def replace_cell(path: Path, cell: CellName, old_text: str, new_text: str, *, busy_timeout_s: float) -> Replaced:
    """Replace `old_text` by `new_text` in one transaction.

    The log of this transaction is deleted, unless another process uses it.

    `erased`: the old text is overwritten. `not-erased`: it stays in the file until the process that reads the database closes it.
    `other-text`: the cell had another text, and was not changed.

    Raises:
        ValueError: the cell cannot be changed and is unchanged; the message says why.
        OSError: the cell cannot be changed and is unchanged.
        DatabaseBusyError: another process keeps the database locked for more than `busy_timeout_s` seconds.
    """
    table = cell.table
    # Not an injection (S608): the names are constants of this program.
    statement = (
        f'UPDATE "{table.name}" SET "{table.text}" = ?, "{table.changed}" = ? WHERE "{table.key}" = ? AND "{table.text}" = ?'  # noqa: S608
    )
    try:
        with _open(path, "mode=rw", busy_timeout_s) as connection:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("BEGIN IMMEDIATE")
            row_count = connection.execute(statement, (new_text, time.time_ns() // 10**6, cell.key, old_text)).rowcount
            connection.execute("COMMIT")
            if row_count != 1:
                return "other-text"
            return "erased" if _empty_log(connection) else "not-erased"
    except sqlite3.Error as error:
        _raise_error(error, path)


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Move the log into the database. Return whether this worked. If a reader prevents it, the tool moves the log later.

    See https://www.sqlite.org/pragma.html#pragma_wal_checkpoint for the numbers.
    """
    try:
        (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return bool(blocked == 0)


@contextlib.contextmanager
def _open(path: Path, mode: str, busy_timeout_s: float) -> Iterator[sqlite3.Connection]:
    for suffix in _SIDE_FILES:
        _side_file(path, suffix)
    name = f"file:{quote(str(path.absolute()))}?{mode}"
    connection = sqlite3.connect(name, uri=True, timeout=busy_timeout_s, isolation_level=None)
    try:
        # As bytes, because SQLite's error for invalid UTF-8 would quote the text.
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        connection.set_progress_handler(lambda: 1, _MAX_STEPS)
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection
    finally:
        connection.close()


def _read_mode(path: Path) -> str:
    """Return the URI parameters (https://www.sqlite.org/uri.html) for reading without a change in the folder."""
    log, index, journal = (_side_file(path, suffix) for suffix in _SIDE_FILES)
    if log is not None and index is not None:
        return "mode=ro&readonly_shm=1"
    if log is not None and log.st_size:
        raise ValueError(f"its log {path.name}-wal exists without {path.name}-shm; start the tool once")
    return "mode=ro" if journal is not None else _IMMUTABLE


def _side_file(path: Path, suffix: str) -> os.stat_result | None:
    """Return the status of a database's log, index or journal, or None if it does not exist."""
    side_path = path.with_name(path.name + suffix)
    try:
        info = side_path.lstat()
    except FileNotFoundError:
        return None
    problem = untrusted_reason(info)
    if problem is not None:
        raise ValueError(f"{side_path.name} {problem}")
    return info


def _file_stats(path: Path) -> list[tuple[int, int, int] | None]:
    """Return the sizes and times of the database, its log and its journal, which a write changes."""
    stats = (path.stat(), _side_file(path, "-wal"), _side_file(path, "-journal"))
    return [(info.st_ino, info.st_size, info.st_mtime_ns) if info is not None else None for info in stats]


def _has_table(connection: sqlite3.Connection, table: CellTable) -> bool:
    """Whether the database has this table."""
    query = "SELECT sql LIKE 'CREATE TABLE %' FROM sqlite_master WHERE type = 'table' AND name = ?"
    definition = connection.execute(query, (table.name,)).fetchone()
    if definition is None:
        return False
    # `hidden` is 0 for stored columns (https://www.sqlite.org/pragma.html#pragma_table_xinfo).
    query = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0"
    stored_columns = {name for (name,) in connection.execute(query, (table.name,))} if definition[0] else set()
    if not {table.key.encode(), table.text.encode(), table.changed.encode()} <= stored_columns:
        raise ValueError(f"its table {table.name} has other columns than expected")
    return True


def _read_table_cells(connection: sqlite3.Connection, tables: Sequence[CellTable], max_bytes: int) -> dict[CellName, str]:
    """Read row by row, to limit the memory used. Rows are in the order of the tables, and of the keys in each table."""
    cells: dict[CellName, str] = {}
    remaining = max_bytes
    for table in tables:
        texts: dict[str, str] = {}
        for key, content in _read_rows(connection, table, max_bytes):
            remaining -= len(key) + len(content)
            if remaining < 0:
                raise ValueError(f"{table.name} has more than {max_bytes >> 20} MiB of text")
            if len(texts) == _MAX_ROWS:
                raise ValueError(f"{table.name} has more than {_MAX_ROWS} rows")
            try:
                texts[key.decode()] = content.decode()
            except UnicodeDecodeError:
                raise ValueError(f"{table.name} has text that is not UTF-8") from None
        cells |= {CellName(table, key): texts[key] for key in sorted(texts)}
    return cells


def _read_rows(connection: sqlite3.Connection, table: CellTable, max_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    columns = f'"{table.key}", typeof("{table.key}"), substr("{table.text}", 1, ?), typeof("{table.text}")'
    condition = f'"{table.key}" IN ({", ".join("?" * len(table.rows))})' if table.rows else "1"
    query = f'SELECT {columns} FROM "{table.name}" WHERE {condition}'  # noqa: S608 - the names are constants
    for key, key_type, content, content_type in connection.execute(query, (max_bytes + 1, *table.rows)):
        if (key_type, content_type) != (b"text", b"text"):
            raise ValueError(f"{table.name} has values that are not text")
        yield key, content


def _raise_error(error: sqlite3.Error, path: Path) -> NoReturn:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _BUSY_CODES:
        raise DatabaseBusyError from None
    if code in _UNFINISHED_WRITE:
        raise ValueError(f"a write to {path.name} was interrupted; start the tool once") from None
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    message = _MESSAGES.get(code & 0xFF, "its content is not as expected")
    version_note = f"; this Python's SQLite is {sqlite3.sqlite_version}, and STRICT tables need 3.37" if _lacks_strict() else ""
    raise ValueError(f"SQLite cannot use {path.name}: {message} ({name}){version_note}") from None


def _lacks_strict() -> bool:
    return sqlite3.sqlite_version_info < _STRICT_VERSION
