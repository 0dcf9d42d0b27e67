"""Running things beside one another and letting the losers go, with no task left behind."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine


async def let_go(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until they have ended; what they raise is of no interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def first_of(*work: Coroutine[Any, Any, Any]) -> int:
    """Run `work` side by side until one has ended, let the others go, and return the index of that one; raise what it raised."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await let_go(*(task for task in tasks if not task.done()))
    winner = min(tasks.index(task) for task in done)
    tasks[winner].result()
    return winner


@asynccontextmanager
async def helpers() -> AsyncIterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Work that runs while the body does: the body starts it, and what is left of it at the body's end is let go.

    A helper that fails does not end the body; its failure is raised after a body that went well.
    """
    tasks: list[asyncio.Task[None]] = []
    try:
        yield lambda work: tasks.append(asyncio.create_task(work))
    finally:
        await let_go(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
