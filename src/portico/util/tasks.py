"""Tasks of an event loop: run beside each other, cancelled together, and limited in time.

A `Deadline` goes by the monotonic clock, and by the wall clock too where the first one may stand still during suspend.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from portico.interfaces.basics import Clock


async def cancel_and_wait(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended; what they raise is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*work: Coroutine[Any, Any, Any]) -> int:
    """Run `work` side by side until one has ended, let the others go, and return the index of that one; raise what it raised."""
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
    """Work that runs while the body does: the body starts it, and what is left of it at the body's end is let go.

    A helper that fails does not end the body; its failure is raised after a body that went well.
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
    """A moment after which nobody waits any more.

    The monotonic clock tells, which nobody sets. Where it may stand still while the machine sleeps, though a server's lifetimes
    run on, the wall clock counts too: it has passed when either says so.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._counts_suspend = bool(clock.boot())
        self._wall_ms = clock.wall_ms() + seconds * 1000
        self._monotonic = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, not below zero."""
        remaining_s = self._monotonic - self._clock.monotonic()
        if not self._counts_suspend:
            remaining_s = min(remaining_s, (self._wall_ms - self._clock.wall_ms()) / 1000)
        return max(0.0, remaining_s)

    async def passed(self) -> None:
        """Return when it has passed; looked at often enough that sleep and clock changes are noticed."""
        while (remaining_s := self.remaining()) > 0:
            await self._clock.sleep(min(remaining_s, _POLL_S))
