"""End this process in time after a signal, even if it hangs; and send signals to the gateway's process only.

A Python signal handler runs only in the main thread, between two bytecode instructions. It never runs while the main thread is
in a system call that continues after a signal, while a plugin blocks the event loop, or while the interpreter waits at its end
for a thread. So the signal number also goes to a separate thread (`signal.set_wakeup_fd`), which ends the process in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.util.signals import SIGNAL_EXIT_BASE, unfinished, wait_for_unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.util.lock import FileLock

DRAIN_S: Final = 3.0
"""Seconds that running requests get to finish after an end signal."""
LONGEST_S: Final = 4.5
"""Seconds from an end signal to the end of the process, even if it still waits for something. `gateway stop` kills it after 5 s.

The one exception is the response to a refresh that was already sent, because it may contain the only copy of the next token.
The process releases port and lock, so that another gateway can start, and then waits for the response (`ANSWER_S`).
"""
ANSWER_S: Final = 40.0
"""Longest wait for the response to a refresh in seconds: the time of a refresh with its one retry."""
HAND_OVER: Final = getattr(signal, "SIGUSR1", None)
"""The signal by which `gateway restart` asks a gateway to release port and lock to a new process, and then to drain.

None on Windows. The signal ends a process without a handler, so it is only sent to a gateway whose state file names a version.
"""
END_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
_CHECK_LOCK_EVERY_S: Final = 2.0
_LAST_WORDS_S: Final = 0.2
_BEAT_S: Final = 1.5
_CLEANUP_S: Final = 1.0

_log = logging.getLogger(__name__)


class EndWatch:
    """Receives end signals on its own thread, and ends the process `LONGEST_S` seconds after the first signal.

    `received` is the number of the first signal; 0 for another reason to end. `wakeup` is the socket that the interpreter
    writes signal numbers to.

    The countdown is for a process that hangs. If an event loop that still runs waits for the response to a refresh, the process
    gets `ANSWER_S` more seconds. A refresh that is abandoned after that is in the journal, and the next process continues it,
    as after a crash.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._callback: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guarded_lock: FileLock | None = None
        self._countdown_started = threading.Event()
        self.received: int | None = None
        self.wakeup: socket.socket | None = None

    def receive(self, number: int) -> None:
        """Start the countdown and notify the event loop, once. `number` is the signal's, 0 for another reason to end."""
        with self._changed:
            if self.received is not None:
                return
            self.received = number
            callback = self._callback
        self._countdown_started.set()
        if callback is not None:
            callback()

    def on_end(self, callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Call `callback` on `loop` when the process must end; at once if a signal has already arrived."""

        def notify() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(callback)

        with self._changed:
            self._callback, self._loop = notify, loop
            already_received = self.received is not None
        if already_received:
            notify()

    def guard(self, lock: FileLock | None) -> None:
        """End the process if the file of `lock` is deleted, moved or replaced. None stops this check.

        No operating system reports this to the process, so a thread checks the file every two seconds.
        """
        with self._changed:
            self._guarded_lock = lock
        if lock is not None:
            threading.Thread(target=self._check_lock, args=(lock,), name="portico-guard", daemon=True).start()

    def _check_lock(self, lock: FileLock) -> None:
        while self._guarded_lock is lock:
            try:
                is_lost = not lock.is_valid()
            except OSError:  # the lock is being released, or the disk does not respond
                is_lost = False
            if is_lost and self._guarded_lock is lock:
                _log.warning("the lock in %s was deleted or replaced: ending", lock.path.parent)
                self.receive(0)
                return
            time.sleep(_CHECK_LOCK_EVERY_S)

    def start(self, signal_numbers: socket.socket) -> None:
        """Start the threads now: an interpreter that is shutting down starts no more threads."""
        threading.Thread(target=self._listen, args=(signal_numbers,), name="portico-signals", daemon=True).start()
        threading.Thread(target=self._count_down, name="portico-end", daemon=True).start()

    def stop(self) -> None:
        """End the threads of a watch that has received no signal."""
        self.guard(None)
        if self.wakeup is not None:
            self.wakeup.close()
        self._countdown_started.set()

    def _listen(self, signal_numbers: socket.socket) -> None:
        end_numbers = {int(number) for number in END_SIGNALS}
        with signal_numbers:
            while numbers := signal_numbers.recv(64):
                for number in numbers:
                    if number in end_numbers:
                        self.receive(number)

    def _count_down(self) -> None:
        self._countdown_started.wait()
        if self.received is None:
            return  # stopped
        longest_s = LONGEST_S
        beat_s = min(_BEAT_S, longest_s)
        time.sleep(longest_s - beat_s)
        heartbeat = self._request_heartbeat()
        time.sleep(beat_s)
        if unfinished() and heartbeat.is_set():
            self._wait_for_responses()
        # On a separate thread, because the log itself may hang.
        last = threading.Thread(target=_log.warning, args=("ended by force: something hung for %g s", longest_s), daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down and starts no more threads
            last.start()
            last.join(_LAST_WORDS_S)
        os._exit(SIGNAL_EXIT_BASE + self.received if self.received else 0)

    def _wait_for_responses(self) -> None:
        """Wait until all work is finished, the time is over, or the event loop hangs and so cannot read a response."""
        deadline = time.monotonic() + ANSWER_S
        while unfinished() and time.monotonic() < deadline:
            if not self._request_heartbeat().wait(_BEAT_S):
                return
            wait_for_unfinished(_BEAT_S)
        time.sleep(_CLEANUP_S)

    def _request_heartbeat(self) -> threading.Event:
        """An event that the event loop sets at its next iteration; set at once without an event loop."""
        heartbeat = threading.Event()
        if self._loop is None:
            heartbeat.set()
        else:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                self._loop.call_soon_threadsafe(heartbeat.set)
        return heartbeat


_watch: EndWatch | None = None


@contextlib.contextmanager
def watched_end() -> Iterator[EndWatch]:
    """An `EndWatch` that receives signals during a `with` block; after a signal it stays until the process ends.

    Python's own handlers stay, so before an event loop runs, a signal raises `EndedBySignal` in the main thread. Outside the
    main thread, where Python sets no signal handlers, the watch receives none.
    """
    global _watch  # noqa: PLW0603 - a process has one set of signals
    watch = EndWatch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    signal_numbers, watch.wakeup = socket.socketpair()
    watch.wakeup.setblocking(False)
    handlers = {number: signal.getsignal(number) for number in END_SIGNALS}
    before = signal.set_wakeup_fd(watch.wakeup.fileno(), warn_on_full_buffer=False)
    watch.start(signal_numbers)
    _watch = watch
    try:
        yield watch
    finally:
        if watch.received is None:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                if handler is not None:  # Python cannot restore a handler that was not set by Python
                    signal.signal(number, handler)
            _watch = None
            watch.stop()


def end_signal() -> asyncio.Future[None]:
    """A future of the running loop that completes when this process must end. Call it inside `watched_end`.

    From then on, end signals have no other effect. Ignored signals stay ignored (nohup).
    """
    loop = asyncio.get_running_loop()
    received: asyncio.Future[None] = loop.create_future()
    watch = _watch or EndWatch()

    # Not `loop.add_signal_handler`, which would replace the wakeup file of the watch.
    for number in END_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: watch.receive(number))
    watch.on_end(lambda: _complete(received), loop)
    return received


def replace_signal() -> asyncio.Future[None]:
    """A future of the running loop that completes when another gateway asks to replace this process (`HAND_OVER`)."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[None] = loop.create_future()

    def handle(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(_complete, received)

    if HAND_OVER is not None and threading.current_thread() is threading.main_thread():
        signal.signal(HAND_OVER, handle)
    return received


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class PinnedProcess:
    """A process to send signals to, which is never confused with a later process of the same id.

    On Linux pidfd_open(2) pins the process before `is_ours` is called. Elsewhere `is_ours` is called again before each signal.

    Raises:
        ProcessLookupError: there is no such process.
    """

    def __init__(self, pid: int, is_ours: Callable[[], bool]) -> None:
        self.pid = pid
        self._is_ours = is_ours
        self._fd = _pin(pid)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False if the process has ended or is not ours.

        Raises:
            PermissionError: the process belongs to another user.
        """
        with contextlib.suppress(ProcessLookupError):
            if self._is_ours():
                _signal(self.pid, self._fd, number)
                return True
        return False

    def close(self) -> None:
        """Close the pidfd."""
        if self._fd is not None:
            os.close(self._fd)


if sys.platform == "linux":

    def has_open(pid: int, path: Path) -> bool | None:
        """Whether process `pid` has the file at `path` open; None if the system does not show it (proc_pid_fd(5))."""
        try:
            wanted = path.stat()
            descriptors = list(Path("/proc", str(pid), "fd").iterdir())
        except OSError:
            return None
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                if os.path.samestat(descriptor.stat(), wanted):
                    return True
        return False

    def _pin(pid: int) -> int | None:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except OSError:
            return None  # older than Linux 5.3, or a sandbox without the call

    def _signal(pid: int, pinned: int | None, number: signal.Signals) -> None:
        if pinned is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(pinned, number)
else:

    def has_open(_pid: int, _path: Path) -> bool | None:
        """Return None, because this system does not show the open files of a process."""
        return None

    def _pin(_pid: int) -> int | None:
        return None

    def _signal(pid: int, _pinned: int | None, number: signal.Signals) -> None:
        os.kill(pid, number)
