"""Blocking calls on daemon threads: away from the event loop, or with a deadline.

The threads of asyncio's default executor keep the interpreter from exiting until their calls end; daemon threads do not.

`off_loop` makes a call away from the event loop. A thread that has made its call is kept for the next one, so that what happens
every second starts no thread. A call that hangs, in a folder of an unreachable server for example, keeps its own thread and no
other call.

`call_with_deadline` makes a call that may never return: a locked Secret Service collection blocks its caller until somebody
answers the prompt.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

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
            return partial(deliver, partial(future.set_exception, _settable(error)))
        return partial(deliver, partial(future.set_result, result))

    def deliver(resolve: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
            loop.call_soon_threadsafe(lambda: None if future.done() else resolve())

    _run_on_thread(run)
    return future


async def off_loop(call: Callable[[], T]) -> T:
    """What `call` returns or raises. A caller that is cancelled leaves it running."""
    return await start_off_loop(call)


def idle_threads() -> frozenset[threading.Thread]:
    """The threads that wait for a call."""
    return frozenset(worker.thread for worker in [*_idle])


def _settable(error: BaseException) -> BaseException:
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
            deliver = call()
            _idle.append(self)  # before the outcome is out, so that the next call finds this thread
            deliver()
            del call, deliver  # what they hold must not live until the next one


# The one that was used last is used first, so that all but a few have nothing to do, and end. Each change is one step of a list,
# which no other thread can come between.
_idle: Final[list[_Worker]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a child has none of the threads


def _run_on_thread(call: Callable[[], Callable[[], None]]) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.thread.start()
    worker.calls.put(call)


ABORT_GRACE_S: Final = 1.0  # for a call that was broken off to end


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a keyring may take: to read, to write, and for either when it is waiting for a person to answer a prompt."""

    read_s: float = 3.0
    write_s: float = 10.0
    prompt_s: float = 300.0


class PromptWatch:
    """Whom a keyring asks in a window of its own. One thread calls the keyring and another waits for it; both look here.

    `limit_s` is how long in all the windows of one call may stay open, `on_wait` is told of a window that does not close at once,
    and `now` tells the time in seconds. While `prompts_forbidden` no window is to be opened that asks for something.
    """

    def __init__(
        self, limit_s: float, on_wait: Callable[[str], None] | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_s = limit_s
        self._on_wait = on_wait
        self._now = now
        self._remaining_s = limit_s
        self._opened_at: float | None = None
        self._closed_at: float | None = None
        self._during_prompt: Callable[[], AbstractContextManager[None]] = nullcontext
        self.prompts_forbidden = False

    def begin_call(self, *, ask: bool = True, during_prompt: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """A new call: nothing was asked for it so far. `ask` False: nothing may be. `during_prompt` is entered for a window."""
        self._remaining_s, self._opened_at, self._closed_at = self.limit_s, None, None
        self.prompts_forbidden, self._during_prompt = not ask, during_prompt

    @contextmanager
    def without_prompts(self) -> Iterator[None]:
        """While nothing is worth a window."""
        previous, self.prompts_forbidden = self.prompts_forbidden, True
        try:
            yield
        finally:
            self.prompts_forbidden = previous

    @contextmanager
    def open_prompt(self) -> Iterator[PromptWatch]:
        """While a window is open."""
        self._opened_at = self._now()
        try:
            with self._during_prompt():
                yield self
        finally:
            self._remaining_s = self.remaining_s()
            self._closed_at, self._opened_at = self._now(), None

    def remaining_s(self) -> float:
        """Seconds that the window that is open may still stay so."""
        opened_at = self._opened_at
        return self._remaining_s if opened_at is None else max(0.0, self._remaining_s - (self._now() - opened_at))

    def notify(self, text: str) -> None:
        """Tell the user that a window waits."""
        if self._on_wait is not None:
            self._on_wait(text)

    def extra_s(self, seconds: float) -> float:
        """For how much longer to wait for a call that may take `seconds` beside what its windows take; 0.0 when it is late."""
        opened_at, closed_at = self._opened_at, self._closed_at
        if opened_at is not None:
            # In slices, since the call goes on when the window closes. At the limit whoever opened it gives up by itself.
            return min(seconds, max(0.0, opened_at + self._remaining_s + seconds - self._now()))
        return 0.0 if closed_at is None else max(0.0, closed_at + seconds - self._now())


class DeadlinePassed(Exception):
    """The call has not come back; `worker` is still in it. Never leaves the store: there it becomes a StoreError."""

    def __init__(self, worker: threading.Thread, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.worker = worker


class _Caller(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: T
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="portico-keyring", daemon=True)

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - re-raised in the calling thread, whatever it is
            self._error = error

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result


def call_with_deadline(
    call: Callable[[], T],
    seconds: float,
    *,
    extra_s: Callable[[], float] = lambda: 0.0,
    abort: Callable[[], None] = lambda: None,
) -> T:
    """What `call` returns or raises, if it does so within `seconds`.

    `extra_s` is asked at the deadline for how many further seconds to wait, and again after these. Ctrl-C calls `abort`, which
    makes `call` end if it can.

    Raises:
        DeadlinePassed: the call is still going on.
    """
    worker = _Caller(call)
    worker.thread.start()
    try:
        worker.thread.join(seconds)
        waited = seconds
        while worker.thread.is_alive() and (extra := extra_s()) > 0:
            worker.thread.join(extra)
            waited += extra
    except KeyboardInterrupt:
        abort()
        worker.thread.join(ABORT_GRACE_S)  # a thread that prints while the interpreter ends aborts it
        raise
    if worker.thread.is_alive():
        raise DeadlinePassed(worker.thread, waited)
    return worker.outcome()
