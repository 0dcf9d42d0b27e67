"""Being asked to end, and ending in time whatever the process waits for; and asking the gateway's process, and no other.

A Python signal handler runs in the main thread alone, between two of its instructions. A main thread in a system call that goes
on after a signal, an event loop that a plugin blocks, or an interpreter that waits at its end for a thread never gets there. So
the signal's number also goes to a thread of its own (`signal.set_wakeup_fd`), which ends the process when time is up.
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
"""Seconds that requests under way get after a signal has asked to end."""
LONGEST_S: Final = 4.5
"""Seconds from that signal to the end of the process, whatever it waits for. `gateway stop` waits 5 before it kills.

One thing it stays for: the answer to a refresh that it has sent, which may hold the only copy of the next token. By then it has
neither port nor lock, and is no gateway any more.
"""
ANSWER_S: Final = 40.0
"""Seconds that it then stays at most: the longest that a refresh takes, repeated once."""
GIVE_WAY: Final = getattr(signal, "SIGUSR1", None)
"""The signal by which `gateway restart` asks a gateway to let another take its place, and to finish what is under way beside it.

None on Windows. By default it ends a process at once, so it is only for one whose note names a version: that one listens for it.
"""
END_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
_CHECK_LOCK_EVERY_S: Final = 2.0
_LAST_WORDS_S: Final = 0.2
_BEAT_S: Final = 1.5
_COME_TO_ITS_END_S: Final = 1.0

_log = logging.getLogger(__name__)


class EndWatch:
    """Hears the signals that ask this process to end, on whatever thread, and ends it `LONGEST_S` seconds after the first.

    `heard` is that signal's number, 0 for another reason to end. `told` keeps the file open that the interpreter writes to.

    The countdown is for a process that cannot come to its end by itself. If a refresh was sent, and the event loop that waits for
    its answer still runs, it goes on for `ANSWER_S`. A refresh that is given up all the same is in the journal, and the next
    process takes it over, as after a crash.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard: FileLock | None = None
        self._begun = threading.Event()
        self.heard: int | None = None
        self.told: socket.socket | None = None

    def hear(self, number: int) -> None:
        """Signal `number` asks to end, 0 for another reason: tell the event loop if one runs, and begin to count down, once."""
        with self._changed:
            if self.heard is not None:
                return
            self.heard = number
            asked = self._asked
        self._begun.set()
        if asked is not None:
            asked()

    def call_when_asked(self, asked: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        """Have `asked` called on `loop` when the process is asked to end; at once if it has been."""

        def tell() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(asked)

        with self._changed:
            self._asked, self._loop = tell, loop
            late = self.heard is not None
        if late:
            tell()

    def guard(self, lock: FileLock | None) -> None:
        """End the process once `lock` is not the one that others would ask for: its folder was deleted or moved. None: no more.

        No system tells a process of this, so the file is looked at every two seconds, on a thread that nothing else can keep waiting.
        """
        with self._changed:
            self._guard = lock
        if lock is not None:
            threading.Thread(target=self._look, args=(lock,), name="portico-guard", daemon=True).start()

    def _look(self, lock: FileLock) -> None:
        while self._guard is lock:
            try:
                lost = not lock.is_valid()
            except OSError:  # it is being released, or the disk does not answer just now
                lost = False
            if lost and self._guard is lock:
                _log.warning("the lock in %s is gone or another's: ending", lock.path.parent)
                self.hear(0)
                return
            time.sleep(_CHECK_LOCK_EVERY_S)

    def start(self, heard: socket.socket) -> None:
        """Listen for the numbers of signals, and be ready to count down: an interpreter at its end starts no more threads."""
        threading.Thread(target=self._listen, args=(heard,), name="portico-signals", daemon=True).start()
        threading.Thread(target=self._count_down, name="portico-end", daemon=True).start()

    def stop(self) -> None:
        """End the threads: nothing has asked to end."""
        self.guard(None)
        if self.told is not None:
            self.told.close()
        self._begun.set()

    def _listen(self, heard: socket.socket) -> None:
        ends = {int(number) for number in END_SIGNALS}
        with heard:
            while numbers := heard.recv(64):
                for number in numbers:
                    if number in ends:
                        self.hear(number)

    def _count_down(self) -> None:
        self._begun.wait()
        if self.heard is None:
            return  # stopped
        longest_s = LONGEST_S
        beat_s = min(_BEAT_S, longest_s)
        time.sleep(longest_s - beat_s)
        beat = self._asked_beat()
        time.sleep(beat_s)
        if unfinished() and beat.is_set():
            self._stay_for_answers()
        # On a thread of its own: what hangs may be the log.
        last = threading.Thread(target=_log.warning, args=("ended by force: something hung for %g s", longest_s), daemon=True)
        with contextlib.suppress(RuntimeError):  # the interpreter is at its end, and starts no more threads
            last.start()
            last.join(_LAST_WORDS_S)
        os._exit(SIGNAL_EXIT_BASE + self.heard if self.heard else 0)

    def _stay_for_answers(self) -> None:
        """Return once all that must be finished is, time is up, or the event loop hangs, by which no answer could be read."""
        deadline = time.monotonic() + ANSWER_S
        while unfinished() and time.monotonic() < deadline:
            if not self._asked_beat().wait(_BEAT_S):
                return
            wait_for_unfinished(_BEAT_S)
        time.sleep(_COME_TO_ITS_END_S)

    def _asked_beat(self) -> threading.Event:
        """Set once the event loop, which waits for answers, takes a turn; at once if none is known."""
        beat = threading.Event()
        if self._loop is None:
            beat.set()
        else:
            with contextlib.suppress(RuntimeError):  # it was closed
                self._loop.call_soon_threadsafe(beat.set)
        return beat


_watch: EndWatch | None = None


@contextlib.contextmanager
def watched_end() -> Iterator[EndWatch]:
    """For the length of a `with` block, and to the end of the process if a signal comes, an `EndWatch` that hears signals.

    Python's own handlers stay: until an event loop runs, a signal raises `EndedBySignal` where the main thread can be reached. In
    another than the main thread, which cannot arrange it, nothing is heard.
    """
    global _watch  # noqa: PLW0603 - a process has one set of signals
    watch = EndWatch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    heard, told = socket.socketpair()
    told.setblocking(False)
    watch.told = told
    handlers = {number: signal.getsignal(number) for number in END_SIGNALS}
    before = signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)
    watch.start(heard)
    _watch = watch
    try:
        yield watch
    finally:
        if watch.heard is None:
            signal.set_wakeup_fd(before)
            for number, handler in handlers.items():
                if handler is not None:  # one that was not set from Python cannot be set again
                    signal.signal(number, handler)
            _watch = None
            watch.stop()


def asked_to_end() -> asyncio.Future[None]:
    """A future of the running loop that is done when this process is asked to end, if it is watched (`watched_end`).

    From here on its signals do nothing else. Ignored ones stay so (nohup).
    """
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[None] = loop.create_future()
    watch = _watch or EndWatch()

    def end() -> None:
        if not ending.done():
            ending.set_result(None)

    # Not `loop.add_signal_handler`, which would take the wakeup file away from the watch.
    for number in END_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: watch.hear(number))
    watch.call_when_asked(end, loop)
    return ending


def asked_to_give_way() -> asyncio.Future[None]:
    """A future of the running loop that is done when another gateway is to take the place of this process."""
    loop = asyncio.get_running_loop()
    giving_way: asyncio.Future[None] = loop.create_future()

    def give_way() -> None:
        if not giving_way.done():
            giving_way.set_result(None)

    def hear(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            loop.call_soon_threadsafe(give_way)

    if GIVE_WAY is not None and threading.current_thread() is threading.main_thread():
        signal.signal(GIVE_WAY, hear)
    return giving_way


# --- asking another process ------------------------------------------------------------------------------------------------


class Pinned:
    """A process that is asked to end, then killed, and is never mistaken for a later one that came to its id.

    On Linux it is pinned by pidfd_open(2) before it is looked at. Elsewhere `is_ours` is asked again before each signal.

    Raises:
        ProcessLookupError: there is none.
    """

    def __init__(self, pid: int, is_ours: Callable[[], bool]) -> None:
        self.pid = pid
        self._is_ours = is_ours
        self._fd = _pin(pid)

    def send(self, number: signal.Signals) -> bool:
        """Send a signal; False where the process has gone, or is not ours.

        Raises:
            PermissionError: it belongs to another user.
        """
        with contextlib.suppress(ProcessLookupError):
            if self._is_ours():
                _signal(self.pid, self._fd, number)
                return True
        return False

    def close(self) -> None:
        """Let go of it."""
        if self._fd is not None:
            os.close(self._fd)


def ask_to_end(pid: int, is_ours: Callable[[], bool]) -> None:
    """Send SIGTERM to process `pid`, if `is_ours` says so; nothing happens where the process has gone."""
    with contextlib.suppress(ProcessLookupError), contextlib.closing(Pinned(pid, is_ours)) as pinned:
        pinned.send(signal.SIGTERM)


if sys.platform == "linux":

    def has_open(pid: int, path: Path) -> bool | None:
        """Whether process `pid` has the file at `path` open; None where the system does not show it (proc_pid_fd(5))."""
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
        """Whether a process has a file open: not known on this system."""
        return None

    def _pin(_pid: int) -> int | None:
        return None

    def _signal(pid: int, _pinned: int | None, number: signal.Signals) -> None:
        os.kill(pid, number)
