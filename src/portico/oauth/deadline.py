"""How long a person is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.interfaces.basics import Clock

_STEP_S: Final = 5.0


class Deadline:
    """A moment after which nobody waits any more.

    The monotonic clock tells, which nobody sets. Where it may stand still while the machine sleeps, though a server's lifetimes
    run on, the wall clock counts too: it has passed when either says so.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._goes_on_in_sleep = bool(clock.boot())
        self._wall_ms = clock.wall_ms() + seconds * 1000
        self._monotonic = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, not below zero."""
        left = self._monotonic - self._clock.monotonic()
        if not self._goes_on_in_sleep:
            left = min(left, (self._wall_ms - self._clock.wall_ms()) / 1000)
        return max(0.0, left)

    async def passed(self) -> None:
        """Return when it has passed; looked at often enough that sleep and clock changes are noticed."""
        while (left := self.remaining()) > 0:
            await self._clock.sleep(min(left, _STEP_S))
