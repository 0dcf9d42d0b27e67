"""A single flight: one refresh on a thread, and any number of waiting callers.

After its request was sent, a refresh cannot be cancelled.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Final

from portico.auth.backoff import RefreshInterrupted
from portico.net.errors import network_error
from portico.util.signals import finished, must_finish
from portico.util.tasks import Deadline, cancel_and_wait
from portico.util.threads import retrieve_exception, start_off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.auth.refresh import Send
    from portico.auth.tokens import Refreshed
    from portico.interfaces.authorization import FormPoster, FormRequest, HttpReply
    from portico.interfaces.basics import Clock

# How often to check the wall clock, so that a passed deadline is noticed as soon as the machine wakes from sleep.
_STEP_S: Final = 1.0
# Time to read a response that arrived before the deadline while this process was stopped.
_READ_GRACE_S: Final = 1.0
_NO_TIMEOUT_S: Final = 7 * 86_400.0
# If the event loop is not running at this many checks, it has ended.
_MAX_CHECKS: Final = 5


class Abandoned(Exception):
    """Every caller left before the request was sent. No caller sees this error."""


class SingleFlight:
    """One refresh and its waiting callers. Created in the event loop; calls `run` with itself on a daemon thread."""

    def __init__(self, http: FormPoster, clock: Clock, run: Callable[[Send], Refreshed]) -> None:
        self._http = http
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._waiters = 0
        self._lock = threading.Lock()
        self._claimed = False
        self._abandoned = False
        self.outcome: asyncio.Future[Refreshed] = start_off_loop(lambda: self._run_on_thread(run))
        self.outcome.add_done_callback(retrieve_exception)

    def _run_on_thread(self, run: Callable[[Send], Refreshed]) -> Refreshed:
        try:
            return run(self)
        finally:
            finished(self)

    async def join(self) -> Refreshed:
        """Wait for the outcome.

        A cancelled caller returns at once if other callers still wait, or if nothing was sent. The last caller waits until the
        response is stored. Otherwise the program might end and lose the only copy of a rotated token.
        """
        self._waiters += 1
        try:
            return await asyncio.shield(self.outcome)
        except asyncio.CancelledError:
            if self._waiters == 1:
                await self.settle()
            raise
        finally:
            self._waiters -= 1

    async def settle(self) -> None:
        """Abandon the refresh if nothing was sent; else wait until it has ended."""
        if not self._abandon():
            await self._wait_ended()

    @property
    def abandoned(self) -> bool:
        return self._abandoned

    def claim(self) -> None:
        """Make the refresh uncancellable from now on.

        Raises:
            Abandoned: every caller has left.
        """
        with self._lock:
            if self._abandoned:
                raise Abandoned
            self._claimed = True
        must_finish(self)

    def post(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float) -> HttpReply:
        """Send `request` once and wait at most `timeout_s` seconds of wall or monotonic time. Called on the refresh's thread.

        Raises:
            NetworkError: no response arrived, or the program is ending (`refresh-answers-missing`).
        """
        coroutine = self._post(request, relocated, timeout_s)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop was closed
            coroutine.close()
            raise RefreshInterrupted(unsent=True) from None
        try:
            return self._wait_for_reply(future)
        except concurrent.futures.CancelledError:
            raise RefreshInterrupted from None

    def _wait_for_reply(self, future: concurrent.futures.Future[HttpReply]) -> HttpReply:
        """Return the response of the loop's task, which enforces the deadline. Stop waiting if the loop has ended."""
        for _ in range(_MAX_CHECKS):
            while True:
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    return future.result(_STEP_S)
                if future.done():
                    return future.result()
                if not self._loop.is_running():
                    break
        future.cancel()
        raise RefreshInterrupted

    async def _post(self, request: FormRequest, relocated: Mapping[str, str], timeout_s: float) -> HttpReply:
        # Only this deadline applies. The client's own deadline would drop a response that arrived while the process was
        # stopped.
        client_timeout_s = timeout_s + _NO_TIMEOUT_S
        post_task = asyncio.ensure_future(self._http.post_form(request, relocated=relocated, timeout_s=client_timeout_s))
        deadline_task = asyncio.ensure_future(self._sleep_until_deadline(timeout_s))
        try:
            await asyncio.wait((post_task, deadline_task), return_when=asyncio.FIRST_COMPLETED)
            if not post_task.done():
                await asyncio.wait((post_task,), timeout=_READ_GRACE_S)
            if post_task.done():
                return post_task.result()
        finally:
            await cancel_and_wait(post_task, deadline_task)
        raise network_error(TimeoutError(), request.url)

    async def _sleep_until_deadline(self, timeout_s: float) -> None:
        """Return at the deadline. Checks the clock repeatedly, because timers stop while the machine sleeps."""
        deadline = Deadline(self._clock, timeout_s)
        while (remaining := deadline.remaining()) > 0:
            await self._clock.sleep(min(remaining, _STEP_S))

    async def _wait_ended(self) -> None:
        while not self.outcome.done():
            try:
                await asyncio.wait([self.outcome])
            except asyncio.CancelledError:
                continue

    def _abandon(self) -> bool:
        """Abandon the refresh unless it is claimed. Return whether nothing was sent."""
        with self._lock:
            self._abandoned = not self._claimed
            return self._abandoned
