"""The machine's own clock."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from typing import Final

# What Linux calls this run of the machine; random(4). The other systems have nothing that a file tells.
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

if sys.platform == "linux":

    def _monotonic() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps (clock_gettime(2))
else:
    _monotonic = time.monotonic


def _read_boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="utf-8") as file:  # noqa: PTH123 - pathlib is a visible part of what a fresh token costs
            return file.read().strip()
    except (OSError, ValueError):
        return ""


# Read once, when nobody's event loop waits for it: a process lives in one run of the machine. Empty where none has a name.
BOOT: Final = _read_boot_id()


class SystemClock:
    """`portico.interfaces.basics.Clock` on this machine."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return _monotonic()

    def boot(self) -> str:
        return BOOT

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)
