"""SIGTERM and SIGHUP end a command as Ctrl-C does: what cannot be given up is finished, what was begun is cleared away.

By default they would end the process at once: with `timeout`, a closed terminal or a shutdown the only copy of a rotated token
could be the answer that is on its way. A signal that the program was started to ignore (nohup) stays ignored.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

if TYPE_CHECKING:
    import asyncio
    import threading
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
TERMINATION_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
# What a shell reports for a program that a signal has ended.
SIGNAL_EXIT_BASE: Final = 128
# A closing terminal sends several signals, and then the clearing away should not be interrupted.
_REPEAT_S: Final = 2.0
# How long a program with the library stands still before it goes on until its work is finished.
_MAX_BLOCK_S: Final = 5.0
# How long work that must be finished may take at most, in seconds.
_MAX_WAIT_S: Final = 60.0


class EndedBySignal(KeyboardInterrupt):
    """A signal has asked the command to end; `number` is which."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name


class _SignalState:
    """The process's one set of signals, which meet the main thread alone.

    `cancel` ends what `run` is running there, None where nothing is. `first` is the first signal, received at `received_at`.
    `unfinished` is what must be finished, and `changed` is notified of changes to it. `finishers` are the library's, and
    `finishing` says how far they are.
    """

    def __init__(self, finishers: list[Callable[[], None]]) -> None:
        self.cancel: Callable[[], None] | None = None
        self.first: int | None = None
        self.received_at = 0.0
        self.unfinished: set[object] = set()
        self.finishers = finishers
        self.finishing: Literal["idle", "running", "done"] = "idle"

    @property
    def changed(self) -> threading.Condition:
        import threading

        changed: threading.Condition = self.__dict__.setdefault("_changed", threading.Condition())  # the same for every thread
        return changed


_state = _SignalState([])


def _on_main_thread() -> bool:
    threading = sys.modules.get("threading")  # a short command imports it nowhere, and then has one thread
    return threading is None or threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """For the length of a `with` block, in the main thread: the signals that would end the process raise `EndedBySignal` there.

    Work of `run` is cancelled instead, once, however many come. At the end of the block what must be finished is waited for; a
    second Ctrl-C ends that.
    """
    previous: dict[int, Any] = {}
    if _on_main_thread():
        _state.first = None
        for number in TERMINATION_SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                previous[number] = signal.signal(number, _handle_signal)
    try:
        yield
    finally:
        try:
            wait_for_unfinished()
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _handle_signal(number: int, _frame: object) -> None:
    is_repeat = _state.first is not None
    if is_repeat and (_state.cancel is not None or time.monotonic() - _state.received_at < _REPEAT_S):
        return
    _state.first, _state.received_at = number, time.monotonic()
    if _state.cancel is None:
        raise EndedBySignal(number)
    _state.cancel()


def run(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns, run by an event loop of its own; it is cancelled by Ctrl-C, and by the signals that are handled.

    Raises:
        EndedBySignal: a signal came while it ran.
        KeyboardInterrupt: Ctrl-C has cancelled it.
    """
    import asyncio

    first_before = _state.first
    try:
        result = asyncio.run(_cancellable(work))
    except asyncio.CancelledError:
        if _state.first is first_before or not _on_main_thread():
            raise
    else:
        if _state.first is first_before or not _on_main_thread():
            return result
    raise EndedBySignal(_state.first or 0) from None


async def _cancellable(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    task = asyncio.current_task()
    if task is None or not _on_main_thread():
        return await work
    previous, _state.cancel = _state.cancel, partial(_cancel, asyncio.get_running_loop(), task)
    try:
        return await work
    finally:
        _state.cancel = previous


def _cancel(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    loop.call_soon_threadsafe(task.cancel)  # which wakes a loop that waits for something else


def must_finish(work: object) -> None:
    """The process is not to end before `work`, on whatever thread, is `finished`."""
    with _state.changed:
        _state.unfinished.add(work)


def wait_for_unfinished(timeout_s: float = _MAX_WAIT_S) -> None:
    """Return once all that must be finished is, or after `timeout_s` seconds."""
    if not _state.unfinished:
        return
    with _state.changed:
        _state.changed.wait_for(lambda: not _state.unfinished, timeout_s)


def unfinished() -> bool:
    """Whether something must be finished before the process ends."""
    return bool(_state.unfinished)


def finished(work: object) -> None:
    """`work` has ended; nothing happens where `must_finish` was never told of it."""
    with _state.changed:
        _state.unfinished.discard(work)
        _state.changed.notify_all()


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """No signal that ends a command, Ctrl-C among them, interrupts the block: clearing away takes a moment.

    Only the main thread gets signals, so elsewhere there is nothing to do.
    """
    numbers = (signal.SIGINT, *TERMINATION_SIGNALS) if _on_main_thread() else ()
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def finish_before_exit(finish: Callable[[], None]) -> None:
    """Before a signal ends the process that nobody handles, `finish` is called; it then ends by that signal, as it would have.

    Only the main thread can arrange that: `install_handlers` is called there, sooner or later.
    """
    _state.finishers.append(finish)
    install_handlers()


def install_handlers() -> None:
    """In the main thread, take the signals that nobody handles; elsewhere nothing happens, since Python does not allow it."""
    if _state.finishers and _on_main_thread():
        with contextlib.suppress(ValueError):  # a sub-interpreter: its main thread is not the process's
            for number in TERMINATION_SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _finish_and_end)


def _finish_and_end(number: int, _frame: object) -> None:
    """The program stands still meanwhile, but not for long: what was interrupted here may hold a lock that the work needs."""
    import threading

    if _state.finishing == "idle":
        _state.finishing = "running"
        thread = threading.Thread(target=_run_finishers, args=(number,), name="portico-last", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 begins no thread once the main program has ended, and nobody holds a lock then
            _run_finishers(number)
        else:
            thread.join(_MAX_BLOCK_S)
    if _state.finishing == "done":
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


def _run_finishers(number: int) -> None:
    for finish in tuple(_state.finishers):
        with contextlib.suppress(Exception):
            finish()
    wait_for_unfinished()
    _state.finishing = "done"
    os.kill(os.getpid(), number)


def _reset_in_child() -> None:
    """What the parent has under way is not the child's to finish, and its locks may never be let go there."""
    global _state  # noqa: PLW0603 - a process has one
    _state = _SignalState(_state.finishers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
