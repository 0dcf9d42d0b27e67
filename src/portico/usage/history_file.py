"""The database of the usage history: SQLite in WAL mode (https://www.sqlite.org/wal.html), shared by processes.

The database contains no secrets and no text of requests. A damaged database is renamed and replaced, because requests must not
fail because of their history. This module is imported only when the history is written or read, so that other commands do not
load SQLite.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from itertools import chain
from typing import TYPE_CHECKING, Final, Self, TypeVar

from portico.errors import PorticoError
from portico.paths import FILE_MODE, make_private_folder
from portico.store.errors import StateNewer
from portico.usage.entry import Entry, Retention
from portico.util.files import FileFailed, UnsafeFile, check_folder, file_error, network_file_system, set_aside
from portico.util.lock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.interfaces.basics import Clock
    from portico.paths import Paths


T = TypeVar("T")

# One script for each version of the schema; each upgrades from the version before.
MIGRATIONS: Final = (
    """
    CREATE TABLE requests (
        at_ms INTEGER NOT NULL,
        model TEXT NOT NULL,
        credential TEXT NOT NULL,
        client TEXT NOT NULL,
        api TEXT NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cache_read_tokens INTEGER NOT NULL,
        cache_write_tokens INTEGER NOT NULL,
        cost_usd REAL,
        first_byte_ms INTEGER,
        latency_ms INTEGER,
        outcome TEXT NOT NULL,
        attempts INTEGER NOT NULL
    );
    CREATE INDEX requests_at ON requests (at_ms);
    CREATE INDEX requests_unpriced ON requests (model, at_ms) WHERE cost_usd IS NULL;
    """,
)
COLUMNS: Final = Entry._fields
BUSY_S: Final = 5.0
# Names from clients may have any length.
_TRUNCATED: Final = frozenset({"model", "credential", "client", "api", "outcome"})
_VALUES: Final = ", ".join("substr(?, 1, 200)" if name in _TRUNCATED else "?" for name in COLUMNS)
INSERT: Final = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({_VALUES})"  # noqa: S608 - the names are a class's own
ROWS_PER_INSERT: Final = 32
INSERT_MANY: Final = INSERT + f", ({_VALUES})" * (ROWS_PER_INSERT - 1)
"""The statement for `ROWS_PER_INSERT` rows. Other threads can run between two statements."""

_SELECT_ONE: Final = f"SELECT {', '.join(COLUMNS)} FROM requests LIMIT 1"  # noqa: S608 - the same
_OPEN_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
# SQLITE_ERROR counts too: the statements are fixed, so the table must be wrong.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


class HistoryFile:
    """Opens the database and replaces a damaged one. Blocking: for a thread, not for an event loop.

    `busy_s` is how long a write waits for another process. `warn` is called after a damaged database was renamed.
    """

    def __init__(
        self,
        paths: Paths,
        warn: Callable[[str], None],
        *,
        busy_s: float = BUSY_S,
        migrations: Sequence[str] = MIGRATIONS,
    ) -> None:
        self.path = paths.history
        self._lock = FileLock(paths.locks / "history.lock", what="the history")
        self._warn = warn
        self._busy_s = busy_s
        self._migrations = migrations

    def open(self) -> sqlite3.Connection:
        """Connect to the database. If necessary, create it or upgrade its schema first.

        Raises:
            StoreError: `state-newer`: a later version of Portico created it; or the file is unusable.
            LockBusy: another process creates or upgrades it, and does not finish.
            sqlite3.Error: SQLite cannot open it.
        """
        self._make_private()
        connection = sqlite3.connect(self.path, timeout=self._busy_s, isolation_level=None)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def recover(self, error: Exception) -> bool:
        """Rename the closed database if `error` shows that it is damaged. Return whether another try makes sense."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            return False
        try:
            self._lock.acquire()
            try:
                # Another process may already have replaced the database with a sound one.
                return not self.path.exists() or self._is_sound() or self._set_aside(str(error))
            finally:
                self._lock.release()
        except (PorticoError, OSError):
            return False

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return the result of `work`. None without a history, or if a damaged history was renamed.

        Raises:
            StoreError: the history cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            with contextlib.closing(self.open()) as connection:
                return work(connection)
        except sqlite3.Error as error:
            if self.recover(error):
                return None
            raise FileFailed(f"Could not read {self.path}.", why=str(error)) from error

    def _make_private(self) -> None:
        """Create the file with mode 0600 before SQLite opens it, because SQLite creates the log and index with the same mode."""
        try:
            make_private_folder(self.path.parent)
            check_folder(self.path.parent)
            fd = os.open(self.path, _OPEN_FLAGS, FILE_MODE)
            try:
                status = os.fstat(fd)
                own = os.name != "posix" or status.st_uid == os.geteuid()
                if not stat.S_ISREG(status.st_mode) or not own:
                    raise UnsafeFile(f"Could not use {self.path}.", why="it is not a regular file of yours")
                if os.name == "posix" and status.st_mode & 0o077:
                    os.fchmod(fd, FILE_MODE)
            finally:
                os.close(fd)
        except OSError as error:
            raise file_error(f"Could not use {self.path}.", error) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode, a power failure loses at most the last rows
        if self._version(connection) == len(self._migrations):
            return
        self._lock.acquire()
        try:
            # WAL needs shared memory, so it does not work between two machines.
            shared = network_file_system(self.path.parent) is not None
            connection.execute(f"PRAGMA journal_mode = {'DELETE' if shared else 'WAL'}")
            for version in range(self._version(connection), len(self._migrations)):
                script = f"BEGIN IMMEDIATE; {self._migrations[version]}; PRAGMA user_version = {version + 1}; COMMIT;"
                connection.executescript(script)
        finally:
            self._lock.release()

    def _version(self, connection: sqlite3.Connection) -> int:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(self._migrations):
            why = f"its schema has version {version}, and this program supports version {len(self._migrations)}"
            hint = f"Upgrade Portico, or move the file away: {self.path}"
            raise StateNewer("A later version of Portico created the history.", why=why, hint=hint)
        return version

    def _set_aside(self, why: str) -> bool:
        new_path = set_aside(self.path)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).replace(new_path.with_name(new_path.name + suffix))
        self._warn(f"The usage history is damaged ({why}); it was renamed to {new_path}, and Portico starts a new one.")
        return True

    def _is_sound(self) -> bool:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=self._busy_s)) as connection:
                connection.execute(_SELECT_ONE).fetchone()
                return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.Error:
            return False


_TRIES: Final = 2  # the first try may find a damaged history
_PRUNED_EVERY: Final = 1000  # rows
_DAY_MS: Final = 86_400_000
_MAX_INTEGER: Final = 2**53


class HistoryWriter:
    """Writes batches, each in one transaction, over one connection."""

    def __init__(
        self,
        paths: Paths,
        retention: Retention,
        clock: Clock,
        warn: Callable[[str], None],
        *,
        file: HistoryFile | None = None,
    ) -> None:
        self._file = file or HistoryFile(paths, warn)
        self._retention = retention
        self._clock = clock
        self._warn = warn
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._last_failure = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._close()

    def write(self, entries: Sequence[Entry]) -> bool:
        """Write `entries`.

        If the history is damaged, write them to a new one. Return whether this worked; warn once for each failure.
        """
        for _ in range(_TRIES):
            try:
                self._insert(self._current(), entries)
            except (sqlite3.Error, PorticoError, OSError) as error:
                self._close()
                if not self._file.recover(error):
                    return self._report_failure(str(error))
            else:
                self._last_failure = ""
                return True
        return self._report_failure("a new database is damaged again")

    def _current(self) -> sqlite3.Connection:
        """Return the connection, after connecting again if the file was replaced or deleted."""
        if self._connection is not None and not self._is_in_place():
            self._close()
        if self._connection is None:
            self._connection = self._file.open()
            self._opened = self._file.path.stat()
        return self._connection

    def _is_in_place(self) -> bool:
        try:
            return self._opened is not None and os.path.samestat(self._opened, self._file.path.stat())
        except FileNotFoundError:
            return False

    def _insert(self, connection: sqlite3.Connection, entries: Sequence[Entry]) -> None:
        try:
            self._insert_rows(connection, entries)
        except OverflowError:
            self._insert_rows(connection, [[*map(_clamped, entry)] for entry in entries])

    def _insert_rows(self, connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        connection.execute("BEGIN IMMEDIATE")  # a transaction that starts with a read may fail when it wants to write
        try:
            batched_rows = len(rows) // ROWS_PER_INSERT * ROWS_PER_INSERT
            starts = range(0, batched_rows, ROWS_PER_INSERT)
            batches = (chain.from_iterable(rows[start : start + ROWS_PER_INSERT]) for start in starts)
            connection.executemany(INSERT_MANY, map(tuple, batches))
            connection.executemany(INSERT, rows[batched_rows:])
            last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
            if last // _PRUNED_EVERY != (last - len(rows)) // _PRUNED_EVERY:
                self._prune(connection, last)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection, last: int) -> None:
        oldest = self._clock.wall_ms() - self._retention.days * _DAY_MS
        connection.execute("DELETE FROM requests WHERE at_ms < ?", (oldest,))
        connection.execute("DELETE FROM requests WHERE rowid <= ?", (last - self._retention.rows,))

    def _report_failure(self, why: str) -> bool:
        if why != self._last_failure:
            self._last_failure = why
            self._warn(f"Could not write the usage history ({why}); requests still work.")
        return False

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _clamped(value: object) -> object:
    """Limit an integer to the range of the database."""
    return max(-_MAX_INTEGER, min(value, _MAX_INTEGER)) if isinstance(value, int) else value
