"""Whose turn it is with a profile's refresh token: a refresh and a sign-out never use it at once."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from portico.store.lock import FileLock

if TYPE_CHECKING:
    from portico.paths import Paths


def refresh_lock(paths: Paths, profile_id: str) -> FileLock:
    """The lock between processes; not taken yet."""
    name = hashlib.sha256(profile_id.encode()).hexdigest()[:16]
    return FileLock(paths.locks / f"refresh-{name}.lock", what=f"the refresh of {profile_id}")
