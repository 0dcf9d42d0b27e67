"""Telling, beside any command that uses a sign-in, that it is about to end: before requests start to fail."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from portico.cli.runtime import Runtime


def say_trouble(rt: Runtime, profile_id: str) -> None:
    """One line on stderr, also when quiet, if the provider has refused to refresh this profile for good."""
    profile = rt.index.get(profile_id)
    if profile is None or profile.failure is None or not profile.failure.terminal:
        return
    rt.out.warn(f"{rt.program}: {profile_id} cannot be refreshed any more: {profile.failure.message}")
    rt.out.warn(f"  Sign in again: {rt.program} onboard --auth-choice minimax-portal --replace")
