"""How long a person is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.contracts import Clock

_STEP_S: Final = 5.0


class Deadline:
    """A moment after which nobody waits any more.

    It has passed when the wall clock says so, since a server's lifetimes run on while a machine sleeps; or the monotonic one,
    since a wall clock that is set back must not make the wait longer.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._wall_ms = clock.wall_ms() + seconds * 1000
        self._monotonic = clock.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, not below zero."""
        wall = (self._wall_ms - self._clock.wall_ms()) / 1000
        return max(0.0, min(wall, self._monotonic - self._clock.monotonic()))

    async def passed(self) -> None:
        """Return when it has passed; looked at often enough that sleep and clock changes are noticed."""
        while (left := self.remaining()) > 0:
            await self._clock.sleep(min(left, _STEP_S))
