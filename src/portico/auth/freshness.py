"""When an access token is usable, when a profile is due for a refresh, and a profile's health. Times are in ms since the epoch.

`LastUses` records the last use of each profile as the time of an empty file. A caller only touches this file and does not lock
or write the index. If this fails, the profile counts as unused, and is still refreshed now and then.

`health_now` reads only the profile's index entry, and uses no keyring or server. An expired access token is never reported as
ok, and a rejected refresh token is not the same as a server that did not answer (openclaw#42721, openclaw#66952).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import ExitCode
from portico.paths import FILE_MODE, hashed_name, make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.store.records import Moment, Profile

LONGEST_MARGIN_MS = 300_000
_MARGIN_DIVISOR = 5
_SPREAD = 0.1
_CLOCK_ERROR_MS = 60_000
# A profile that is unused for a day is refreshed only twice a day. It must be refreshed, because servers end unused refresh
# tokens. Of the well-known servers, Microsoft Entra (for single-page apps) is the quickest, after 24 hours; most wait for days.
IDLE_AFTER_MS = 24 * 3_600_000
IDLE_REFRESH_EVERY_MS = 12 * 3_600_000
# A refresh token with a shorter lifetime than this is not refreshed at half of its lifetime.
_SHORT_REFRESH_LIFETIME_MS = 600_000


def margin_ms(lifetime_ms: int) -> int:
    """Return how long before its end a token is replaced: five minutes, or a fifth of a lifetime shorter than 25 minutes.

    If the margin were longer than the lifetime, every new token would be due at once, and every request would refresh.
    """
    return max(0, min(LONGEST_MARGIN_MS, lifetime_ms // _MARGIN_DIVISOR))


def is_usable(expires_at: int | None, now_ms: int) -> bool:
    """Whether a token has not expired. If the end is unknown, the token is used until a server rejects it."""
    return expires_at is None or now_ms < expires_at


def due_at(expires_at: int, issued_at: int, spread: float = 0.0) -> int:
    """Return when the next token is due. `spread` (-1 to 1) shifts this time by up to a tenth of the margin."""
    return expires_at - round(margin_ms(expires_at - issued_at) * (1 + spread * _SPREAD))


def refresh_due(expires_at: int | None, issued_at: int, now_ms: int, spread: float = 0.0) -> bool:
    """Whether the next token is due; never if the end is unknown.

    If a token seems to be issued in the future, the clock was wrong then. Its end is uncertain, so it is replaced.
    """
    if expires_at is None:
        return False
    return now_ms >= due_at(expires_at, issued_at, spread) or now_ms < issued_at - _CLOCK_ERROR_MS


def moment(clock: Clock) -> Moment | None:
    """Return the current time by both clocks; None if the system does not identify its boot."""
    from portico.store.records import Moment

    boot = clock.boot()
    return Moment(boot=boot, steady_ms=int(clock.monotonic() * 1000), wall_ms=clock.wall_ms()) if boot else None


def effective_now_ms(profile: Profile, clock: Clock) -> int:
    """Return the current time for a profile's tokens: the later of the wall clock and the steady clock.

    If only the wall clock were used, setting it back would extend a token's life. The steady clock cannot be set; until the
    machine restarts, it gives every process the age of the tokens. If the wall clock was set forward, a token is at worst
    refreshed too early, and the times of the next token are right.
    """
    return max(clock.wall_ms(), steady_now_ms(profile, clock))


def steady_now_ms(profile: Profile, clock: Clock) -> int:
    """As `effective_now_ms`, but by the steady clock alone; by the wall clock after a restart."""
    received = profile.received
    if received is None or received.boot != clock.boot():
        return clock.wall_ms()
    return received.wall_ms + max(0, int(clock.monotonic() * 1000) - received.steady_ms)


def issued_at(profile: Profile) -> int:
    """Return when the profile's access token was requested."""
    return profile.created_at if profile.refreshed_at is None else profile.refreshed_at


def profile_due(profile: Profile, now_ms: int, spread: float = 0.0) -> bool:
    """Whether the profile is due for a refresh, and has a refresh token that was not rejected."""
    if not profile.has_refresh or profile.has_ended:
        return False
    if profile.expires_at is None:  # refreshed now and then, because its end is unknown and servers end unused refresh tokens
        issued = issued_at(profile)
        return not issued - _CLOCK_ERROR_MS <= now_ms < min(issued + IDLE_REFRESH_EVERY_MS, _refresh_token_halfway(profile))
    return refresh_due(profile.expires_at, issued_at(profile), now_ms, spread) or now_ms >= _refresh_token_halfway(profile)


def is_idle(profile: Profile, used_at: int | None, now_ms: int) -> bool:
    """Whether a timer may skip the profile: it was not used lately, and its refresh token can stay unused for now.

    `used_at` is the last use of its access token; None if unknown. A caller always gets a fresh token, even if timers skip the
    profile.
    """
    last_use, issued = max(profile.created_at, used_at or 0), issued_at(profile)
    refresh_by: float = issued + IDLE_REFRESH_EVERY_MS
    if profile.refresh_expires_at is not None:
        refresh_by = min(refresh_by, issued + (profile.refresh_expires_at - issued) / 2)
    # If a token seems to be issued in the future, the clock was wrong then, so its age is unknown.
    return issued <= now_ms + _CLOCK_ERROR_MS and now_ms - last_use >= IDLE_AFTER_MS and now_ms < refresh_by


def _refresh_token_halfway(profile: Profile) -> float:
    """Return when half of the refresh token's lifetime is over; None if the lifetime is unknown."""
    if profile.refresh_expires_at is None:
        return float("inf")
    lifetime_ms = profile.refresh_expires_at - issued_at(profile)
    return issued_at(profile) + lifetime_ms / 2 if lifetime_ms > _SHORT_REFRESH_LIFETIME_MS else float("inf")


# A use is recorded at most once in this time, because only the day of the last use matters.
_RECORD_EVERY_MS = 60_000
_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LastUses:
    """The last use of each profile. Blocking, for some microseconds."""

    def __init__(self, paths: Paths, clock: Clock) -> None:
        self._folder = paths.uses
        self._clock = clock
        self._recorded_at: dict[str, int] = {}

    def record(self, profile_id: str) -> None:
        """Record a use of the profile at the current time."""
        now = self._clock.wall_ms()
        if not 0 <= now - self._recorded_at.get(profile_id, -_RECORD_EVERY_MS) < _RECORD_EVERY_MS:
            self._recorded_at[profile_id] = now
            try:
                _touch(self._path(profile_id), now)
            except OSError:
                return

    def last(self, profile_id: str) -> int | None:
        """Return the last recorded use (ms since the epoch), or None."""
        try:
            return self._path(profile_id).stat().st_mtime_ns // 1_000_000
        except OSError:
            return None

    def forget(self, profile_id: str) -> None:
        """Delete the record of a signed-out profile."""
        try:
            self._path(profile_id).unlink()
        except OSError:
            return

    def _path(self, profile_id: str) -> Path:
        return self._folder / hashed_name(profile_id)


def _touch(path: Path, now_ms: int) -> None:
    try:
        descriptor = os.open(path, _FLAGS, FILE_MODE)
    except FileNotFoundError:
        make_private_folder(path.parent)
        descriptor = os.open(path, _FLAGS, FILE_MODE)
    try:
        # By descriptor if possible, so that a symbolic link in the file's place cannot redirect this to another file.
        os.utime(descriptor if os.utime in os.supports_fd else path, ns=(now_ms * 1_000_000, now_ms * 1_000_000))
    finally:
        os.close(descriptor)


EXPIRING_MS: Final = 24 * 3_600_000

HealthStatus = Literal["ok", "expiring", "refresh due", "refresh failing", "sign in again", "sign-out unfinished"]
Access = Literal["good", "ended", "unknown"]
Refresh = Literal["works", "not tried yet", "failing", "refused", "ended", "none"]
# No server has rejected it, but there will be no next access token.
_NO_NEXT_TOKEN: Final = frozenset({"ended", "none"})


@dataclass(frozen=True, slots=True)
class Health:
    """The health of one profile.

    `status` is the summary, `access` is the access token's state, and `refresh` is the refresh token's. `exit_code` is the exit
    code of a check of only this profile.
    """

    status: HealthStatus
    access: Access
    refresh: Refresh
    exit_code: int


def health_now(profile: Profile, clock: Clock) -> Health:
    """Return the profile's health now."""
    return health_at(profile, effective_now_ms(profile, clock), steady_now_ms(profile, clock))


def health_at(profile: Profile, now_ms: int, steady_ms: int | None = None) -> Health:
    """Return the profile's health at `now_ms`.

    `now_ms` is the time by the later clock, `steady_ms` by the steady clock. A refresh token counts as expired only if it has
    expired by both, because only the server knows this for certain.
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
    """Return the profiles that must sign in again."""
    return [profile for profile in profiles if profile.has_ended and not profile.sign_out_unfinished]


def worst_exit_code(profiles: Iterable[Profile], clock: Clock) -> int:
    """Return the worst exit code of `profiles`, or `SIGN_IN_NEEDED` if there is no profile."""
    codes = {health_now(profile, clock).exit_code for profile in profiles} or {ExitCode.SIGN_IN_NEEDED}
    return next(code for code in (ExitCode.SIGN_IN_NEEDED, ExitCode.EXPIRING, ExitCode.OK) if code in codes)


def _access(profile: Profile, now_ms: int) -> Access:
    if profile.expires_at is None:
        return "unknown"
    return "good" if is_usable(profile.expires_at, now_ms) else "ended"


def _ends_soon(end_ms: int | None, now_ms: int) -> bool:
    return end_ms is not None and end_ms - now_ms <= EXPIRING_MS


def _refresh(profile: Profile, now_ms: int) -> Refresh:
    if profile.has_ended:
        return "refused"
    if profile.has_refresh and not is_usable(profile.refresh_expires_at, now_ms):
        return "ended"
    if profile.failure is not None:
        return "failing" if profile.has_refresh else "none"
    if not profile.has_refresh:
        return "none"
    return "works" if profile.refreshed_at is not None else "not tried yet"
