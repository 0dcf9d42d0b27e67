"""A refresh under way: one thread does it, any number of callers wait for it, and none of them can stop it once it was sent."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError
from portico.store.off_loop import start_off_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.auth.transaction import Refreshed, Send
    from portico.contracts import FormPoster, FormRequest, HttpReply

POST_TIMEOUT_S: Final = 30.0


class Abandoned(Exception):
    """Every caller has gone before anything was sent. Nobody is left to see this."""


class Flight:
    """Created in the event loop; `run` is called with a `Send` on a daemon thread."""

    def __init__(self, http: FormPoster, run: Callable[[Send], Refreshed]) -> None:
        self._http = http
        self._loop = asyncio.get_running_loop()
        self._waiting = 0
        self._guard = threading.Lock()
        self._sent = False
        self._abandoned = False
        self.outcome: asyncio.Future[Refreshed] = start_off_loop(lambda: run(self._send))
        self.outcome.add_done_callback(_seen)

    async def join(self) -> Refreshed:
        """The outcome, whoever began.

        A caller that is cancelled leaves at once while others wait on or nothing was sent. The last one stays until the reply is
        stored, since its leaving may end the program and with it the only copy of a rotated token.
        """
        self._waiting += 1
        try:
            return await asyncio.shield(self.outcome)
        except asyncio.CancelledError:
            if self._waiting == 1 and not self._abandon():
                await self._settled()
            raise
        finally:
            self._waiting -= 1

    async def _settled(self) -> None:
        while not self.outcome.done():
            try:
                await asyncio.wait([self.outcome])
            except asyncio.CancelledError:
                continue

    def _abandon(self) -> bool:
        """Give up, unless it was sent; whether nothing was sent."""
        with self._guard:
            self._abandoned = not self._sent
            return self._abandoned

    @property
    def abandoned(self) -> bool:
        return self._abandoned

    def _send(self, request: FormRequest, *, relocated: Mapping[str, str]) -> HttpReply:
        with self._guard:
            if self._abandoned:
                raise Abandoned
            self._sent = True
        posting = self._http.post_form(request, relocated=relocated, timeout_s=POST_TIMEOUT_S)
        sent = asyncio.run_coroutine_threadsafe(posting, self._loop)
        try:
            return sent.result()
        except concurrent.futures.CancelledError:
            raise NetworkError("refresh-interrupted", "the refresh was interrupted", why="the program is ending") from None


def _seen(outcome: asyncio.Future[Refreshed]) -> None:
    if not outcome.cancelled():
        outcome.exception()
