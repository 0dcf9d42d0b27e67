"""The owner of refresh: whoever needs an access token asks here, and nobody else sees a refresh token.

Callers in one process share one refresh; processes take turns at a lock file and read again under it; a server's refusal is
remembered in the index and never asked for twice; where the network or the server fails, a token serves until its true end.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final

from portico.auth.backoff import Backoff, failed_recently, noted_backoff, sign_in_expired
from portico.auth.freshness import Uses, is_usable, profile_due, rests
from portico.auth.journal import PendingTokens
from portico.auth.refresh import POST_TIMEOUT_S, RETRY_TIMEOUT_S, Transactions, Wish
from portico.auth.single_flight import SingleFlight, mark_seen
from portico.auth.tokens import AccessToken, Ages, Refreshed, TokenCache
from portico.errors import LockBusy, PorticoError
from portico.store.records import OAuthProfile
from portico.store.token_store import ProfileTokens
from portico.util.files import no_crash_point
from portico.util.threads import off_loop, start_off_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.interfaces.authorization import FormPoster, TokenDialect
    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.store.records import Profile
    from portico.store.token_store import TokenStore
    from portico.util.files import CrashPoint

__all__ = ("AccessToken", "TokenBroker")

# Longer than a refresh may take, so that a waiting caller finds the new token and not a busy lock.
PATIENCE_S: Final = POST_TIMEOUT_S + RETRY_TIMEOUT_S + 15.0
# Some APIs reject every token: at a wrong path, or since they are down. A refresh for each request would send a rotating refresh
# token each time, for nothing. The first is for the token of any refresh, of whatever process; the second, which is this
# process's own, for one that has come in place of a rejected one.
REJECTED_AT_ONCE_MS: Final = 60_000
REJECTED_AGAIN_S: Final = 300.0


def _any_spread() -> float:
    return random.uniform(-1, 1)  # noqa: S311 - spreads processes; nothing to guess


class TokenBroker:
    """Hands out access tokens, refreshed where they must be. For one event loop; `dialects` is called on another thread.

    `spread` gives -1 to 1, and moves this process's refreshes by a tenth of the margin.
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
        spread: Callable[[], float] = _any_spread,
    ) -> None:
        self._ages = Ages(clock)
        self._store = store
        self._unstored = PendingTokens(store)
        self._transactions = Transactions(store, dialects, clock, self._ages, self._unstored, crash_point)
        self._memory = TokenCache(clock, self._ages)
        self._uses = Uses(paths, clock)
        self._http = http
        self._clock = clock
        self._spread = spread()
        self._flights: dict[tuple[str, bool], SingleFlight] = {}
        self._looks: dict[str, asyncio.Future[ProfileTokens]] = {}
        self._pauses: dict[str, tuple[int, Backoff]] = {}
        self._in_place_of_rejected: dict[str, tuple[int, float]] = {}

    async def access(self, profile_id: str, *, rejected_generation: int | None = None) -> AccessToken:
        """A token that is good now. What other processes do to the profile is seen within a second.

        Args:
            profile_id: whose.
            rejected_generation: the generation of a token that a server has just refused; one of another generation is wanted.
                The same one comes back where another refresh cannot help: it is an API key, or was refreshed within the last
                minute, or within the last five for being rejected. It is then no use to send the request again.

        Raises:
            SignInNeeded: `not-signed-in`, or `sign-in-expired`: only a person can help.
            NetworkError: the token has ended and no other can be had now.
            StoreError: the store failed, or the profile is another account's now.
            LockBusy: another process is refreshing and does not finish.
        """
        remembered = self._memory.get(profile_id)
        if remembered is not None and remembered.generation != rejected_generation:
            return remembered
        return await self._access(profile_id, self._unstored.stored_as.get(rejected_generation or 0, rejected_generation))

    async def _access(self, profile_id: str, rejected_generation: int | None) -> AccessToken:
        held = await self._looked(profile_id)
        good = self._usable(held) and (held.tokens.generation != rejected_generation or self._is_new(held))
        if good and not self.may_refresh(held.profile):
            return self._memory.keep(held, self._spread)
        try:
            return await self._refreshed(held, rejected_generation, needed=not good)
        except PorticoError:
            if good and self._usable(held):
                return AccessToken.of(held)
            raise

    async def refresh_if_due(self, profile_id: str) -> bool:
        """Replace the token if it is time, for a timer; whether a server was asked.

        Raises:
            PorticoError: as for `access`; not where another process is refreshing.
        """
        profile = await off_loop(lambda: self._store.get(profile_id))
        if not isinstance(profile, OAuthProfile) or not self.may_refresh(profile) or await off_loop(lambda: self.rests(profile)):
            return False
        try:
            return (await self._fly(profile, self._stale(profile), needed=False)).posted
        except LockBusy:
            return False

    async def settle(self) -> None:
        """Return once no refresh is under way any more; one that has sent nothing is given up."""
        for flight in tuple(self._flights.values()):
            await flight.settle()

    def may_refresh(self, profile: Profile) -> bool:
        """Whether it is time for the profile's next token, or to store the one in memory, and no failure says to wait."""
        if not profile_due(profile, self._ages.now(profile), self._spread) and profile.id not in self._unstored.waiting:
            return False
        return self._pause(profile) is None and not failed_recently(profile, self._clock.wall_ms())

    def _pause(self, profile: Profile) -> Backoff | None:
        """The pause that is going on: this process's own, or one that the index notes."""
        now = self._clock.wall_ms()
        generation, own = self._pauses.get(profile.id, (0, None))
        return own if own is not None and generation == profile.generation and own.holds(now) else noted_backoff(profile, now)

    def rests(self, profile: Profile) -> bool:
        """Whether a timer is to leave the profile alone, since nobody uses it. Blocking."""
        waits = profile.id in self._unstored.waiting
        return not waits and rests(profile, self._uses.last(profile.id), self._ages.now(profile))

    async def _looked(self, profile_id: str) -> ProfileTokens:
        """What `_look` finds, once for all who ask at the same time."""
        look = self._looks.get(profile_id)
        if look is None or look.done():
            look = self._looks[profile_id] = start_off_loop(lambda: self._look(profile_id))
            look.add_done_callback(mark_seen)
        return await asyncio.shield(look)

    def _look(self, profile_id: str) -> ProfileTokens:
        """The tokens as they are now; the store is not asked again for those that the profile still has."""
        held = self._found(profile_id)
        self._uses.note(profile_id)
        return held

    def _found(self, profile_id: str) -> ProfileTokens:
        known = self._memory.known(profile_id)
        if known is not None and known.stored:
            profile = self._store.get(profile_id)
            if profile is not None and profile.generation == known.profile.generation:
                return ProfileTokens(profile, known.tokens)
        return self._transactions.held(profile_id)

    def _usable(self, held: ProfileTokens) -> bool:
        return is_usable(held.tokens.expires_at, self._ages.now(held.profile))

    async def _refreshed(self, held: ProfileTokens, rejected_generation: int | None, *, needed: bool) -> AccessToken:
        profile = held.profile
        if not isinstance(profile, OAuthProfile):
            return AccessToken.of(held)  # there is no other
        if not profile.has_refresh or (profile.failure is not None and profile.failure.terminal):
            raise sign_in_expired(profile)
        pause = self._pause(profile)
        if pause is not None:
            raise pause.as_error()
        stale = held.tokens.generation if needed else self._stale(profile)
        fresh = (await self._fly(profile, stale, needed=needed)).held
        rejected_generation = self._unstored.stored_as.get(rejected_generation or 0, rejected_generation)
        if fresh.tokens.generation == rejected_generation and not self._is_new(fresh):  # joined a flight that only stored it
            fresh = (await self._fly(fresh.account, fresh.tokens.generation, needed=needed)).held
        if rejected_generation is not None and fresh.tokens.generation != rejected_generation:
            self._in_place_of_rejected[profile.id] = (fresh.tokens.generation, self._clock.monotonic())
        return self._memory.keep(fresh, self._spread)

    def _is_new(self, held: ProfileTokens) -> bool:
        """Whether a refresh has just brought this token. If it is rejected all the same, so will be the next one."""
        profile, tokens = held.profile, held.tokens
        if not profile.has_refresh or (profile.failure is not None and profile.failure.terminal):
            return False
        came = profile.refreshed_at if tokens.renewal is None else tokens.renewal.refreshed_at
        if came is not None and 0 <= self._ages.now(profile) - came < REJECTED_AT_ONCE_MS:
            return True
        generation, at = self._in_place_of_rejected.get(profile.id, (0, 0.0))
        same = tokens.generation == self._unstored.stored_as.get(generation, generation)
        return same and 0 <= self._clock.monotonic() - at < REJECTED_AGAIN_S

    def _stale(self, profile: Profile) -> int | None:
        """The generation to replace; None where there is only a pair in memory to be stored."""
        return profile.generation if profile_due(profile, self._ages.now(profile), self._spread) else None

    async def _fly(self, profile: OAuthProfile, stale_generation: int | None, *, needed: bool) -> Refreshed:
        """Join the refresh of this profile that is under way, or begin it."""
        key = (profile.id, needed)
        flight = self._flights.get(key)
        if flight is None or flight.abandoned or flight.outcome.done():
            wish = Wish(profile, stale_generation, needed, PATIENCE_S if needed else 0.0)
            flight = SingleFlight(self._http, self._clock, lambda send: self._transactions.refresh(wish, send))
            self._flights[key] = flight
        try:
            refreshed = await flight.join()
        except LockBusy:
            raise
        except PorticoError as error:
            self._note(profile, error)
            raise
        self._pauses.pop(profile.id, None)
        return refreshed

    def _note(self, profile: Profile, error: PorticoError) -> None:
        """Begin a pause, once for each flight however many callers see it fail."""
        generation, previous = self._pauses.get(profile.id, (0, None))
        if generation != profile.generation:
            previous = None
        if previous is None or previous.error is not error:
            self._pauses[profile.id] = (profile.generation, Backoff.after(error, previous, self._clock.wall_ms()))
