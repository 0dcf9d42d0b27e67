"""The tokens that a broker has handed out, to be handed out again without a look at the disk: for a second at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import due_at, issued_at
from portico.auth.held import AccessToken

if TYPE_CHECKING:
    from portico.auth.held import Ages
    from portico.interfaces.basics import Clock
    from portico.store.token_store import ProfileTokens

# Within this time a sign-out or a new sign-in by another process is noticed.
GOOD_FOR_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Kept:
    """`until_ms` (wall) is when there is something to do about it: None where its end is not known."""

    held: ProfileTokens
    access: AccessToken
    checked: float
    checked_ms: int
    until_ms: int | None


class Memory:
    """One profile's tokens each, as they were when the index was last read."""

    def __init__(self, clock: Clock, ages: Ages) -> None:
        self._clock = clock
        self._ages = ages
        self._kept: dict[str, _Kept] = {}

    def get(self, profile_id: str) -> AccessToken | None:
        """The token, if the index was read within the last second and it is not due. Costs two readings of a clock."""
        kept = self._kept.get(profile_id)
        if kept is None or not 0 <= self._clock.monotonic() - kept.checked < GOOD_FOR_S:
            return None
        now = self._clock.wall_ms()
        # A wall clock that was set back meanwhile says nothing about the token's end.
        return kept.access if kept.checked_ms <= now and (kept.until_ms is None or now < kept.until_ms) else None

    def known(self, profile_id: str) -> ProfileTokens | None:
        """The tokens, however long ago they were kept."""
        kept = self._kept.get(profile_id)
        return None if kept is None else kept.held

    def keep(self, held: ProfileTokens, spread: float) -> AccessToken:
        """Remember `held`, which has just been read or stored."""
        access = AccessToken.of(held)
        now = self._ages.now(held.profile)
        until = held.tokens.expires_at
        if until is not None and held.profile.has_refresh:
            until = due_at(until, issued_at(held.profile), spread)
        behind = now - self._clock.wall_ms()
        until = None if until is None else until - behind
        self._kept[held.profile.id] = _Kept(held, access, self._clock.monotonic(), self._clock.wall_ms(), until)
        return access
