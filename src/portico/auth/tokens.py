"""The tokens that the broker has in memory, with their age by both clocks.

The broker may return a token for up to a second without reading the disk. `PendingTokens` has new tokens that are not in any
store yet. The previous refresh token is spent, so the broker serves the pending tokens from memory until a store accepts them.
"""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import due_at, effective_now_ms, issued_at
from portico.errors import LockBusy, StoreError, StoreUnknown
from portico.store.records import OAuthProfile
from portico.store.token_store import GenerationChanged, ProfileTokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.interfaces.basics import Clock
    from portico.secret import Secret
    from portico.store.records import Profile
    from portico.store.token_store import RefreshTurn, Tokens, TokenStore


class AccountChanged(StoreError):
    """Another account was signed in under this profile id during the refresh."""

    id = "generation-changed"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token for callers, without its refresh token.

    `expires_at` is in ms since the epoch; None if the server sent no lifetime.

    `generation` is negative for a token that no store has accepted yet.
    """

    token: Secret
    generation: int
    expires_at: int | None
    profile_id: str

    @classmethod
    def of(cls, profile_tokens: ProfileTokens) -> AccessToken:
        return cls(
            profile_tokens.tokens.access,
            profile_tokens.tokens.generation,
            profile_tokens.tokens.expires_at,
            profile_tokens.profile.id,
        )


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A usable token, and whether this call sent a request for it (if not, another task or process has refreshed)."""

    profile_tokens: ProfileTokens
    posted: bool


class TokenClock:
    """The current time for a profile's tokens (`freshness.effective_now_ms`), independent of a wall clock that is set back.

    If the index does not have the arrival of the tokens by the steady clock, this process measures from the moment when it
    first sees their generation.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._anchors: dict[str, tuple[int, int, float]] = {}

    def now(self, profile: Profile) -> int:
        """Return the time (ms since the epoch) for the tokens of `profile`."""
        if profile.received is not None and profile.received.boot == self._clock.boot():
            return effective_now_ms(profile, self._clock)
        anchor = self._anchors.get(profile.id)
        if anchor is None or anchor[0] != profile.generation:
            anchor = self._anchors[profile.id] = (profile.generation, self._clock.wall_ms(), self._clock.monotonic())
        _, anchor_wall_ms, anchor_monotonic = anchor
        return max(self._clock.wall_ms(), anchor_wall_ms + int((self._clock.monotonic() - anchor_monotonic) * 1000))


def check_same_account(expected: OAuthProfile, current: Profile) -> None:
    """Check that `current` is the same account as `expected`: same server, client, region and subject, and not an API key.

    Raises:
        StoreError: `generation-changed`.
    """
    names = ("provider", "region", "issuer", "client_id")
    changed = [name for name in names if getattr(expected, name) != getattr(current, name, None)]
    subject = current.subject if isinstance(current, OAuthProfile) else None
    if None not in {expected.subject, subject} and expected.subject != subject:
        changed.append("account")
    if changed:
        raise AccountChanged(
            f"{expected.id} was signed in to another account during the refresh.",
            why=f"another {' and '.join(changed).replace('_', ' ')}",
            hint="Run the command again to use the new account.",
        )


# This is how long it may take to notice a sign-in or sign-out by another process.
CACHE_LIFETIME_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class _Cached:
    """A cached token. At `valid_until_ms` (wall clock) it expires or is due; None if its end is unknown."""

    profile_tokens: ProfileTokens
    access: AccessToken
    read_at: float
    read_at_ms: int
    valid_until_ms: int | None


class TokenCache:
    """The tokens of each profile as of the last read of the index."""

    def __init__(self, clock: Clock, token_clock: TokenClock) -> None:
        self._clock = clock
        self._token_clock = token_clock
        self._cached: dict[str, _Cached] = {}

    def get(self, profile_id: str) -> AccessToken | None:
        """Return the token if it is not due and the index was read within the last second. Costs two clock readings."""
        cached = self._cached.get(profile_id)
        if cached is None or not 0 <= self._clock.monotonic() - cached.read_at < CACHE_LIFETIME_S:
            return None
        now = self._clock.wall_ms()
        # If the wall clock was set back since the read, `valid_until_ms` cannot be compared.
        return (
            cached.access if cached.read_at_ms <= now and (cached.valid_until_ms is None or now < cached.valid_until_ms) else None
        )

    def peek(self, profile_id: str) -> ProfileTokens | None:
        """Return the cached tokens of any age."""
        cached = self._cached.get(profile_id)
        return None if cached is None else cached.profile_tokens

    def put(self, profile_tokens: ProfileTokens, spread: float) -> AccessToken:
        """Cache tokens that were just read or stored."""
        access = AccessToken.of(profile_tokens)
        now = self._token_clock.now(profile_tokens.profile)
        valid_until_ms = profile_tokens.tokens.expires_at
        if valid_until_ms is not None and profile_tokens.profile.has_refresh:
            valid_until_ms = due_at(valid_until_ms, issued_at(profile_tokens.profile), spread)
        offset_ms = now - self._clock.wall_ms()
        valid_until_ms = None if valid_until_ms is None else valid_until_ms - offset_ms
        self._cached[profile_tokens.profile.id] = _Cached(
            profile_tokens, access, self._clock.monotonic(), self._clock.wall_ms(), valid_until_ms
        )
        return access


_COMMIT_ATTEMPTS: Final = 3
_log = logging.getLogger(__name__)


class ProfileReplaced(Exception):
    """A sign-in or sign-out changed the profile before `profile_tokens` were stored, and takes precedence."""

    def __init__(self, profile_tokens: ProfileTokens) -> None:
        super().__init__(profile_tokens.profile.id)
        self.profile_tokens = profile_tokens


@dataclass(frozen=True, slots=True)
class PendingTokens:
    """At most one pending token set per profile, with its refresh turn, so that no other process sends the old token.

    Pending tokens have negative generations. `stored_as` maps each profile's last pending generation to the generation under
    which the tokens were later stored.
    """

    store: TokenStore
    by_profile: dict[str, ProfileTokens] = field(default_factory=dict)
    turns: dict[str, RefreshTurn] = field(default_factory=dict)
    errors: dict[str, StoreError | LockBusy] = field(default_factory=dict)
    stored_as: dict[int, int] = field(default_factory=dict)
    last_stored: dict[str, int] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(-1, -1))

    def add(self, profile: Profile, tokens: Tokens) -> None:
        """Add the tokens that a server has just issued. They replace earlier pending tokens."""
        self.by_profile[profile.id] = ProfileTokens(profile, replace(tokens, generation=next(self.generations)))

    def get(self, profile_id: str) -> ProfileTokens | None:
        """Return the pending tokens. None if there are none, or if a sign-in or sign-out has replaced them."""
        profile_tokens = self.by_profile.get(profile_id)
        if profile_tokens is None:
            return None
        current = self.store.get(profile_id)
        return profile_tokens if current is not None and current.generation == profile_tokens.profile.generation else None

    def read(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """The profile and its tokens, pending or stored; with `to_refresh`, always the newest tokens.

        Raises:
            SignInNeeded: `not-signed-in`.
            StoreError: the store failed.
            LockBusy: with `to_refresh`, another process is storing newer tokens.
        """
        return self.get(profile_id) or self.store.read(profile_id, to_refresh=to_refresh)

    def forget(self, profile_id: str) -> None:
        """Drop the pending tokens."""
        self.by_profile.pop(profile_id, None)
        self.errors.pop(profile_id, None)

    def try_store(self, profile_id: str) -> ProfileTokens | None:
        """Try to store the pending tokens. Return the tokens to use now, stored or not; None if nothing is pending.

        Raises:
            ProfileReplaced: a sign-in or sign-out came first; nothing is pending any more.
        """
        profile_tokens = self.by_profile.get(profile_id)
        if profile_tokens is None:
            return None
        try:
            stored = self._commit(profile_tokens)
        except GenerationChanged:
            self.forget(profile_id)
            raise ProfileReplaced(profile_tokens) from None
        except (StoreError, LockBusy) as error:
            if profile_id not in self.errors:
                _log.error("%s: new tokens are in memory only, and lost if this program ends: %s", profile_id, error)
            self.errors[profile_id] = error
            return profile_tokens
        self.forget(profile_id)
        self.stored_as.pop(self.last_stored.get(profile_id, 0), None)
        self.last_stored[profile_id] = profile_tokens.tokens.generation
        self.stored_as[profile_tokens.tokens.generation] = stored.generation
        return ProfileTokens(stored, replace(profile_tokens.tokens, generation=stored.generation))

    def _commit(self, profile_tokens: ProfileTokens) -> Profile:
        """Commit the tokens. Retry after a clear failure, because this may be the only copy."""
        generation = profile_tokens.profile.generation
        for attempts_left in reversed(range(_COMMIT_ATTEMPTS)):
            try:
                return self.store.commit(
                    self._renewed_profile(profile_tokens), profile_tokens.tokens, expect_generation=generation
                )
            except StoreError as error:
                if not attempts_left or isinstance(error, (StoreUnknown, GenerationChanged)):
                    raise
        raise AssertionError("unreachable: the last try returned or raised")

    def _renewed_profile(self, profile_tokens: ProfileTokens) -> Profile:
        """Return the current profile with the changes of the refresh."""
        profile, refreshed = self.store.get(profile_tokens.profile.id), profile_tokens.profile
        if not isinstance(profile, OAuthProfile) or profile.generation != refreshed.generation:
            raise GenerationChanged(f"{refreshed.id} was signed in again, or signed out.")
        assert profile_tokens.tokens.renewal is not None  # noqa: S101 - only refreshes bring pending tokens
        return profile.renewed(profile_tokens.tokens.renewal)
