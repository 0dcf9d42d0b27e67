"""Run blocking calls on daemon threads: off the event loop (`off_loop`), or with a deadline (`call_with_deadline`).

Python waits for the threads of asyncio's default executor at exit, but not for daemon threads.

`off_loop` reuses threads, because some calls happen every two seconds. A call that hangs, for example on the folder of an
unreachable server, blocks only its own thread. `call_with_deadline` is for calls that may never return: a locked Secret Service
collection blocks its caller until the user answers the prompt.
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
    from typing import Any

T = TypeVar("T")

_IDLE_S: Final = 10.0  # an idle thread ends after this time


def start_off_loop(call: Callable[[], T]) -> asyncio.Future[T]:
    """Start `call` on a daemon thread and return a future of its result. Cancelling the future does not stop the call.

    If the call raises `StopIteration` or `SystemExit`, the future has a `RuntimeError` instead.
    """
    import asyncio  # not at the top: `auth token` has no event loop

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> Callable[[], None]:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised again to the caller that awaits the future
            return partial(deliver, partial(future.set_exception, _settable(error)))
        return partial(deliver, partial(future.set_result, result))

    def deliver(resolve: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(lambda: None if future.done() else resolve())

    _run_on_thread(run)
    return future


async def off_loop(call: Callable[[], T]) -> T:
    """Run `call` on a daemon thread and return its result. If the caller is cancelled, the call goes on."""
    return await start_off_loop(call)


def idle_threads() -> frozenset[threading.Thread]:
    """Return the threads that wait for a call."""
    return frozenset(worker.thread for worker in [*_idle])


def _settable(error: BaseException) -> BaseException:
    """Replace an exception that a future cannot have.

    A future refuses `StopIteration`, which a plugin may raise by `next()` of an empty iterator. `SystemExit`, which `sys.exit()`
    raises, would end the event loop.
    """
    if not isinstance(error, (StopIteration, SystemExit)):
        return error
    return RuntimeError(type(error).__name__).with_traceback(error.__traceback__)


class _Worker:
    """A thread that makes calls, and ends after it has been idle for a while."""

    def __init__(self) -> None:
        # Each call returns a function that delivers its result.
        self.calls: SimpleQueue[Callable[[], Callable[[], None]]] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name="portico-off-loop", daemon=True)

    def _run(self) -> None:
        while True:
            try:
                call = self.calls.get(timeout=_IDLE_S)
            except Empty:
                try:
                    _idle.remove(self)
                except ValueError:
                    continue  # another thread has just taken this worker, and will put a call into the queue
                return
            deliver = call()
            _idle.append(self)  # before the result is delivered, so the next call can use this thread
            deliver()
            del call, deliver  # release their objects before the next call


# The worker that was used last is used first, so unneeded threads become idle and end. Each change of the list is atomic.
_idle: Final[list[_Worker]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)  # a forked child has no other threads


def _run_on_thread(call: Callable[[], Callable[[], None]]) -> None:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
        worker.thread.start()
    worker.calls.put(call)


ABORT_GRACE_S: Final = 1.0  # time for an aborted call to end


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a keyring may take: to read, to write, and to wait for the user's answer to its prompt."""

    read_s: float = 3.0
    write_s: float = 10.0
    prompt_s: float = 300.0


class PromptWatch:
    """Measures how long the prompts of a keyring are open. Two threads share it: one calls the keyring, the other waits.

    All prompts of one call together may stay open for `limit_s` seconds. `on_wait` is called with a message if a prompt does not
    close at once. `now` returns the time in seconds. While `prompts_forbidden`, the keyring must not open a prompt.
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
        """Reset for a new call. If `ask` is False, prompts are forbidden. The context `during_prompt` surrounds each prompt."""
        self._remaining_s, self._opened_at, self._closed_at = self.limit_s, None, None
        self.prompts_forbidden, self._during_prompt = not ask, during_prompt

    @contextmanager
    def without_prompts(self) -> Iterator[None]:
        """Forbid prompts in the `with` block."""
        previous, self.prompts_forbidden = self.prompts_forbidden, True
        try:
            yield
        finally:
            self.prompts_forbidden = previous

    @contextmanager
    def open_prompt(self) -> Iterator[PromptWatch]:
        """Measure the time of the `with` block, in which a prompt is open."""
        self._opened_at = self._now()
        try:
            with self._during_prompt():
                yield self
        finally:
            self._remaining_s = self.remaining_s()
            self._closed_at, self._opened_at = self._now(), None

    def remaining_s(self) -> float:
        """Return how many seconds the prompt may stay open."""
        opened_at = self._opened_at
        return self._remaining_s if opened_at is None else max(0.0, self._remaining_s - (self._now() - opened_at))

    def notify(self, text: str) -> None:
        if self._on_wait is not None:
            self._on_wait(text)

    def extra_s(self, seconds: float) -> float:
        """Return how many more seconds to wait for a call that may take `seconds`, not counting its prompts; 0.0: none."""
        opened_at, closed_at = self._opened_at, self._closed_at
        if opened_at is not None:
            # Wait in slices, because the call goes on when the prompt closes. At the limit, the thread that opened the prompt
            # gives up.
            return min(seconds, max(0.0, opened_at + self._remaining_s + seconds - self._now()))
        return 0.0 if closed_at is None else max(0.0, closed_at + seconds - self._now())


class DeadlinePassed(Exception):
    """The call has not returned, and the thread `worker` still runs it. The store turns this exception into a StoreError."""

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
        except BaseException as error:  # noqa: BLE001 - raised again in the calling thread
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
    """Return the result of `call`, or raise its exception, if it ends within `seconds`.

    At the deadline, `extra_s` returns how many more seconds to wait. After these seconds it is called again, until it returns 0.
    On Ctrl-C, `abort` is called, which ends `call` if that is possible.

    Raises:
        DeadlinePassed: the call has not ended.
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
        worker.thread.join(ABORT_GRACE_S)  # a thread that prints during interpreter exit would abort it
        raise
    if worker.thread.is_alive():
        raise DeadlinePassed(worker.thread, waited)
    return worker.outcome()


def retrieve_exception(outcome: asyncio.Future[Any]) -> None:
    """Mark the exception of `outcome` as retrieved: perhaps no caller waits for it any more, and asyncio would log it."""
    if not outcome.cancelled():
        outcome.exception()
