"""Run asyncio tasks together, cancel them, and wait until a deadline."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from portico.interfaces.basics import Clock


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks`, wait until they have ended, and ignore what they raise."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*work: Coroutine[Any, Any, Any]) -> int:
    """Run several coroutines until one has ended, then cancel the others.

    Return the index of that coroutine, or raise its exception.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait(*(task for task in tasks if not task.done()))
    first = min(tasks.index(task) for task in finished)
    tasks[first].result()
    return first


@asynccontextmanager
async def background_tasks() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Let the body of `async with` start background tasks. At the end of the body, cancel the tasks that are still running.

    A task that fails does not end the body. Its exception is raised after the body, unless the body raises an exception.
    """
    tasks: list[asyncio.Task[None]] = []
    try:
        yield lambda work: tasks.append(asyncio.create_task(work))
    finally:
        await cancel_and_wait(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


_POLL_S: Final = 5.0


class Deadline:
    """A point in time on the monotonic clock, which cannot be set.

    If that clock may stop while the machine sleeps, the wall clock is used too: a server's lifetimes go on. The deadline has
    passed when one of the two clocks has reached it.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._counts_suspend = bool(clock.boot())
        self._wall_ms = clock.wall_ms() + seconds * 1000
        self._monotonic = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left, at least 0."""
        remaining_s = self._monotonic - self._clock.monotonic()
        if not self._counts_suspend:
            remaining_s = min(remaining_s, (self._wall_ms - self._clock.wall_ms()) / 1000)
        return max(0.0, remaining_s)

    async def passed(self) -> None:
        """Wait until the deadline; polls often enough to notice sleep and clock changes."""
        while (remaining_s := self.remaining()) > 0:
            await self._clock.sleep(min(remaining_s, _POLL_S))
