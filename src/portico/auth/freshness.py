"""When an access token is still good, and when it is time for the next one. Pure; times are wall ms."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from portico.store.profiles import Profile

LONGEST_MARGIN_MS = 300_000
_SHARE_OF_LIFETIME = 5
_SPREAD = 0.1
_CLOCK_ERROR_MS = 60_000


def margin_ms(lifetime_ms: int) -> int:
    """How long before its end a token is replaced: five minutes, or a fifth of a lifetime that is shorter than 25 minutes.

    A fixed margin longer than the lifetime would make each fresh token due at once, and each request a refresh.
    """
    return max(0, min(LONGEST_MARGIN_MS, lifetime_ms // _SHARE_OF_LIFETIME))


def is_usable(expires_at: int | None, now_ms: int) -> bool:
    """Whether a token has not ended. One without a known end is used until it is refused."""
    return expires_at is None or now_ms < expires_at


def due_at(expires_at: int, issued_at: int, spread: float = 0.0) -> int:
    """When it is time for the next token. `spread`, -1 to 1, moves that by a tenth of the margin, so that processes differ."""
    return expires_at - round(margin_ms(expires_at - issued_at) * (1 + spread * _SPREAD))


def refresh_due(expires_at: int | None, issued_at: int, now_ms: int, spread: float = 0.0) -> bool:
    """Whether it is time for the next token; never where the end is not known.

    A token from the future was given while the clock was wrong: when it ends cannot be known, and the next one's end will be.
    """
    if expires_at is None:
        return False
    return now_ms >= due_at(expires_at, issued_at, spread) or now_ms < issued_at - _CLOCK_ERROR_MS


def issued_at(profile: Profile) -> int:
    """When the profile's access token was asked for."""
    return profile.created_at if profile.refreshed_at is None else profile.refreshed_at


def profile_due(profile: Profile, now_ms: int, spread: float = 0.0) -> bool:
    """Whether it is time for the profile's next token, and one can be had: by a refresh token that has not been refused."""
    ended = profile.failure is not None and profile.failure.terminal
    return profile.has_refresh and not ended and refresh_due(profile.expires_at, issued_at(profile), now_ms, spread)
