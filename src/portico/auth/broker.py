"""The token broker: gives out access tokens and refreshes them. No code outside `auth` and `store` sees a refresh token.

Callers in one process share one refresh. A lock file allows one process at a time to refresh; a process that gets the lock
reads the stored tokens again. The index records a server's rejection, so a rejected token is not sent again. If the network or
the server fails, an access token is used until it expires.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from portico.auth.backoff import Backoff, failed_recently, sign_in_expired, stored_backoff
from portico.auth.freshness import LastUses, is_idle, is_usable, profile_due
from portico.auth.refresh import POST_TIMEOUT_S, RETRY_TIMEOUT_S, RefreshCall, Refresher
from portico.auth.single_flight import SingleFlight
from portico.auth.tokens import AccessToken, PendingTokens, Refreshed, TokenCache, TokenClock
from portico.errors import LockBusy, PorticoError
from portico.store.records import OAuthProfile
from portico.store.token_store import ProfileTokens
from portico.util.files import no_crash_point
from portico.util.threads import off_loop, retrieve_exception, start_off_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.interfaces.authorization import FormPoster, TokenDialect
    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.store.records import Profile
    from portico.store.token_store import TokenStore
    from portico.util.files import CrashPoint

__all__ = ("AccessToken", "TokenBroker")

# Longer than any refresh, so that a waiting caller gets the new token and not `LockBusy`.
PATIENCE_S: Final = POST_TIMEOUT_S + RETRY_TIMEOUT_S + 15.0
# An API may reject every token, because its path is wrong or it is down. A refresh for each such request would rotate refresh
# tokens for nothing. So a rejected token is not replaced in two cases: it is less than REJECTED_AT_ONCE_MS old, or this process
# got it less than REJECTED_AGAIN_S ago to replace another rejected token.
REJECTED_AT_ONCE_MS: Final = 60_000
REJECTED_AGAIN_S: Final = 300.0


def _random_spread() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - spreads processes; nothing to guess


class TokenBroker:
    """Gives out access tokens, and refreshes them when needed. For one event loop; `dialects` is called on another thread.

    `spread` returns -1 to 1, and shifts this process's refreshes by up to a tenth of the margin.
    """

    def __init__(
        self,
        *,
        store: TokenStore,
        dialects: Callable[[str], TokenDialect],
        http: FormPoster,
        clock: Clock,
        paths: Paths,
        crash_point: CrashPoint = no_crash_point,
        spread: Callable[[], float] = _random_spread,
    ) -> None:
        self._token_clock = TokenClock(clock)
        self._store = store
        self._pending = PendingTokens(store)
        self._refresher = Refresher(store, dialects, clock, self._token_clock, self._pending, crash_point)
        self._cache = TokenCache(clock, self._token_clock)
        self._last_uses = LastUses(paths, clock)
        self._http = http
        self._clock = clock
        self._spread = spread()
        self._single_flights: dict[tuple[str, bool], SingleFlight] = {}
        self._reads: dict[str, asyncio.Future[ProfileTokens]] = {}
        self._backoffs: dict[str, tuple[int, Backoff]] = {}
        self._rejection_replacements: dict[str, tuple[int, float]] = {}

    async def access(self, profile_id: str, *, rejected_generation: int | None = None) -> AccessToken:
        """Return a usable access token. Changes by other processes are noticed within a second.

        Args:
            profile_id: the profile.
            rejected_generation: the generation of a token that a server has just rejected. The same token is returned if a
                refresh cannot help: it is an API key, was refreshed within the last minute, or replaced a rejected token within
                the last five minutes. Then do not send the request again.

        Raises:
            SignInNeeded: `not-signed-in`, or `sign-in-expired`: only a new sign-in can help.
            NetworkError: the token has expired and cannot be refreshed now.
            StoreError: the store failed, or the profile is another account now.
            LockBusy: another process is refreshing and does not finish.
        """
        cached = self._cache.get(profile_id)
        if cached is not None and cached.generation != rejected_generation:
            return cached
        return await self._access(profile_id, self._pending.stored_as.get(rejected_generation or 0, rejected_generation))

    async def _access(self, profile_id: str, rejected_generation: int | None) -> AccessToken:
        profile_tokens = await self._read_shared(profile_id)
        usable = self._is_usable(profile_tokens) and (
            profile_tokens.tokens.generation != rejected_generation or self._was_just_refreshed(profile_tokens)
        )
        if usable and not self.may_refresh(profile_tokens.profile):
            return self._cache.put(profile_tokens, self._spread)
        try:
            return await self._refresh(profile_tokens, rejected_generation, needed=not usable)
        except PorticoError:
            if usable and self._is_usable(profile_tokens):
                return AccessToken.of(profile_tokens)
            raise

    async def refresh_if_due(self, profile_id: str) -> bool:
        """Refresh the token if it is due. Timers call this. Return whether a request was sent.

        Raises:
            PorticoError: as for `access`, except when another process is refreshing.
        """
        profile = await off_loop(lambda: self._store.get(profile_id))
        if (
            not isinstance(profile, OAuthProfile)
            or not self.may_refresh(profile)
            or await off_loop(lambda: self.is_idle(profile))
        ):
            return False
        try:
            return (await self._refresh_once(profile, self._stale_generation(profile), needed=False)).posted
        except LockBusy:
            return False

    async def settle(self) -> None:
        """Wait until no refresh is running. Abandon refreshes that have sent nothing."""
        for single_flight in tuple(self._single_flights.values()):
            await single_flight.settle()

    def may_refresh(self, profile: Profile) -> bool:
        """Whether the profile is due, or has pending tokens to store, and no backoff is active."""
        if not profile_due(profile, self._token_clock.now(profile), self._spread) and profile.id not in self._pending.by_profile:
            return False
        return self._active_backoff(profile) is None and not failed_recently(profile, self._clock.wall_ms())

    def _active_backoff(self, profile: Profile) -> Backoff | None:
        """Return the active backoff of this process, or else the active backoff in the index."""
        now = self._clock.wall_ms()
        generation, own_backoff = self._backoffs.get(profile.id, (0, None))
        if own_backoff is not None and generation == profile.generation and own_backoff.is_active(now):
            return own_backoff
        return stored_backoff(profile, now)

    def is_idle(self, profile: Profile) -> bool:
        """Whether a timer may skip the profile because it is unused. Blocking."""
        pending = profile.id in self._pending.by_profile
        return not pending and is_idle(profile, self._last_uses.last(profile.id), self._token_clock.now(profile))

    async def _read_shared(self, profile_id: str) -> ProfileTokens:
        """Call `_read_and_record_use`. Callers at the same time share one call."""
        read = self._reads.get(profile_id)
        if read is None or read.done():
            read = self._reads[profile_id] = start_off_loop(lambda: self._read_and_record_use(profile_id))
            read.add_done_callback(retrieve_exception)
        return await asyncio.shield(read)

    def _read_and_record_use(self, profile_id: str) -> ProfileTokens:
        """Return the current tokens. The store is read only if the profile has changed."""
        profile_tokens = self._read_tokens(profile_id)
        self._last_uses.record(profile_id)
        return profile_tokens

    def _read_tokens(self, profile_id: str) -> ProfileTokens:
        cached = self._cache.peek(profile_id)
        if cached is not None and cached.stored:
            profile = self._store.get(profile_id)
            if profile is not None and profile.generation == cached.profile.generation:
                return ProfileTokens(profile, cached.tokens)
        return self._pending.read(profile_id)

    def _is_usable(self, profile_tokens: ProfileTokens) -> bool:
        return is_usable(profile_tokens.tokens.expires_at, self._token_clock.now(profile_tokens.profile))

    async def _refresh(self, profile_tokens: ProfileTokens, rejected_generation: int | None, *, needed: bool) -> AccessToken:
        profile = profile_tokens.profile
        if not isinstance(profile, OAuthProfile):
            return AccessToken.of(profile_tokens)  # an API key cannot be refreshed
        if not profile.has_refresh or profile.has_ended:
            raise sign_in_expired(profile)
        backoff = self._active_backoff(profile)
        if backoff is not None:
            raise backoff.as_error()
        stale_generation = profile_tokens.tokens.generation if needed else self._stale_generation(profile)
        fresh = (await self._refresh_once(profile, stale_generation, needed=needed)).profile_tokens
        rejected_generation = self._pending.stored_as.get(rejected_generation or 0, rejected_generation)
        if fresh.tokens.generation == rejected_generation and not self._was_just_refreshed(fresh):
            # The joined refresh had only stored pending tokens.
            fresh = (await self._refresh_once(fresh.account, fresh.tokens.generation, needed=needed)).profile_tokens
        if rejected_generation is not None and fresh.tokens.generation != rejected_generation:
            self._rejection_replacements[profile.id] = (fresh.tokens.generation, self._clock.monotonic())
        return self._cache.put(fresh, self._spread)

    def _was_just_refreshed(self, profile_tokens: ProfileTokens) -> bool:
        """Whether this token is from a recent refresh, so that a server that rejects it would also reject the next token."""
        profile, tokens = profile_tokens.profile, profile_tokens.tokens
        if not profile.has_refresh or profile.has_ended:
            return False
        refreshed_at = profile.refreshed_at if tokens.renewal is None else tokens.renewal.refreshed_at
        if refreshed_at is not None and 0 <= self._token_clock.now(profile) - refreshed_at < REJECTED_AT_ONCE_MS:
            return True
        generation, replaced_at = self._rejection_replacements.get(profile.id, (0, 0.0))
        is_replacement = tokens.generation == self._pending.stored_as.get(generation, generation)
        return is_replacement and 0 <= self._clock.monotonic() - replaced_at < REJECTED_AGAIN_S

    def _stale_generation(self, profile: Profile) -> int | None:
        """Return the generation to replace; None if there are only pending tokens to store."""
        return profile.generation if profile_due(profile, self._token_clock.now(profile), self._spread) else None

    async def _refresh_once(self, profile: OAuthProfile, stale_generation: int | None, *, needed: bool) -> Refreshed:
        """Join the profile's single flight, or start one."""
        key = (profile.id, needed)
        single_flight = self._single_flights.get(key)
        if single_flight is None or single_flight.abandoned or single_flight.outcome.done():
            call = RefreshCall(profile, stale_generation, needed, PATIENCE_S if needed else 0.0)
            single_flight = SingleFlight(self._http, self._clock, lambda send: self._refresher.refresh(call, send))
            self._single_flights[key] = single_flight
        try:
            refreshed = await single_flight.join()
        except LockBusy:
            raise
        except PorticoError as error:
            self._start_backoff(profile, error)
            raise
        self._backoffs.pop(profile.id, None)
        return refreshed

    def _start_backoff(self, profile: Profile, error: PorticoError) -> None:
        """Start a backoff, only once for each single flight, even if several callers get its error."""
        generation, previous = self._backoffs.get(profile.id, (0, None))
        if generation != profile.generation:
            previous = None
        if previous is None or previous.error is not error:
            self._backoffs[profile.id] = (profile.generation, Backoff.after(error, previous, self._clock.wall_ms()))
