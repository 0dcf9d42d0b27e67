"""A clock that a test advances, or that advances itself when a task sleeps."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import Final

# A fixed time (2033-05-18T03:33:20Z), so failures always show the same numbers.
START_MS: Final = 2_000_000_000_000
# How many passes of the event loop other tasks get before the clock advances to the next sleeper.
_LOOP_PASSES: Final = 3


class FakeClock:
    """`portico.interfaces.basics.Clock` without waiting.

    With `auto` (the default), a `sleep` advances the clock to the earliest sleeper's time after a few passes of the event loop,
    so that waiting code continues. The clock does not wait for real input and output. So for a deadline of real work use
    `auto=False` and `advance`. `slept` lists the seconds of every sleep, in order. `boot_name` identifies the machine's boot.
    """

    def __init__(self, wall_ms: int = START_MS, *, auto: bool = True) -> None:
        self.auto = auto
        self.slept: list[float] = []
        self.boot_name = "one run of the machine"
        self._wall_ms = wall_ms
        self._monotonic = 1_000.0
        self._order = itertools.count()
        self._waking_loop: asyncio.AbstractEventLoop | None = None
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def wall_ms(self) -> int:
        return self._wall_ms

    def monotonic(self) -> float:
        return self._monotonic

    def boot(self) -> str:
        return self.boot_name

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`, and wake every sleeper whose time has come."""
        self._move_to(self._monotonic + seconds)
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _wake(heapq.heappop(self._sleepers)[2])

    def jump(self, seconds: float) -> None:
        """Change the wall clock by `seconds`, as a user or a suspended machine does. The monotonic clock does not change."""
        self._wall_ms += round(seconds * 1000)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), waiter))
        if self.auto and self._waking_loop is not loop:
            self._waking_loop = loop
            self._wake_earliest_after(_LOOP_PASSES)
        await waiter

    def _wake_earliest_after(self, passes: int) -> None:
        """Wake the earliest sleeper, let the loop run some passes, and repeat this until no sleeper is left."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            self._waking_loop = None
            return
        if passes == 0:
            deadline, _, waiter = heapq.heappop(self._sleepers)
            self._move_to(max(deadline, self._monotonic))
            waiter.set_result(None)
        asyncio.get_running_loop().call_soon(self._wake_earliest_after, passes - 1 if passes else _LOOP_PASSES)

    def _move_to(self, monotonic: float) -> None:
        self._wall_ms += round((monotonic - self._monotonic) * 1000)
        self._monotonic = monotonic


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
