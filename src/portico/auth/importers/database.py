"""Another tool's SQLite database: read without a trace, and one cell of it changed in a transaction.

A database in WAL mode is read together with its log while the tool runs (https://www.sqlite.org/wal.html, "Read-Only Databases"),
with the log's index mapped for reading alone (`readonly_shm`), so that no file is made, changed or deleted. `immutable` is for a
database without a log only: it leaves the log out.

The file may be damaged or made to do harm (https://www.sqlite.org/security.html): what a statement may cost is bounded, a column
that is computed is not read, and no text of SQLite's is passed on, since it may quote what is in the database.
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
"""What a database begins with (https://www.sqlite.org/fileformat.html, section 1.3)."""

Replaced = Literal["erased", "not-erased", "other-text"]

_MAX_ATTEMPTS: Final = 5
_MAX_ROWS: Final = 100
# What SQLite may do for one statement (https://www.sqlite.org/c3ref/progress_handler.html), and its longest value in bytes.
_MAX_STEPS: Final = 5_000_000
_MAX_VALUE: Final = 16 << 20
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_IMMUTABLE: Final = "mode=ro&immutable=1"
# Tables of the kind STRICT, such as openclaw 2026.9.6 makes, are unreadable to earlier versions.
_STRICT_VERSION: Final = (3, 37)
_BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# Only a program that may write to the files can finish this (https://www.sqlite.org/rescode.html).
_UNFINISHED_WRITE: Final = frozenset(
    {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTINIT}
)
_MESSAGES: Final[Mapping[int, str]] = MappingProxyType(
    {
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
        sqlite3.SQLITE_CORRUPT: "it is damaged",
        sqlite3.SQLITE_FULL: "the disk is full",
        sqlite3.SQLITE_INTERRUPT: "it takes too much work",
        sqlite3.SQLITE_NOTADB: "it is damaged, or no database",
        sqlite3.SQLITE_READONLY: "it cannot be written to",
        sqlite3.SQLITE_TOOBIG: "it holds a value that is too long",
    }
)


class DatabaseBusyError(Exception):
    """Another process holds the database."""


def read_cells(path: Path, tables: Sequence[CellTable], *, max_bytes: int, busy_timeout_s: float) -> dict[CellName, str] | None:
    """The texts in `tables`; None where the database has none of these tables. `max_bytes` bounds them all together.

    Raises:
        ValueError: it cannot be read, and why.
        OSError: the same, as the system says it.
        DatabaseBusyError: another process keeps it locked for longer than `busy_timeout_s` seconds, or it never stops changing.
    """
    for _ in range(_MAX_ATTEMPTS):
        before, mode = _file_stats(path), _read_mode(path)
        try:
            with _open(path, mode, busy_timeout_s) as connection:
                present = [table for table in tables if _has_table(connection, table)]
                cells = _read_table_cells(connection, present, max_bytes)
        except sqlite3.Error as error:
            if _read_mode(path) != mode:
                continue  # the tool has begun or ended meanwhile
            _raise_error(error, path)
        # Nothing is locked by a reader that leaves the log out, so what came meanwhile shows only by what has changed.
        if mode != _IMMUTABLE or _file_stats(path) == before:
            return cells if present else None
    raise DatabaseBusyError


def replace_cell(path: Path, cell: CellName, old_text: str, new_text: str, *, busy_timeout_s: float) -> Replaced:
    """Replace `old_text` by `new_text`, in one transaction.

    `erased`: the old text is overwritten, not only given free. `not-erased`: it stays in the file until the process that reads
    the database has closed it. `other-text`: something else stood there by now, and still does.
    The log and its index that this makes are gone afterwards, unless another process has them open.

    Raises:
        ValueError: it cannot be changed, and why; it is as it was.
        OSError: the same, as the system says it.
        DatabaseBusyError: another process keeps it locked for longer than `busy_timeout_s` seconds.
    """
    table = cell.table
    # The names are constants of this program; S608 sees an f-string.
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
    """Whether everything in the log is in the database by now; a reader may be in the way, and the tool then does it later.

    The first number that the statement returns says so (https://www.sqlite.org/pragma.html#pragma_wal_checkpoint).
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
        # What is not UTF-8 is an error of SQLite's otherwise, and that quotes the text.
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        connection.set_progress_handler(lambda: 1, _MAX_STEPS)
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection
    finally:
        connection.close()


def _read_mode(path: Path) -> str:
    """The parameters of SQLite's URI (https://www.sqlite.org/uri.html) that leave everything in the folder as it is.

    Raises:
        ValueError: there is a log that can be read by making a file only, or a file that is not to be believed.
    """
    log, index, journal = (_side_file(path, suffix) for suffix in _SIDE_FILES)
    if log is not None and index is not None:
        return "mode=ro&readonly_shm=1"
    if log is not None and log.st_size:
        raise ValueError(f"its log {path.name}-wal is there without {path.name}-shm; start the tool once")
    return "mode=ro" if journal is not None else _IMMUTABLE


def _side_file(path: Path, suffix: str) -> os.stat_result | None:
    """The log, its index or the journal beside a database; None where it is not there.

    Raises:
        ValueError: SQLite would wait for it for ever, or believe a stranger.
    """
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
    """What a write changes of the database, its log and its journal."""
    stats = (path.stat(), _side_file(path, "-wal"), _side_file(path, "-journal"))
    return [(info.st_ino, info.st_size, info.st_mtime_ns) if info is not None else None for info in stats]


def _has_table(connection: sqlite3.Connection, table: CellTable) -> bool:
    """Whether it has this table.

    Raises:
        ValueError: the table is not one that only stores its columns.
    """
    query = "SELECT sql LIKE 'CREATE TABLE %' FROM sqlite_master WHERE type = 'table' AND name = ?"
    definition = connection.execute(query, (table.name,)).fetchone()
    if definition is None:
        return False
    # `hidden` is 0 for a column that is stored and not computed (https://www.sqlite.org/pragma.html#pragma_table_xinfo).
    query = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0"
    stored_columns = {name for (name,) in connection.execute(query, (table.name,))} if definition[0] else set()
    if not {table.key.encode(), table.text.encode(), table.changed.encode()} <= stored_columns:
        raise ValueError(f"its table {table.name} is not as it must be")
    return True


def _read_table_cells(connection: sqlite3.Connection, tables: Sequence[CellTable], max_bytes: int) -> dict[CellName, str]:
    """Row by row, so that what is too much is never in memory; in the order of the tables, and of the keys in each."""
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
                raise ValueError(f"{table.name} has what is not UTF-8 text") from None
        cells |= {CellName(table, key): texts[key] for key in sorted(texts)}
    return cells


def _read_rows(connection: sqlite3.Connection, table: CellTable, max_bytes: int) -> Iterator[tuple[bytes, bytes]]:
    columns = f'"{table.key}", typeof("{table.key}"), substr("{table.text}", 1, ?), typeof("{table.text}")'
    condition = f'"{table.key}" IN ({", ".join("?" * len(table.rows))})' if table.rows else "1"
    query = f'SELECT {columns} FROM "{table.name}" WHERE {condition}'  # noqa: S608 - the names are constants
    for key, key_type, content, content_type in connection.execute(query, (max_bytes + 1, *table.rows)):
        if (key_type, content_type) != (b"text", b"text"):
            raise ValueError(f"{table.name} has something else than text")
        yield key, content


def _raise_error(error: sqlite3.Error, path: Path) -> NoReturn:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _BUSY_CODES:
        raise DatabaseBusyError from None
    if code in _UNFINISHED_WRITE:
        raise ValueError(f"a write to {path.name} was cut off; start the tool once") from None
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    message = _MESSAGES.get(code & 0xFF, "something in it is not as it must be")
    version_note = f"; this Python's SQLite is {sqlite3.sqlite_version}, and STRICT tables need 3.37" if _lacks_strict() else ""
    raise ValueError(f"SQLite cannot use {path.name}: {message} ({name}){version_note}") from None


def _lacks_strict() -> bool:
    return sqlite3.sqlite_version_info < _STRICT_VERSION
