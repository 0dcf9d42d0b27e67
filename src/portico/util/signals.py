"""Make SIGTERM and SIGHUP end a command as Ctrl-C does: work that must finish is finished, and everything is cleaned up.

By default these signals end the process immediately. But a response that has not arrived yet may contain the only copy of a
rotated token. Ignored signals (nohup) stay ignored.
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
SIGNAL_EXIT_BASE: Final = 128  # a shell's exit code for signal n is 128 + n
_REPEAT_S: Final = 2.0  # a closing terminal sends several signals; they must not interrupt the cleanup
_MAX_BLOCK_S: Final = 5.0  # the longest time for which the main thread of a program that uses the library is blocked
_MAX_WAIT_S: Final = 60.0  # for work that must finish


class EndedBySignal(KeyboardInterrupt):
    """The signal `number` ends the command."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @property
    def name(self) -> str:
        return signal.Signals(self.number).name


class _SignalState:
    """The state of signal handling in the process; only the main thread gets signals.

    `cancel` cancels the work of `run`; None if no work is running. `first` is the first signal, received at `received_at`.
    `unfinished` is the work that must finish; `changed` is notified of its changes. The library registers `finishers`;
    `finishing` is their progress.
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
    threading = sys.modules.get("threading")  # if no module has imported `threading`, there is only one thread
    return threading is None or threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def handle_signals() -> Iterator[None]:
    """In the `with` block, a signal that would end the process raises `EndedBySignal` in the main thread instead.

    If `run` is active, the first signal only cancels its work. The end of the block waits for the work that must finish; a second
    Ctrl-C ends the wait.
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
    """Run `work` in a new event loop; Ctrl-C and the handled signals cancel it.

    Raises:
        EndedBySignal: a signal has cancelled `work`.
        KeyboardInterrupt: Ctrl-C has cancelled `work`.
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
    loop.call_soon_threadsafe(task.cancel)  # wakes the loop


def must_finish(work: object) -> None:
    """Keep the process alive until `work`, on any thread, is `finished`."""
    with _state.changed:
        _state.unfinished.add(work)


def wait_for_unfinished(timeout_s: float = _MAX_WAIT_S) -> None:
    """Wait for the work that must finish, at most `timeout_s` seconds."""
    if not _state.unfinished:
        return
    with _state.changed:
        _state.changed.wait_for(lambda: not _state.unfinished, timeout_s)


def unfinished() -> bool:
    """Whether there is work that must finish before the process ends."""
    return bool(_state.unfinished)


def finished(work: object) -> None:
    """Note that `work` has ended. Does nothing if `work` was not registered with `must_finish`."""
    with _state.changed:
        _state.unfinished.discard(work)
        _state.changed.notify_all()


@contextlib.contextmanager
def block_signals() -> Iterator[None]:
    """Ignore Ctrl-C and termination signals in the `with` block, for a short cleanup.

    Only the main thread gets signals, so other threads need nothing.
    """
    numbers = (signal.SIGINT, *TERMINATION_SIGNALS) if _on_main_thread() else ()
    previous = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def finish_before_exit(finish: Callable[[], None]) -> None:
    """Call `finish` before an unhandled signal ends the process. The process still ends by that signal.

    Only the main thread can set handlers, so `install_handlers` must be called in the main thread too.
    """
    _state.finishers.append(finish)
    install_handlers()


def install_handlers() -> None:
    """Handle the unhandled signals, if this is the main thread: Python allows handlers only in the main thread."""
    if _state.finishers and _on_main_thread():
        with contextlib.suppress(ValueError):  # a sub-interpreter: its main thread is not the main thread of the process
            for number in TERMINATION_SIGNALS:
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, _finish_and_end)


def _finish_and_end(number: int, _frame: object) -> None:
    """Run the finishers, then end by the signal.

    Blocks only briefly: the interrupted code may own a lock that a finisher needs.
    """
    import threading

    if _state.finishing == "idle":
        _state.finishing = "running"
        thread = threading.Thread(target=_run_finishers, args=(number,), name="portico-last", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # Python 3.12 starts no thread after the main program has ended; then no lock is owned
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
    """Forget the parent's work: it does not run in the child, and its locks might never be released there."""
    global _state  # noqa: PLW0603 - a process has one
    _state = _SignalState(_state.finishers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
