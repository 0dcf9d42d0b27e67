"""An event loop on its own thread, with the broker and the HTTP clients for the models of this process.

All callers, synchronous or in any event loop, use the same tokens, and each refresh happens once.
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

# At the end of the program the response with a rotated token may still be on its way.
_SHUTDOWN_TIMEOUT_S: Final = 60.0


class Engine:
    """Runs coroutines on its thread, which starts with the first call, and again in a forked child."""

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
        """Return when each profile was signed in (ms since the epoch), from the current profile index."""
        return {profile.id: profile.created_at for profile in (await off_loop(self._app.token_store.snapshot)).profiles}

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run `coroutine` and block until its result."""
        future = self._submit(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def wait(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run `coroutine` and await its result. If the caller is cancelled, `coroutine` is cancelled too."""
        return await asyncio.wrap_future(self._submit(coroutine))

    def iterate(self, pieces: AsyncGenerator[T, None]) -> Iterator[T]:
        """Iterate over `pieces` in a synchronous caller."""
        try:
            while (piece := self.run(_next(pieces))) is not None:
                yield piece
        finally:
            self.run(pieces.aclose())

    async def aiterate(self, pieces: AsyncGenerator[T, None]) -> AsyncIterator[T]:
        """Iterate over `pieces` in another event loop."""
        try:
            while (piece := await self.wait(_next(pieces))) is not None:
                yield piece
        finally:
            await self.wait(pieces.aclose())

    def close(self) -> None:
        """Stop the loop after its refreshes have finished; later callers wait too."""
        if self._started_pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_SHUTDOWN_TIMEOUT_S)
            self._started_pid = 0

    def _shut_down(self) -> None:
        """Close, and accept no more calls."""
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
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the start
            if not ready.done():
                ready.set_exception(error)

    async def _until_stopped(self, ready: Future[None]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # Refreshes have their own connections: a program may use all other connections for answers that take minutes.
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
