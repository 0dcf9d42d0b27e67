"""Whose turn it is with a profile's refresh token: a refresh and a sign-out never use it at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.store.lock import named_lock

if TYPE_CHECKING:
    from portico.paths import Paths
    from portico.store.lock import FileLock


def refresh_lock(paths: Paths, profile_id: str) -> FileLock:
    """The lock between processes; not taken yet."""
    return named_lock(paths.locks, "refresh", profile_id, what=f"the refresh of {profile_id}")
