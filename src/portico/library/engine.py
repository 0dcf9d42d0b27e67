"""One event loop on a thread of its own, with the broker and the HTTP clients of this process's models.

So one set of tokens serves synchronous callers, any number of threads and any event loop, and each refresh happens once.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from portico.auth.backoff import RefreshInterrupted
from portico.util.signals import finish_before_exit, install_handlers
from portico.util.threads import off_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping
    from concurrent.futures import Future

    from portico.app import App
    from portico.auth.broker import TokenBroker
    from portico.net.client import HttpClient

T = TypeVar("T")

# What is under way when the program ends may be the reply with a rotated token: it is worth this wait, in seconds.
_SHUTDOWN_TIMEOUT_S: Final = 60.0


class Engine:
    """Started by the first call, and again in a forked child; ended with the program."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._start_lock = threading.Lock()
        finish_before_exit(self._shut_down)
        self._started_pid = 0
        self._ended_pid = 0
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread: threading.Thread
        self.broker: TokenBroker
        self.http: HttpClient

    async def signed_in_at(self) -> Mapping[str, int]:
        """When each profile was signed in (wall ms), as the profile index has it now."""
        return {profile.id: profile.created_at for profile in (await off_loop(self._app.token_store.snapshot)).profiles}

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run `coroutine`, and wait for its result in this thread."""
        outcome = self._submit(coroutine)
        try:
            return outcome.result()
        except BaseException:
            outcome.cancel()
            raise

    async def wait(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run `coroutine`, and wait for its result in this task; cancelling the task cancels it."""
        return await asyncio.wrap_future(self._submit(coroutine))

    def iterate(self, pieces: AsyncGenerator[T, None]) -> Iterator[T]:
        """What `pieces` gives, for a synchronous reader."""
        try:
            while (piece := self.run(_next(pieces))) is not None:
                yield piece
        finally:
            self.run(pieces.aclose())

    async def aiterate(self, pieces: AsyncGenerator[T, None]) -> AsyncIterator[T]:
        """What `pieces` gives, for a reader in another event loop."""
        try:
            while (piece := await self.wait(_next(pieces))) is not None:
                yield piece
        finally:
            await self.wait(pieces.aclose())

    def close(self) -> None:
        """End the loop, after what cannot be given up; whoever comes meanwhile waits for that, too."""
        if self._started_pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_SHUTDOWN_TIMEOUT_S)
            self._started_pid = 0

    def _shut_down(self) -> None:
        """Close for good: the program ends."""
        self._ended_pid = os.getpid()
        self.close()

    def _submit(self, coroutine: Coroutine[object, object, T]) -> Future[T]:
        install_handlers()
        if self._ended_pid == os.getpid():
            coroutine.close()
            raise RefreshInterrupted(unsent=True)
        with self._start_lock:
            if self._started_pid != os.getpid():
                self._start()
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _start(self) -> None:
        ready: Future[None] = _new_future()
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="portico", daemon=True)
        self._thread.start()
        ready.result()
        self._started_pid = os.getpid()
        atexit.register(self._shut_down)

    def _serve(self, ready: Future[None]) -> None:
        try:
            asyncio.run(self._until_stopped(ready))
        except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the start
            if not ready.done():
                ready.set_exception(error)

    async def _until_stopped(self, ready: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # A refresh has connections of its own: a program may have every other one in use, by answers that take minutes.
        async with self._app.http() as accounts, self._app.http() as self.http:
            self.broker = self._app.broker(accounts)
            ready.set_result(None)
            await self._stop.wait()
            await self.broker.settle()


async def _next(pieces: AsyncGenerator[T, None]) -> T | None:
    return await anext(pieces, None)


def _new_future() -> Future[None]:
    from concurrent.futures import Future

    return Future()
