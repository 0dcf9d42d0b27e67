"""The access tokens that the broker holds: whose they are, how old by both clocks, and how long they are remembered.

A token that was handed out is handed out again without a look at the disk, for a second at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import due_at, issued_at, own_time
from portico.errors import StoreError
from portico.store.records import OAuthProfile

if TYPE_CHECKING:
    from portico.interfaces.basics import Clock
    from portico.secret import Secret
    from portico.store.records import Profile
    from portico.store.token_store import ProfileTokens


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a user of tokens gets: never a refresh token. `expires_at` is wall ms, None where the server gave no lifetime.

    `generation` is negative for a token that no store has taken yet.
    """

    token: Secret
    generation: int
    expires_at: int | None
    profile_id: str

    @classmethod
    def of(cls, held: ProfileTokens) -> AccessToken:
        """The access token of a profile's tokens."""
        return cls(held.tokens.access, held.tokens.generation, held.tokens.expires_at, held.profile.id)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A usable token, and whether it was asked for now (or else adopted from the task or process that did)."""

    held: ProfileTokens
    posted: bool


class Ages:
    """What time it is for a profile's tokens: the wall clock, but never less than the time that has truly passed.

    The index tells when they came, by a clock that nobody sets (`freshness.own_time`). Where it cannot, each generation is
    anchored in both clocks when this process first sees it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[int, int, float]] = {}

    def now(self, profile: Profile) -> int:
        """Wall ms, for the tokens that `profile` has."""
        if profile.received is not None and profile.received.boot == self._clock.boot():
            return own_time(profile, self._clock)
        seen = self._seen.get(profile.id)
        if seen is None or seen[0] != profile.generation:
            seen = self._seen[profile.id] = (profile.generation, self._clock.wall_ms(), self._clock.monotonic())
        _, wall, monotonic = seen
        return max(self._clock.wall_ms(), wall + int((self._clock.monotonic() - monotonic) * 1000))


def check_same_account(asked: OAuthProfile, found: Profile) -> None:
    """Refuse tokens that another server, client or region has given under the same name, or the same one to another account.

    An API key under that name is another account too.

    Raises:
        StoreError: `account-changed`.
    """
    names = ("provider", "region", "issuer", "client_id")
    changed = [name for name in names if getattr(asked, name) != getattr(found, name, None)]
    subject = found.subject if isinstance(found, OAuthProfile) else None
    if None not in {asked.subject, subject} and asked.subject != subject:
        changed.append("account")
    if changed:
        raise StoreError(
            "account-changed",
            f"{asked.id} was signed in to another account while its token was refreshed",
            why=f"another {' and '.join(changed).replace('_', ' ')}",
            hint="run the command again to use the new sign-in",
        )


# Within this time a sign-out or a new sign-in by another process is noticed.
GOOD_FOR_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Cached:
    """`until_ms` (wall) is when there is something to do about it: None where its end is not known."""

    held: ProfileTokens
    access: AccessToken
    checked: float
    checked_ms: int
    until_ms: int | None


class TokenCache:
    """One profile's tokens each, as they were when the index was last read."""

    def __init__(self, clock: Clock, ages: Ages) -> None:
        self._clock = clock
        self._ages = ages
        self._kept: dict[str, _Cached] = {}

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
        self._kept[held.profile.id] = _Cached(held, access, self._clock.monotonic(), self._clock.wall_ms(), until)
        return access
