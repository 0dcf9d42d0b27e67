"""Blocking calls made away from the event loop, on daemon threads: the default executor's would hold the interpreter at exit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def start_off_loop(call: Callable[[], T]) -> asyncio.Future[T]:
    """Begin `call` on a daemon thread. The future has its outcome; cancelling the future does not stop the call."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - re-raised where the future is awaited, whatever it is
            tell(partial(future.set_exception, error))
        else:
            tell(partial(future.set_result, result))

    def tell(settle: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    threading.Thread(target=run, name="portico-off-loop", daemon=True).start()
    return future


async def off_loop(call: Callable[[], T]) -> T:
    """What `call` returns or raises. A caller that is cancelled leaves it running."""
    return await start_off_loop(call)
