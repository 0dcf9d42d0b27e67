"""The body of a provider's answer as it comes, and how long its start may be held back from the client.

Until something of an answer has gone out, another candidate can answer in its place. So a stream is held until its first event,
which may be an error. Meanwhile a provider may send comments so that the client goes on waiting (HTML Standard, section 9.2.7;
https://openrouter.ai/docs/api-reference/streaming), or empty lines before an answer in one piece
(https://api-docs.deepseek.com/quick_start/rate_limit). A client that sees none of them gives up, and the answer is lost and paid.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from portico.interfaces.basics import Clock
    from portico.net.client import Response

COMMENTS_S: Final = 2.0
"""Seconds that comments alone are held: a provider has time to say that it is overloaded, and no client gives up."""
HEAD_ALONE_S: Final = 15.0
"""Seconds that a head is held behind which nothing comes: less than the 30 s that the strictest clients wait for one."""


class Incoming:
    """The pieces of an answer's body. Whoever waits for the next one can give up without losing it."""

    def __init__(self, answer: Response) -> None:
        self._chunks = answer.chunks()
        self._coming: asyncio.Task[bytes] | None = None

    async def next(self, clock: Clock, longest_s: float) -> bytes | None:
        """The next piece; empty at the end of the body, None where none has come within `longest_s` seconds.

        Raises:
            NetworkError: the body broke off.
        """
        if self._coming is None:
            self._coming = asyncio.create_task(self._following(), name="the next piece of an answer")
        timer = asyncio.create_task(clock.sleep(max(0.0, longest_s)), name="how long a piece is waited for")
        try:
            await asyncio.wait([self._coming, timer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not self._coming.done():
            return None
        coming, self._coming = self._coming, None
        return coming.result()

    async def start(self, clock: Clock, holds: Callable[[bytes], bool]) -> tuple[bytes, bool]:
        """What has come of the body once `holds` is false of it, and whether its end has come.

        A start of which it is still true is returned where nothing else comes in time.

        Raises:
            NetworkError: the body broke off.
        """
        start, until = b"", clock.monotonic() + HEAD_ALONE_S
        try:
            while True:
                piece = await self.next(clock, until - clock.monotonic())
                if not piece:
                    return start, piece is not None
                if not start:
                    until = min(until, clock.monotonic() + COMMENTS_S)
                start += piece
                if not holds(start):
                    return start, False
        except BaseException:
            self.close()
            raise

    async def rest(self) -> AsyncIterator[bytes]:
        """Every further piece, as it comes.

        Raises:
            NetworkError: the body broke off.
        """
        if self._coming is not None:
            coming, self._coming = self._coming, None
            if chunk := await coming:
                yield chunk
        async for chunk in self._chunks:
            yield chunk

    def close(self) -> None:
        """Stop waiting for the next piece."""
        if self._coming is not None:
            self._coming.add_done_callback(_seen)
            self._coming.cancel()

    async def _following(self) -> bytes:
        return await anext(self._chunks, b"")


def _seen(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()
