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

from portico.auth.importers.found import CellName, why_not_own

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from portico.auth.importers.found import CellTable

HEAD: Final = b"SQLite format 3\0"
"""What a database begins with (https://www.sqlite.org/fileformat.html, section 1.3)."""

Replaced = Literal["erased", "not-erased", "other-text"]

_ROUNDS: Final = 5
_MAX_ROWS: Final = 100
# What SQLite may do for one statement (https://www.sqlite.org/c3ref/progress_handler.html), and its longest value in bytes.
_MAX_STEPS: Final = 5_000_000
_MAX_VALUE: Final = 16 << 20
_SIDE_FILES: Final = ("-wal", "-shm", "-journal")
_ALONE: Final = "mode=ro&immutable=1"
# Tables of the kind STRICT, such as openclaw 2026.9.6 makes, are unreadable to earlier versions.
_STRICT_SINCE: Final = (3, 37)
_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
# Only a program that may write to the files can finish this (https://www.sqlite.org/rescode.html).
_CUT_OFF: Final = frozenset(
    {sqlite3.SQLITE_READONLY_ROLLBACK, sqlite3.SQLITE_READONLY_RECOVERY, sqlite3.SQLITE_READONLY_CANTINIT}
)
_WORDS: Final[Mapping[int, str]] = MappingProxyType(
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


def read_cells(path: Path, tables: Sequence[CellTable], *, longest: int, busy_s: float) -> dict[CellName, str] | None:
    """The texts in `tables`; None where the database has none of these tables. `longest` bounds all of them together, in bytes.

    Raises:
        ValueError: it cannot be read, and why.
        OSError: the same, as the system says it.
        DatabaseBusyError: another process keeps it locked for longer than `busy_s` seconds, or it never stops changing.
    """
    for _ in range(_ROUNDS):
        before, how = _state(path), _how_to_read(path)
        try:
            with _open(path, how, busy_s) as connection:
                there = [table for table in tables if _has(connection, table)]
                cells = _cells(connection, there, longest)
        except sqlite3.Error as error:
            if _how_to_read(path) != how:
                continue  # the tool has begun or ended meanwhile
            _refuse(error, path)
        # Nothing is locked by a reader that leaves the log out, so what came meanwhile shows only by what has changed.
        if how != _ALONE or _state(path) == before:
            return cells if there else None
    raise DatabaseBusyError


def replace_cell(path: Path, cell: CellName, before: str, after: str, *, busy_s: float) -> Replaced:
    """Put `after` in the place of `before`, in one transaction.

    `erased`: the old text is overwritten, not only given free. `not-erased`: it stays in the file until the process that reads
    the database has closed it. `other-text`: something else stood there by now, and still does.
    The log and its index that this makes are gone afterwards, unless another process has them open.

    Raises:
        ValueError: it cannot be changed, and why; it is as it was.
        OSError: the same, as the system says it.
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
            if changed != 1:
                return "other-text"
            return "erased" if _empties_log(connection) else "not-erased"
    except sqlite3.Error as error:
        _refuse(error, path)


def _empties_log(connection: sqlite3.Connection) -> bool:
    """Whether everything in the log is in the database by now; a reader may be in the way, and the tool then does it later.

    The first number that the statement returns says so (https://www.sqlite.org/pragma.html#pragma_wal_checkpoint).
    """
    try:
        (blocked, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.Error:
        return False
    return bool(blocked == 0)


@contextlib.contextmanager
def _open(path: Path, how: str, busy_s: float) -> Iterator[sqlite3.Connection]:
    for suffix in _SIDE_FILES:
        _side(path, suffix)
    name = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(name, uri=True, timeout=busy_s, isolation_level=None)
    try:
        # What is not UTF-8 is an error of SQLite's otherwise, and that quotes the text.
        connection.text_factory = bytes
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE)
        connection.set_progress_handler(lambda: 1, _MAX_STEPS)
        connection.execute("PRAGMA trusted_schema=OFF")
        yield connection
    finally:
        connection.close()


def _how_to_read(path: Path) -> str:
    """The parameters of SQLite's URI (https://www.sqlite.org/uri.html) that leave everything in the folder as it is.

    Raises:
        ValueError: there is a log that can be read by making a file only, or a file that is not to be believed.
    """
    log, index, journal = (_side(path, suffix) for suffix in _SIDE_FILES)
    if log is not None and index is not None:
        return "mode=ro&readonly_shm=1"
    if log is not None and log.st_size:
        raise ValueError(f"its log {path.name}-wal is there without {path.name}-shm; start the tool once")
    return "mode=ro" if journal is not None else _ALONE


def _side(path: Path, suffix: str) -> os.stat_result | None:
    """The log, its index or the journal beside a database; None where it is not there.

    Raises:
        ValueError: SQLite would wait for it for ever, or believe a stranger.
    """
    place = path.with_name(path.name + suffix)
    try:
        found = place.lstat()
    except FileNotFoundError:
        return None
    why = why_not_own(found)
    if why is not None:
        raise ValueError(f"{place.name} {why}")
    return found


def _state(path: Path) -> list[tuple[int, int, int] | None]:
    """What a write changes of the database, its log and its journal."""
    seen = (path.stat(), _side(path, "-wal"), _side(path, "-journal"))
    return [(found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else None for found in seen]


def _has(connection: sqlite3.Connection, table: CellTable) -> bool:
    """Whether it has this table.

    Raises:
        ValueError: the table is not one that only stores its columns.
    """
    query = "SELECT sql LIKE 'CREATE TABLE %' FROM sqlite_master WHERE type = 'table' AND name = ?"
    found = connection.execute(query, (table.name,)).fetchone()
    if found is None:
        return False
    # `hidden` is 0 for a column that is stored and not computed (https://www.sqlite.org/pragma.html#pragma_table_xinfo).
    query = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0"
    stored = {name for (name,) in connection.execute(query, (table.name,))} if found[0] else set()
    if not {table.key.encode(), table.text.encode(), table.changed.encode()} <= stored:
        raise ValueError(f"its table {table.name} is not as it must be")
    return True


def _cells(connection: sqlite3.Connection, tables: Sequence[CellTable], longest: int) -> dict[CellName, str]:
    """Row by row, so that what is too much is never in memory; in the order of the tables, and of the keys in each."""
    cells: dict[CellName, str] = {}
    left = longest
    for table in tables:
        found: dict[str, str] = {}
        for key, content in _rows(connection, table, longest):
            left -= len(key) + len(content)
            if left < 0:
                raise ValueError(f"{table.name} has more than {longest >> 20} MiB of text")
            if len(found) == _MAX_ROWS:
                raise ValueError(f"{table.name} has more than {_MAX_ROWS} rows")
            try:
                found[key.decode()] = content.decode()
            except UnicodeDecodeError:
                raise ValueError(f"{table.name} has what is not UTF-8 text") from None
        cells |= {CellName(table, key): found[key] for key in sorted(found)}
    return cells


def _rows(connection: sqlite3.Connection, table: CellTable, longest: int) -> Iterator[tuple[bytes, bytes]]:
    columns = f'"{table.key}", typeof("{table.key}"), substr("{table.text}", 1, ?), typeof("{table.text}")'
    where = f'"{table.key}" IN ({", ".join("?" * len(table.rows))})' if table.rows else "1"
    query = f'SELECT {columns} FROM "{table.name}" WHERE {where}'  # noqa: S608 - the names are constants
    for key, key_type, content, content_type in connection.execute(query, (longest + 1, *table.rows)):
        if (key_type, content_type) != (b"text", b"text"):
            raise ValueError(f"{table.name} has something else than text")
        yield key, content


def _refuse(error: sqlite3.Error, path: Path) -> NoReturn:
    code = getattr(error, "sqlite_errorcode", 0)
    if code & 0xFF in _BUSY:
        raise DatabaseBusyError from None
    if code in _CUT_OFF:
        raise ValueError(f"a write to {path.name} was cut off; start the tool once") from None
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    words = _WORDS.get(code & 0xFF, "something in it is not as it must be")
    old = f"; this Python's SQLite is {sqlite3.sqlite_version}, and STRICT tables need 3.37" if _is_old() else ""
    raise ValueError(f"SQLite cannot use {path.name}: {words} ({name}){old}") from None


def _is_old() -> bool:
    return sqlite3.sqlite_version_info < _STRICT_SINCE
