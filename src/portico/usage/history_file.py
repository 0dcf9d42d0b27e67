"""The usage history's database: SQLite in WAL mode (https://www.sqlite.org/wal.html), so that processes share it.

It holds no secret and no text of anybody's. A damaged one is renamed and a new one begun: the history is worth less than the
requests that it would stop. The thread that writes loads this module: a command without a history does without SQLite.
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

# One script for each version of the schema: it makes that version of the one before.
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
# A name that came from a client may be of any length.
_TRUNCATED: Final = frozenset({"model", "credential", "client", "api", "outcome"})
_VALUES: Final = ", ".join("substr(?, 1, 200)" if name in _TRUNCATED else "?" for name in COLUMNS)
INSERT: Final = f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({_VALUES})"  # noqa: S608 - the names are a class's own
AT_ONCE: Final = 32
INSERT_SOME: Final = INSERT + f", ({_VALUES})" * (AT_ONCE - 1)
"""As many rows in one statement, between whose steps no other thread has to wait for this one."""

_SELECT_ONE: Final = f"SELECT {', '.join(COLUMNS)} FROM requests LIMIT 1"  # noqa: S608 - the same
_OPEN_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
# SQLITE_ERROR: the statements are fixed, so it is the table that is not ours.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})


class HistoryFile:
    """Where the database is, and how it is opened and mended. Blocking: for a thread, not for an event loop.

    `busy_s` is how long a write waits for another process's. `warn` is told of a database that was set aside.
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
        """A connection to the database, which is made or brought to this version's schema first.

        Raises:
            StoreError: `state-newer`: a later version of Portico has made it; or the file cannot be used.
            LockBusy: another process is making it, and does not finish.
            sqlite3.Error: it cannot be opened.
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
        """Set the database aside where `error` shows that it is damaged, once it is closed; whether another try is worth it."""
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            return False
        try:
            self._lock.acquire()
            try:
                # Another process may have been faster: what is there now is sound then.
                return not self.path.exists() or self._is_sound() or self._set_aside(str(error))
            finally:
                self._lock.release()
        except (PorticoError, OSError):
            return False

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` finds; None where there is no history, or it was damaged and has been set aside.

        Raises:
            StoreError: it cannot be read.
        """
        if not self.path.exists():
            return None
        try:
            with contextlib.closing(self.open()) as connection:
                return work(connection)
        except sqlite3.Error as error:
            if self.recover(error):
                return None
            raise FileFailed(f"cannot read {self.path}", why=str(error)) from error

    def _make_private(self) -> None:
        """The file, 0600 before SQLite sees it, which gives the files beside it the same mode."""
        try:
            make_private_folder(self.path.parent)
            check_folder(self.path.parent)
            fd = os.open(self.path, _OPEN_FLAGS, FILE_MODE)
            try:
                status = os.fstat(fd)
                own = os.name != "posix" or status.st_uid == os.geteuid()
                if not stat.S_ISREG(status.st_mode) or not own:
                    raise UnsafeFile(f"refusing to use {self.path}", why="it is not a plain file of yours")
                if os.name == "posix" and status.st_mode & 0o077:
                    os.fchmod(fd, FILE_MODE)
            finally:
                os.close(fd)
        except OSError as error:
            raise file_error(f"cannot use {self.path}", error) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = NORMAL")  # in WAL mode a power cut may lose the last rows, and damages nothing
        if self._version(connection) == len(self._migrations):
            return
        self._lock.acquire()
        try:
            # Two machines cannot share what a WAL needs.
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
            why = f"its schema has version {version}, and this program knows {len(self._migrations)}"
            hint = f"Upgrade Portico, or move the file away: {self.path}"
            raise StateNewer("The history was made by a later version of Portico.", why=why, hint=hint)
        return version

    def _set_aside(self, why: str) -> bool:
        new_path = set_aside(self.path)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).replace(new_path.with_name(new_path.name + suffix))
        self._warn(f"The usage history is damaged ({why}); it was renamed to {new_path}, and a new one begins.")
        return True

    def _is_sound(self) -> bool:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=self._busy_s)) as connection:
                connection.execute(_SELECT_ONE).fetchone()
                return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.Error:
            return False


_TRIES: Final = 2  # a damaged history is set aside by the first
_PRUNED_EVERY: Final = 1000  # rows
_DAY_MS: Final = 86_400_000
_MAX_INTEGER: Final = 2**53


class HistoryWriter:
    """Writes batches, each in one transaction, over a connection that it keeps."""

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
        """Write `entries`, into a new history where the old one is damaged; whether they are written. Says why not, once."""
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
        return self._report_failure("it is damaged each time it is made anew")

    def _current(self) -> sqlite3.Connection:
        """The connection, made anew where the file is another one by now: somebody has removed it, or set it aside."""
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
        connection.execute("BEGIN IMMEDIATE")  # a transaction that begins by reading may not be allowed to write later
        try:
            batched_rows = len(rows) // AT_ONCE * AT_ONCE
            batches = (chain.from_iterable(rows[start : start + AT_ONCE]) for start in range(0, batched_rows, AT_ONCE))
            connection.executemany(INSERT_SOME, map(tuple, batches))
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
            self._warn(f"The usage history cannot be written ({why}); requests go on without it.")
        return False

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _clamped(value: object) -> object:
    """`value` as the database can hold it: a number may be of any size."""
    return max(-_MAX_INTEGER, min(value, _MAX_INTEGER)) if isinstance(value, int) else value
