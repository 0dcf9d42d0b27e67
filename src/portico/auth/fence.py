"""A durable note that a refresh token is about to be sent, made before it is sent (a write-ahead fence).

It stands in the profile's index entry and goes in the very write that points at the new tokens. Whoever finds one holds the
refresh lock, and so knows that its owner is gone or has given up: the token may be spent. It is then tried once more, at once,
since servers that rotate tokens take the last one again for some seconds; a refusal after that is known for a lost answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.store.profile_record import Fence

if TYPE_CHECKING:
    from portico.secret import Secret
    from portico.store.profiles import Profile

# Sends of one token that may have reached the server, while the access token it would replace still serves.
MAX_SENDS: Final = 3
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def pending(profile: Profile, refresh: Secret) -> Fence | None:
    """The note that `refresh` was sent before, None where it was not."""
    fence = profile.fence
    if fence is None or fence.generation != profile.generation or fence.token != _digest(refresh):
        return None
    return fence


def raised(profile: Profile, refresh: Secret, now_ms: int) -> Fence:
    """The note that `refresh` is being sent by this process, counting earlier sends."""
    earlier = pending(profile, refresh)
    return Fence(
        generation=profile.generation,
        token=_digest(refresh),
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


def _digest(refresh: Secret) -> str:
    return hashlib.sha256(refresh.reveal().encode()).hexdigest()
