"""The owner of refresh: whoever needs an access token asks here, and nobody else sees a refresh token.

Callers in one process share one refresh; processes take turns at a lock file and read again under it; a server's refusal is
remembered in the index and never asked for twice; where the network or the server fails, a token serves until its true end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.auth.flight import POST_TIMEOUT_S, Flight
from portico.auth.freshness import profile_due
from portico.auth.outcome import Pause, failed_recently, sign_in_expired
from portico.auth.transaction import AccessToken, Held, Refreshed, Transactions
from portico.errors import LockBusy, PorticoError
from portico.store.off_loop import off_loop
from portico.store.steps import no_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.contracts import Clock, FormPoster, TokenDialect
    from portico.paths import Paths
    from portico.store.profiles import Profile, ProfileIndex
    from portico.store.steps import OnStep
    from portico.store.vault import Vault

__all__ = ("AccessToken", "TokenBroker")

# Longer than a refresh may take, so that a waiting caller finds the new token and not a busy lock.
PATIENCE_S: Final = POST_TIMEOUT_S + 15.0


class TokenBroker:
    """Hands out access tokens, refreshed where they must be. For one event loop; `dialects` is called on another thread."""

    def __init__(
        self,
        *,
        vault: Vault,
        index: ProfileIndex,
        dialects: Callable[[str], TokenDialect],
        http: FormPoster,
        clock: Clock,
        paths: Paths,
        on_step: OnStep = no_step,
    ) -> None:
        self._transactions = Transactions(vault, index, dialects, clock, paths, on_step)
        self._index = index
        self._http = http
        self._clock = clock
        self._flights: dict[tuple[str, bool], Flight] = {}
        self._pauses: dict[str, Pause] = {}

    async def access(self, profile_id: str, *, rejected_generation: int | None = None) -> AccessToken:
        """A token that is good now.

        Args:
            profile_id: whose.
            rejected_generation: the generation of a token that a server has just refused; one of another generation is wanted.

        Raises:
            SignInNeeded: `not-signed-in`, or `sign-in-expired`: only a person can help.
            NetworkError: the token has ended and no other can be had now.
            StoreError: the store or the index failed.
            LockBusy: another process is refreshing and does not finish.
        """
        held = await off_loop(lambda: self._transactions.held(profile_id))
        now = self._clock.wall_ms()
        good = held.usable(now) and held.tokens.generation != rejected_generation
        if good and not self._worth_trying(held, now):
            return held.access
        try:
            return await self._refreshed(held, rejected_generation, patient=not good)
        except PorticoError:
            if good and held.usable(self._clock.wall_ms()):
                return held.access
            raise

    async def refresh_if_due(self, profile_id: str) -> bool:
        """Replace the token if it is time; whether a server was asked.

        Raises:
            PorticoError: as for `access`; not where another process is refreshing.
        """
        profile = await off_loop(lambda: self._index.get(profile_id))
        if profile is None or not self._may_try(profile, self._clock.wall_ms()):
            return False
        try:
            return (await self._fly(profile_id, profile.generation, patient=False)).posted
        except LockBusy:
            return False

    def _worth_trying(self, held: Held, now: int) -> bool:
        """Whether to refresh a token that is still good."""
        return held.due(now) and self._may_try(held.profile, now)

    def _may_try(self, profile: Profile, now: int) -> bool:
        pause = self._pauses.get(profile.id)
        waiting = (pause is not None and pause.holds(now)) or failed_recently(profile, now)
        return profile_due(profile, now) and not waiting

    async def _refreshed(self, held: Held, rejected_generation: int | None, *, patient: bool) -> AccessToken:
        profile = held.profile
        if not profile.has_refresh or (profile.failure is not None and profile.failure.terminal):
            raise sign_in_expired(profile)
        pause = self._pauses.get(profile.id)
        if pause is not None and pause.holds(self._clock.wall_ms()):
            raise pause.as_error()
        access = (await self._fly(profile.id, held.tokens.generation, patient=patient)).access
        if access.generation == rejected_generation:  # joined a flight that had set out for the rejected one
            access = (await self._fly(profile.id, access.generation, patient=patient)).access
        return access

    async def _fly(self, profile_id: str, stale_generation: int, *, patient: bool) -> Refreshed:
        """Join the refresh of this profile that is under way, or begin it."""
        key = (profile_id, patient)
        flight = self._flights.get(key)
        if flight is None or flight.abandoned or flight.outcome.done():
            wait_s = PATIENCE_S if patient else 0.0
            flight = Flight(
                self._http, lambda send: self._transactions.refresh(profile_id, stale_generation, send, wait_s=wait_s)
            )
            self._flights[key] = flight
        try:
            refreshed = await flight.join()
        except LockBusy:
            raise
        except PorticoError as error:
            self._note(profile_id, error)
            raise
        self._pauses.pop(profile_id, None)
        return refreshed

    def _note(self, profile_id: str, error: PorticoError) -> None:
        """Begin a pause, once for each flight however many callers see it fail."""
        previous = self._pauses.get(profile_id)
        if previous is None or previous.error is not error:
            self._pauses[profile_id] = Pause.after(error, previous, self._clock.wall_ms())
