"""Background refresh: keep the tokens of every profile fresh, in a loop or once for cron and timers.

Every two seconds, the loop checks by the wall clock which profiles are due. It reads the profile index again if the file has
changed. So within two seconds it notices that the machine woke, that the clock changed, or that another process signed in. Long
timers would be late, because an event loop's timers stop while the machine sleeps (clock_gettime(2), CLOCK_MONOTONIC). An
unused profile is refreshed only as often as its refresh token needs.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

from portico.auth.backoff import sign_in_expired
from portico.errors import PorticoError, error_location, frames_of, internal_error
from portico.util.threads import off_loop

if TYPE_CHECKING:
    from portico.auth.broker import TokenBroker
    from portico.interfaces.basics import Clock
    from portico.store.records import Profile
    from portico.store.token_store import TokenStore

TICK_S: Final = 2.0
# A token that is valid only for seconds is not refreshed in the background; callers refresh it.
_MIN_INTERVAL_MS: Final = 5_000
# How often to check if an unused profile is in use again. A caller always gets a fresh token without this check.
_IDLE_RECHECK_MS: Final = 60_000

_log = logging.getLogger(__name__)


class BackgroundRefresh:
    """Refreshes each profile when it is due. `run` continues after every error, until it is cancelled."""

    def __init__(self, broker: TokenBroker, store: TokenStore, clock: Clock) -> None:
        self._broker = broker
        self._store = store
        self._clock = clock
        self._running: dict[str, asyncio.Task[None]] = {}
        self._started_at: dict[str, int] = {}
        self._idle_seen_at: dict[str, int] = {}
        self._logged_errors: dict[str, str] = {}

    async def run(self) -> None:
        """Watch and refresh. When cancelled, wait for requests that were already sent."""
        try:
            while True:
                await self._tick()
                await self._clock.sleep(TICK_S)
        finally:
            await self._stop()

    async def _tick(self) -> None:
        for profile in await self._profiles():
            self._log_ended(profile)
            if self._should_refresh(profile):
                self._started_at[profile.id] = self._clock.wall_ms()
                task = asyncio.create_task(self._refresh(profile), name=f"refresh {profile.id}")
                self._running[profile.id] = task
                task.add_done_callback(partial(self._forget_task, profile.id))

    def _log_ended(self, profile: Profile) -> None:
        """Log that a profile must sign in again, even if another process noticed it. Log this only once for each sign-in."""
        error = sign_in_expired(profile)
        if profile.has_ended:
            self._log_error(profile.id, error)
        elif self._logged_errors.get(profile.id) == error.id:
            del self._logged_errors[profile.id]

    def _forget_task(self, profile_id: str, _task: asyncio.Task[None]) -> None:
        self._running.pop(profile_id, None)

    async def _profiles(self) -> tuple[Profile, ...]:
        try:
            # Checks the file's time and size, and reads the file only if they have changed.
            profiles = await off_loop(self._store.profiles)
        except PorticoError as error:
            self._log_error("the profile index", error)
            return ()
        except Exception as error:  # noqa: BLE001 - the loop continues; the next read may succeed
            self._log_error("the profile index", internal_error(error))
            return ()
        self._logged_errors.pop("the profile index", None)
        return profiles

    def _should_refresh(self, profile: Profile) -> bool:
        now = self._clock.wall_ms()
        too_soon = 0 <= now - self._started_at.get(profile.id, 0) < _MIN_INTERVAL_MS
        idle = 0 <= now - self._idle_seen_at.get(profile.id, 0) < _IDLE_RECHECK_MS
        return profile.id not in self._running and not too_soon and not idle and self._broker.may_refresh(profile)

    async def _refresh(self, profile: Profile) -> None:
        profile_id = profile.id
        try:
            if await off_loop(lambda: self._broker.is_idle(profile)):
                self._idle_seen_at[profile_id] = self._clock.wall_ms()
            elif await self._broker.refresh_if_due(profile_id):
                self._logged_errors.pop(profile_id, None)
                _log.info("%s: refreshed", profile_id)
        except PorticoError as error:
            self._log_error(profile_id, error)
            return
        except Exception as error:  # noqa: BLE001 - a plugin's bug in one profile must not stop the others
            bug = f"{error_location(error)}\n{frames_of(error)}"
        else:
            return
        # Outside the except block: if the log cannot be written, `logging` prints the handled exception, which may quote a
        # token.
        _log.error("%s: could not refresh because of a bug: %s", profile_id, bug)

    def _log_error(self, subject: str, error: PorticoError) -> None:
        """Log a failure when it starts or changes, not at every attempt."""
        if self._logged_errors.get(subject) != error.id:
            self._logged_errors[subject] = error.id
            _log.warning("%s: %s [%s]", subject, error, error.id)

    async def _stop(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


Result = Literal["refreshed", "not due", "resting", "waiting", "left to another process", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome for one profile.

    `resting`: the account is unused, and its refresh token needs no refresh yet. `waiting`: an attempt failed, and its backoff
    has not ended.
    """

    profile_id: str
    result: Result
    error: PorticoError | None = None


async def refresh_what_is_due(broker: TokenBroker, store: TokenStore) -> list[Outcome]:
    """Refresh every profile that is due, all at once. A failure is an outcome and does not stop the others.

    Raises:
        StoreError: the profiles cannot be read.
    """
    profiles = await off_loop(store.profiles)
    return list(await asyncio.gather(*(_refresh(broker, profile) for profile in profiles)))


async def _refresh(broker: TokenBroker, profile: Profile) -> Outcome:
    if not broker.may_refresh(profile):
        failed = profile.failure is not None and not profile.failure.terminal
        return Outcome(profile.id, "waiting" if failed else "not due")
    if await off_loop(lambda: broker.is_idle(profile)):
        return Outcome(profile.id, "resting")
    try:
        posted = await broker.refresh_if_due(profile.id)
    except PorticoError as error:
        return Outcome(profile.id, "failed", error)
    return Outcome(profile.id, "refreshed" if posted else "left to another process")
