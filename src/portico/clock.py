"""The machine's own clock."""

from __future__ import annotations

import sys
import time

# What Linux calls this run of the machine; random(4). The other systems have nothing that a file tells.
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

if sys.platform == "linux":

    def _steady() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps (clock_gettime(2))
else:
    _steady = time.monotonic


class SystemClock:
    """`portico.contracts.Clock` on this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return _steady()

    def boot(self) -> str:
        return boot_id()

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)


_boot: str | None = None


def boot_id() -> str:
    """What tells this run of the machine from another, empty where the system has no such thing. Blocking, for the first time."""
    global _boot  # noqa: PLW0603 - a process lives in one run of the machine
    if _boot is None:
        try:
            with open(_BOOT_ID, encoding="ascii") as file:  # noqa: PTH123 - pathlib is a visible part of what a fresh token costs
                _boot = file.read().strip()
        except (OSError, ValueError):
            _boot = ""
    return _boot
