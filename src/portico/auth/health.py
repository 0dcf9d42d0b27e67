"""How a sign-in is, as its index entry tells: no keyring is opened and no server is asked. Pure; times are wall ms.

An access token that has ended is never called ok, and a refresh token that was refused is not the same as a server that did not
answer (openclaw#42721, openclaw#66952).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.auth.freshness import effective_now_ms, is_usable, steady_now_ms
from portico.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.interfaces.basics import Clock
    from portico.store.records import Profile

EXPIRING_MS: Final = 24 * 3_600_000

HealthStatus = Literal["ok", "expiring", "refresh due", "refresh failing", "sign in again", "sign-out unfinished"]
Access = Literal["good", "ended", "unknown"]
Refresh = Literal["works", "not tried yet", "failing", "refused", "ended", "none"]
# Ways to the next access token that lead nowhere, though no server has said so.
_NO_NEXT_TOKEN: Final = frozenset({"ended", "none"})


@dataclass(frozen=True, slots=True)
class Health:
    """One sign-in. `status` sums up; `access` is the token's state, `refresh` that of the way to the next one.

    `exit_code` is what a check of this sign-in alone ends with.
    """

    status: HealthStatus
    access: Access
    refresh: Refresh
    exit_code: int


def health_now(profile: Profile, clock: Clock) -> Health:
    """How `profile` is now."""
    return health_at(profile, effective_now_ms(profile, clock), steady_now_ms(profile, clock))


def health_at(profile: Profile, now_ms: int, steady_ms: int | None = None) -> Health:
    """How `profile` is at `now_ms`, the later of its clocks. `steady_ms` is the earlier one: only where that too says so has its
    refresh token ended, since nobody but the server knows.
    """
    access = _access(profile, now_ms)
    refresh = _refresh(profile, now_ms if steady_ms is None else min(now_ms, steady_ms))
    if profile.sign_out_unfinished:
        return Health("sign-out unfinished", access, refresh, ExitCode.SIGN_IN_NEEDED)
    if refresh == "refused" or (refresh in _NO_NEXT_TOKEN and access == "ended"):
        return Health("sign in again", access, refresh, ExitCode.SIGN_IN_NEEDED)
    if refresh == "failing":
        expiring = access == "ended" or _ends_soon(profile.refresh_expires_at, now_ms)
        return Health("refresh failing", access, refresh, ExitCode.EXPIRING if expiring else ExitCode.OK)
    if refresh in _NO_NEXT_TOKEN and _ends_soon(profile.expires_at, now_ms):
        return Health("expiring", access, refresh, ExitCode.EXPIRING)
    return Health("refresh due" if access == "ended" else "ok", access, refresh, ExitCode.OK)


def needs_sign_in(profile: Profile, clock: Clock) -> bool:
    """Whether only a new sign-in can fix this profile."""
    return health_now(profile, clock).exit_code == ExitCode.SIGN_IN_NEEDED


def ended_profiles(profiles: Iterable[Profile]) -> list[Profile]:
    """Those whose refresh the provider has refused for good."""
    ended = (profile for profile in profiles if profile.failure is not None and profile.failure.terminal)
    return [profile for profile in ended if not profile.sign_out_unfinished]


def worst_exit_code(profiles: Iterable[Profile], clock: Clock) -> int:
    """The exit code of a check of them all: the worst of theirs, and `SIGN_IN_NEEDED` where there is none."""
    codes = {health_now(profile, clock).exit_code for profile in profiles} or {ExitCode.SIGN_IN_NEEDED}
    return next(code for code in (ExitCode.SIGN_IN_NEEDED, ExitCode.EXPIRING, ExitCode.OK) if code in codes)


def _access(profile: Profile, now_ms: int) -> Access:
    if profile.expires_at is None:
        return "unknown"
    return "good" if is_usable(profile.expires_at, now_ms) else "ended"


def _ends_soon(end_ms: int | None, now_ms: int) -> bool:
    return end_ms is not None and end_ms - now_ms <= EXPIRING_MS


def _refresh(profile: Profile, now_ms: int) -> Refresh:
    if profile.failure is not None and profile.failure.terminal:
        return "refused"
    if profile.has_refresh and not is_usable(profile.refresh_expires_at, now_ms):
        return "ended"
    if profile.failure is not None:
        return "failing" if profile.has_refresh else "none"
    if not profile.has_refresh:
        return "none"
    return "works" if profile.refreshed_at is not None else "not tried yet"
