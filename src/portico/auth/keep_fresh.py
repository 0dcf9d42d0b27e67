"""Refreshing what is due, once: for cron, timers and whoever wants no process to stay."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from portico.errors import PorticoError
from portico.store.off_loop import off_loop

if TYPE_CHECKING:
    from portico.auth.broker import TokenBroker
    from portico.store.profiles import Profile
    from portico.store.token_store import TokenStore

Result = Literal["refreshed", "not due", "resting", "waiting", "left to another process", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sign-in.

    `resting`: nobody has used it lately. `waiting`: an attempt failed a moment ago, and the next one is not to come yet.
    """

    profile_id: str
    result: Result
    error: PorticoError | None = None


async def refresh_what_is_due(broker: TokenBroker, store: TokenStore) -> list[Outcome]:
    """Refresh every sign-in that is due, all at once; a failure of one is an outcome and stops no other.

    Raises:
        StoreError: the profiles cannot be read.
    """
    profiles = await off_loop(store.profiles)
    return list(await asyncio.gather(*(_refresh(broker, profile) for profile in profiles)))


async def _refresh(broker: TokenBroker, profile: Profile) -> Outcome:
    if not broker.may_refresh(profile):
        failed = profile.failure is not None and not profile.failure.terminal
        return Outcome(profile.id, "waiting" if failed else "not due")
    if await off_loop(lambda: broker.rests(profile)):
        return Outcome(profile.id, "resting")
    try:
        asked = await broker.refresh_if_due(profile.id)
    except PorticoError as error:
        return Outcome(profile.id, "failed", error)
    return Outcome(profile.id, "refreshed" if asked else "left to another process")
