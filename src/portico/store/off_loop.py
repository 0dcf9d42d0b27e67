"""Blocking calls made away from the event loop, on daemon threads: the default executor's would hold the interpreter at exit.

A thread that has made its call is kept for the next one, so that what happens every second starts no thread. A call that hangs,
in a folder of a server that is gone say, keeps its own thread and no other call.
"""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

T = TypeVar("T")

# Seconds that a thread without a call is kept.
_IDLE_S: Final = 10.0


def start_off_loop(call: Callable[[], T]) -> asyncio.Future[T]:
    """Begin `call` on a daemon thread. The future has its outcome; cancelling the future does not stop the call.

    A `StopIteration` or `SystemExit` of the call becomes a `RuntimeError`.
    """
    import asyncio  # `auth token` has no event loop, and uses what else is here

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> Callable[[], None]:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - re-raised where the future is awaited, whatever it is
            return partial(tell, partial(future.set_exception, _held(error)))
        return partial(tell, partial(future.set_result, result))

    def tell(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    _on_a_thread(run)
    return future


async def off_loop(call: Callable[[], T]) -> T:
    """What `call` returns or raises. A caller that is cancelled leaves it running."""
    return await start_off_loop(call)


def idle_threads() -> frozenset[threading.Thread]:
    """The threads that wait for a call."""
    return frozenset(worker.thread for worker in [*_idle])


def _held(error: BaseException) -> BaseException:
    """`error`, or one that takes its place: a future refuses a `StopIteration`, and a `SystemExit` would end the event loop.

    A plugin raises the one by `next()` of something empty, and the other by `sys.exit()`, which on a thread ends nothing.
    """
    if not isinstance(error, (StopIteration, SystemExit)):
        return error
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


class _Worker:
    """A thread that makes one call after the other, and ends when none has come for a while."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[Callable[[], Callable[[], None]]] = SimpleQueue()  # each returns what tells of its outcome
        self.thread = threading.Thread(target=self._run, name="portico-off-loop", daemon=True)

    def _run(self) -> None:
        while True:
            try:
                call = self.calls.get(timeout=_IDLE_S)
            except Empty:
                try:
                    _idle.remove(self)
                except ValueError:
                    continue  # it was taken just now: its call is on the way
                return
            tell = call()
            _idle.append(self)  # before the outcome is out, so that the next call finds this thread
            tell()
            del call, tell  # what they hold must not live until the next one


# The one that was used last is used first, so that all but a few have nothing to do, and end. Each change is one step of a list,
# which no other thread can come between.
_idle: Final[list[_Worker]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of the threads


def _on_a_thread(call: Callable[[], Callable[[], None]]) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.thread.start()
    worker.calls.put(call)
