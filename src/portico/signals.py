"""SIGTERM and SIGHUP end a command as Ctrl-C does: what cannot be given up is finished, what was begun is cleared away.

By default they would end the process at once: with `timeout`, a closed terminal or a shutdown the only copy of a rotated token
could be the answer that is on its way. A signal that the program was started to ignore (nohup) stays ignored.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

NUMBERS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
# What a shell reports for a program that a signal has ended.
BY_SIGNAL: Final = 128

# How to end what `run` is running; None where nothing is. Signals meet the main thread alone.
_running: Callable[[], None] | None = None
_first: int | None = None
# What is under way on other threads and cannot be given up; how long it may take at most, in seconds.
_unfinished: set[object] = set()
_finished = threading.Condition()
_LONGEST_S: Final = 60.0


class EndedBySignal(KeyboardInterrupt):
    """A signal has asked the command to end; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """For the length of a `with` block, in the main thread: the signals that would end the process raise `EndedBySignal` there.

    Work of `run` is cancelled instead, once, however many come: a closing terminal sends several. At the end of the block what
    cannot be given up is waited for; a second Ctrl-C ends that.
    """
    global _first  # noqa: PLW0603 - a process has one set of signals
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        _first = None
        for number in NUMBERS:
            if signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _end)
    try:
        yield
    finally:
        try:
            with _finished:
                _finished.wait_for(lambda: not _unfinished, _LONGEST_S)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def cannot_be_given_up(what: object) -> None:
    """The process is not to end before `what` is `over`."""
    with _finished:
        _unfinished.add(what)


def over(what: object) -> None:
    """`what` has ended; nothing happens where it was never told of."""
    with _finished:
        _unfinished.discard(what)
        _finished.notify_all()


def _end(number: int, _frame: object) -> None:
    global _first  # noqa: PLW0603 - as above
    if _first is not None:
        return
    _first = number
    if _running is None:
        raise EndedBySignal(number)
    _running()


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, run by an event loop of its own; it is cancelled by Ctrl-C, and by the signals that are heeded.

    Raises:
        EndedBySignal: a signal has cancelled it.
        KeyboardInterrupt: Ctrl-C has.
    """
    import asyncio

    try:
        return asyncio.run(_cancelled_by_signals(work))
    except asyncio.CancelledError:
        if _first is None:
            raise
        raise EndedBySignal(_first) from None


async def _cancelled_by_signals(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    global _running  # noqa: PLW0603 - as above
    loop, task, before = asyncio.get_running_loop(), asyncio.current_task(), _running
    if task is not None and threading.current_thread() is threading.main_thread():
        _running = partial(_cancel, loop, task)
    try:
        return await work
    finally:
        _running = before


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    loop.call_soon_threadsafe(task.cancel)  # which wakes a loop that waits for something else


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No signal that ends a command, Ctrl-C among them, interrupts the block: clearing away takes a moment."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *NUMBERS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def finish_first(finish: Callable[[], None]) -> Callable[[], None]:
    """For a library in somebody else's program: before a signal ends the process that nobody handles, `finish` is called.

    The process then ends by that signal, as it would have. Only the main thread can arrange this; elsewhere nothing happens. What
    is returned undoes it.
    """
    mine: dict[int, Any] = {}

    def end(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        try:
            finish()
        finally:
            signal.raise_signal(number)

    def undo() -> None:
        if threading.current_thread() is threading.main_thread():
            for number in list(mine):
                if signal.getsignal(number) is end:
                    signal.signal(number, mine.pop(number))

    if threading.current_thread() is threading.main_thread():
        for number in NUMBERS:
            if signal.getsignal(number) is signal.SIG_DFL:
                mine[number] = signal.signal(number, end)
    return undo
