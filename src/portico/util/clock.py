"""The machine's own clock."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False  # importing `typing` would make `auth token` visibly slower
if TYPE_CHECKING:
    from typing import Final

# Linux's id of this boot; random(4). Other systems have no such file.
_BOOT_ID = "/proc/sys/kernel/random/boot_id"

if sys.platform == "linux":

    def _monotonic() -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)  # includes the time that the machine sleeps (clock_gettime(2))
else:
    _monotonic = time.monotonic


def _read_boot_id() -> str:
    try:
        with open(_BOOT_ID, encoding="utf-8") as file:  # noqa: PTH123 - importing pathlib would make `auth token` slower
            return file.read().strip()
    except (OSError, ValueError):
        return ""


# Read when this module is imported, because a read could block an event loop. Empty if the system has no boot id.
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
