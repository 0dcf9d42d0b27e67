"""The writer's side of the history: batches into the database, whatever becomes of that. For one thread."""

from __future__ import annotations

import os
import sqlite3
from itertools import chain
from typing import TYPE_CHECKING, Final, Self

from portico.errors import PorticoError
from portico.usage.history_file import AT_ONCE, INSERT, INSERT_SOME, HistoryFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.usage.entry import Bounds, Entry

_TRIES: Final = 2  # a damaged history is set aside by the first
_PRUNED_EVERY: Final = 1000  # rows
_DAY_MS: Final = 86_400_000
_MOST: Final = 2**53


class HistoryWriter:
    """Writes batches, each in one transaction, over a connection that it keeps."""

    def __init__(
        self,
        paths: Paths,
        bounds: Bounds,
        clock: Clock,
        say: Callable[[str], None],
        *,
        file: HistoryFile | None = None,
    ) -> None:
        self._file = file or HistoryFile(paths, say)
        self._bounds = bounds
        self._clock = clock
        self._say = say
        self._connection: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._trouble = ""

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
                    return self._failed(str(error))
            else:
                self._trouble = ""
                return True
        return self._failed("it is damaged each time it is made anew")

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
            self._insert_rows(connection, [[*map(_bounded, entry)] for entry in entries])

    def _insert_rows(self, connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> None:
        connection.execute("BEGIN IMMEDIATE")  # a transaction that begins by reading may not be allowed to write later
        try:
            whole = len(rows) // AT_ONCE * AT_ONCE
            some = (chain.from_iterable(rows[at : at + AT_ONCE]) for at in range(0, whole, AT_ONCE))
            connection.executemany(INSERT_SOME, map(tuple, some))
            connection.executemany(INSERT, rows[whole:])
            last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
            if last // _PRUNED_EVERY != (last - len(rows)) // _PRUNED_EVERY:
                self._prune(connection, last)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _prune(self, connection: sqlite3.Connection, last: int) -> None:
        oldest = self._clock.wall_ms() - self._bounds.days * _DAY_MS
        connection.execute("DELETE FROM requests WHERE at_ms < ?", (oldest,))
        connection.execute("DELETE FROM requests WHERE rowid <= ?", (last - self._bounds.rows,))

    def _failed(self, why: str) -> bool:
        if why != self._trouble:
            self._trouble = why
            self._say(f"The usage history cannot be written ({why}); requests go on without it.")
        return False

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _bounded(value: object) -> object:
    """`value` as the database can hold it: a number may be of any size."""
    return max(-_MOST, min(value, _MOST)) if isinstance(value, int) else value
