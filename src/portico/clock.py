"""The machine's own clock."""

from __future__ import annotations

import time


class SystemClock:
    """`portico.contracts.Clock` on this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)
