"""The usage history: one row for each request, with its model, client, time and cost, and nothing that was asked or answered.

    history = History(paths)
    history.record(Entry(at_ms=..., model="minimax-portal/MiniMax-M2.1", client="ask", ...))   # returns at once, never raises
    history.close()                                                                            # writes what is left

Rows are written by a thread of its own, in batches. Where they cannot be written, requests go on and the rows are counted as
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
    """Takes entries from any thread or event loop, and writes them. For one process; many may write to one history.

    `warn` is told, on the writer's thread, of a damaged history and of rows that cannot be written. `batch_s`:
    seconds in which the writer lets entries come together, so that a busy process is not interrupted for each.
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
        """How many entries were not written: the queue was full, the database failed, or it was after the end."""
        return self._not_queued + self._unwritten

    def record(self, entry: Entry) -> None:
        """Hand `entry` to the writer. It is dropped, and counted, where more wait than the queue may hold."""
        if self._closed or self._queue.qsize() >= self._queue_limit:
            self._not_queued += 1
            return
        self._queue.put(entry)
        if self._writer is None:
            self._start()

    def close(self, timeout_s: float = CLOSE_S) -> bool:
        """Write what waits, for at most `timeout_s` seconds; whether everything that was recorded is written. Blocking."""
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
                # A daemon: a disk that hangs must not keep a program from ending.
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
        """What waits, at most so much as goes into one transaction; None stands at the end of everything."""
        batch = [self._queue.get()]
        self._closing.wait(self._batch_s)
        while len(batch) < _BATCH and batch[-1] is not None:
            try:
                batch.append(self._queue.get_nowait())
            except Empty:
                break
        return batch
