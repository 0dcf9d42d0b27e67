"""A durable note that a refresh token is about to be sent, made before it is sent (a write-ahead fence).

It stands in the profile's index entry and goes in the very write that points at the new tokens. Whoever finds one holds the
refresh lock, and so knows that its owner is gone or has given up: the token may be spent. It is then tried once more, at once,
since servers that rotate tokens take the last one again for some seconds; a refusal after that is known for a lost answer. An
outage that swallows answers looks the same, so a few more sends follow, ever more rarely, and only where somebody waits for one.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.store.profile_record import Fence
from portico.store.records import fingerprint

if TYPE_CHECKING:
    from portico.secret import Secret
    from portico.store.profiles import Profile

# Sends of one token that may have reached the server, by timers and while the access token that it would replace still serves.
MAX_SENDS: Final = 3
# And in all, by callers who cannot do without the next one: what a further send could end has ended then.
MOST_SENDS: Final = 12
ANSWERS_MISSING: Final = "refresh-answers-missing"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def pending(profile: Profile, refresh: Secret) -> Fence | None:
    """The note that `refresh` was sent before, None where it was not."""
    fence = profile.fence
    if fence is None or fence.generation != profile.generation or fence.token != fingerprint(refresh):
        return None
    return fence


def answers_stay_lost(profile: Profile) -> bool:
    """Whether timers are to leave the profile alone: as its last failure says, its token may be spent."""
    failure, fence = profile.failure, profile.fence
    many = fence is not None and fence.generation == profile.generation and fence.sends >= MAX_SENDS
    return many and failure is not None and failure.id == ANSWERS_MISSING


def raised(profile: Profile, refresh: Secret, now_ms: int) -> Fence:
    """The note that `refresh` is being sent by this process, counting earlier sends."""
    earlier = pending(profile, refresh)
    return Fence(
        generation=profile.generation,
        token=fingerprint(refresh),
        started_at=now_ms if earlier is None else earlier.started_at,
        sends=1 if earlier is None else earlier.sends + 1,
        pid=os.getpid(),
        boot_id=boot_id(),
    )


def told(fence: Fence) -> str:
    """Who sent the token and when, for a person."""
    who = f"process {fence.pid}" if fence.boot_id == boot_id() else f"process {fence.pid}, before this machine was started"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(fence.started_at / 1000))
    return f"sent at {at} by {who}"


def boot_id() -> str:
    """What tells this run of the machine from another, empty where the system has no such thing."""
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text(encoding="ascii").strip()
    return ""
