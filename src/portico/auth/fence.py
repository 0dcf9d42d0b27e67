"""A durable note that a refresh token is about to be sent, made before it is sent (a write-ahead fence).

It stands in the profile's index entry and goes in the very write that points at the new tokens. Whoever finds one holds the
refresh lock, and so knows that its owner is gone or has given up: the token may be spent. It is then tried once more, at once,
since servers that rotate tokens take the last one again for some seconds; a refusal after that is known for a lost answer. An
outage that swallows answers looks the same, so the token is sent again after 1, 5, 30 and then every 60 minutes, and for as long
as it takes: only the server's word ends a sign-in.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from portico.clock import BOOT
from portico.store.profile_record import Fence
from portico.store.records import fingerprint

if TYPE_CHECKING:
    from portico.secret import Secret
    from portico.store.profiles import Profile

# Sends of one token within some seconds: for so long many servers forgive another use, and a network takes to come back.
AT_ONCE: Final = 3
_AGAIN_AFTER_S: Final = (60.0, 300.0, 1800.0, 3600.0)


def pending(profile: Profile, refresh: Secret) -> Fence | None:
    """The note that `refresh` was sent before, None where it was not."""
    fence = profile.fence
    if fence is None or fence.generation != profile.generation or fence.token != fingerprint(refresh):
        return None
    return fence


def wait_s(fence: Fence) -> float | None:
    """Seconds until a token whose answers were lost is sent again; None while it is sent at once."""
    rounds = fence.sends - AT_ONCE
    return None if rounds < 0 else _AGAIN_AFTER_S[min(rounds, len(_AGAIN_AFTER_S) - 1)]


def raised(profile: Profile, refresh: Secret, now_ms: int) -> Fence:
    """The note that `refresh` is being sent by this process, counting earlier sends."""
    earlier = pending(profile, refresh)
    return Fence(
        generation=profile.generation,
        token=fingerprint(refresh),
        started_at=now_ms if earlier is None else earlier.started_at,
        sends=1 if earlier is None else earlier.sends + 1,
        pid=os.getpid(),
        boot_id=BOOT,
        sent_at=now_ms,
    )


def told(fence: Fence) -> str:
    """Who sent the token and when, for a person."""
    who = f"process {fence.pid}" if fence.boot_id == BOOT else f"process {fence.pid}, before this machine was started"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(fence.started_at / 1000))
    return f"sent at {at} by {who}"
