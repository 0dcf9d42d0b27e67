"""Refreshing what is due, once: for cron, timers and whoever wants no process to stay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from portico.errors import PorticoError
from portico.store.off_loop import off_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.auth.broker import TokenBroker
    from portico.store.profiles import Profile, ProfileIndex

Result = Literal["refreshed", "not due", "waiting", "left to another process", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sign-in. `waiting`: an attempt failed a moment ago, and the next one is not to come yet."""

    profile_id: str
    result: Result
    error: PorticoError | None = None


async def refresh_what_is_due(broker: TokenBroker, index: ProfileIndex) -> list[Outcome]:
    """Refresh every sign-in that is due, all at once; a failure of one is an outcome and stops no other.

    Raises:
        StoreError: the index cannot be read.
    """
    profiles = await off_loop(index.profiles)
    return list(await asyncio.gather(*(_refresh(broker, profile) for profile in profiles)))


def tell_service_manager(env: Mapping[str, str], state: str) -> None:
    """Tell systemd, where it waits for that, that this process is `READY=1` or `STOPPING=1` (sd_notify(3))."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.setblocking(False)
        notifier.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


async def _refresh(broker: TokenBroker, profile: Profile) -> Outcome:
    if not broker.may_refresh(profile):
        failed = profile.failure is not None and not profile.failure.terminal
        return Outcome(profile.id, "waiting" if failed else "not due")
    try:
        asked = await broker.refresh_if_due(profile.id)
    except PorticoError as error:
        return Outcome(profile.id, "failed", error)
    return Outcome(profile.id, "refreshed" if asked else "left to another process")
