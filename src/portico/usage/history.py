"""The usage history: one row for each request, with its model, client, time and cost, but without any text.

    history = History(paths)
    history.record(Entry(at_ms=..., model="minimax-portal/MiniMax-M2.1", client="ask", ...))   # returns at once, never raises
    history.close()                                                                            # writes the remaining entries

A separate thread writes the rows in batches. If rows cannot be written, requests still work, and the rows are counted as
dropped.
"""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from portico.usage.entry import Retention
from portico.util.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.usage.entry import Entry

QUEUE_LIMIT: Final = 10_000
CLOSE_S: Final = 2.0
_RETENTION: Final = Retention()
_BATCH: Final = 5_000
_log: Final = logging.getLogger(__name__)


class History:
    """Takes entries from any thread or event loop, and writes them. Several processes may share one history.

    `warn` is called on the writer's thread for a damaged history and for rows that cannot be written. `batch_s` is how many
    seconds the writer collects entries, so that a busy process is not interrupted for each entry.
    """

    def __init__(
        self,
        paths: Paths,
        *,
        clock: Clock | None = None,
        warn: Callable[[str], None] = _log.warning,
        queue_limit: int = QUEUE_LIMIT,
        retention: Retention = _RETENTION,
        batch_s: float = 0.0,
    ) -> None:
        self._paths = paths
        self._clock = clock or SystemClock()
        self._warn = warn
        self._queue_limit = queue_limit
        self._retention = retention
        self._queue: SimpleQueue[Entry | None] = SimpleQueue()
        self._batch_s = batch_s
        self._closing = threading.Event()
        self._starting = threading.Lock()
        self._writer: threading.Thread | None = None
        self._closed = False
        self._not_queued = 0
        self._unwritten = 0

    @property
    def dropped(self) -> int:
        """How many entries were not written: the queue was full, the database failed, or the history was closed."""
        return self._not_queued + self._unwritten

    def record(self, entry: Entry) -> None:
        """Pass `entry` to the writer. If the queue is full, the entry is dropped and counted."""
        if self._closed or self._queue.qsize() >= self._queue_limit:
            self._not_queued += 1
            return
        self._queue.put(entry)
        if self._writer is None:
            self._start()

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write the queued entries, for at most `timeout_s` seconds. Return whether all entries were written. Blocking."""
        self._closed = True
        self._closing.set()
        if self._writer is not None:
            self._queue.put(None)
            self._writer.join(timeout_s)
            return not self._writer.is_alive() and not self.dropped
        return not self.dropped

    def _start(self) -> None:
        with self._starting:
            if self._writer is None:
                # A daemon thread, so that the program can exit even if the disk hangs.
                self._writer = threading.Thread(target=self._write_all, name="portico-history", daemon=True)
                self._writer.start()

    def _write_all(self) -> None:
        from portico.usage.history_file import HistoryWriter  # SQLite takes milliseconds to import

        with HistoryWriter(self._paths, self._retention, self._clock, self._warn) as writer:
            closing = False
            while not closing:
                batch = self._next_batch()
                entries = [entry for entry in batch if entry is not None]
                closing = len(entries) < len(batch)
                if entries and not writer.write(entries):
                    self._unwritten += len(entries)

    def _next_batch(self) -> list[Entry | None]:
        """Wait for entries and return at most one transaction of them. None is the end of the queue."""
        batch = [self._queue.get()]
        self._closing.wait(self._batch_s)
        while len(batch) < _BATCH and batch[-1] is not None:
            try:
                batch.append(self._queue.get_nowait())
            except Empty:
                break
        return batch
