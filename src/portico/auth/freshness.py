"""When an access token is still good, when it is time for the next one, and when it was last used. Times are wall ms.

The last use is the time of an empty file of the profile's own, whichever process it was. Callers only touch that file, so that
no lock and no write of the index stands between them and a token. If the use cannot be noted, the profile counts as unused, and
is kept alive all the same.

`health_now` says how an account is from its entry in the index alone: no keyring is opened and no server asked. An access token
that has ended is never called ok, and a refresh token that was refused is not the same as a server that did not answer
(openclaw#42721, openclaw#66952).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import ExitCode
from portico.paths import FILE_MODE, make_private_folder
from portico.util.lock import hashed_name

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
# A sign-in that nobody has used for a day rests: a timer refreshes it twice a day. Servers end refresh tokens that stay unused,
# the quickest of the well-known ones after 24 hours (Microsoft Entra, for single-page apps); most give days.
IDLE_AFTER_MS = 24 * 3_600_000
IDLE_REFRESH_EVERY_MS = 12 * 3_600_000
# Closer to a refresh token's end than this, halves of what is left are no reason to refresh.
_SHORT_REFRESH_LIFETIME_MS = 600_000


def margin_ms(lifetime_ms: int) -> int:
    """How long before its end a token is replaced: five minutes, or a fifth of a lifetime that is shorter than 25 minutes.

    A fixed margin longer than the lifetime would make each fresh token due at once, and each request a refresh.
    """
    return max(0, min(LONGEST_MARGIN_MS, lifetime_ms // _MARGIN_DIVISOR))


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


def moment(clock: Clock) -> Moment | None:
    """Now by both clocks, as the index keeps it; None where nothing tells this run of the machine from another."""
    from portico.store.records import Moment

    boot = clock.boot()
    return Moment(boot=boot, steady_ms=int(clock.monotonic() * 1000), wall_ms=clock.wall_ms()) if boot else None


def effective_now_ms(profile: Profile, clock: Clock) -> int:
    """What time it is for a profile's tokens: wall ms, but never less than has truly passed since they came.

    A wall clock that is set back would let a token live on after its end. The clock that nobody sets tells every process how old
    it is, until the machine is started anew. One that is set forward, or a machine that slept, counts: at worst a token is
    refreshed too early, and the next one's times are right by the new clock.
    """
    return max(clock.wall_ms(), steady_now_ms(profile, clock))


def steady_now_ms(profile: Profile, clock: Clock) -> int:
    """What time it is for a profile's tokens by the clock that nobody sets (wall ms); the wall clock's where that cannot tell."""
    received = profile.received
    if received is None or received.boot != clock.boot():
        return clock.wall_ms()
    return received.wall_ms + max(0, int(clock.monotonic() * 1000) - received.steady_ms)


def issued_at(profile: Profile) -> int:
    """When the profile's access token was asked for."""
    return profile.created_at if profile.refreshed_at is None else profile.refreshed_at


def profile_due(profile: Profile, now_ms: int, spread: float = 0.0) -> bool:
    """Whether it is time for the profile's next token, and one can be had: by a refresh token that has not been refused."""
    if not profile.has_refresh or (profile.failure is not None and profile.failure.terminal):
        return False
    if profile.expires_at is None:  # nobody knows when it ends, and its refresh token wants exercise
        issued = issued_at(profile)
        return not issued - _CLOCK_ERROR_MS <= now_ms < min(issued + IDLE_REFRESH_EVERY_MS, _refresh_token_halfway(profile))
    return refresh_due(profile.expires_at, issued_at(profile), now_ms, spread) or now_ms >= _refresh_token_halfway(profile)


def is_idle(profile: Profile, used_at: int | None, now_ms: int) -> bool:
    """Whether a timer is to leave the profile alone: nobody has used it lately, and its refresh token needs no exercise yet.

    `used_at` is when a token of it was last handed out, None where that is not known. Whoever needs a token gets a fresh one.
    """
    last_use, issued = max(profile.created_at, used_at or 0), issued_at(profile)
    refresh_by: float = issued + IDLE_REFRESH_EVERY_MS
    if profile.refresh_expires_at is not None:
        refresh_by = min(refresh_by, issued + (profile.refresh_expires_at - issued) / 2)
    # A token from the future was given while the clock was wrong: nothing can be told from its age.
    return issued <= now_ms + _CLOCK_ERROR_MS and now_ms - last_use >= IDLE_AFTER_MS and now_ms < refresh_by


def _refresh_token_halfway(profile: Profile) -> float:
    """When half of the refresh token's life is over, where the server told its end: one that rotates then gives a new one."""
    if profile.refresh_expires_at is None:
        return float("inf")
    lifetime_ms = profile.refresh_expires_at - issued_at(profile)
    return issued_at(profile) + lifetime_ms / 2 if lifetime_ms > _SHORT_REFRESH_LIFETIME_MS else float("inf")


# Which day somebody used a token matters, and which minute does not.
_RECORD_EVERY_MS = 60_000
_FLAGS = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LastUses:
    """The last use of each profile. Blocking, for some microseconds."""

    def __init__(self, paths: Paths, clock: Clock) -> None:
        self._folder = paths.uses
        self._clock = clock
        self._recorded_at: dict[str, int] = {}

    def record(self, profile_id: str) -> None:
        """A token of the profile is being handed out."""
        now = self._clock.wall_ms()
        if not 0 <= now - self._recorded_at.get(profile_id, -_RECORD_EVERY_MS) < _RECORD_EVERY_MS:
            self._recorded_at[profile_id] = now
            try:
                _touch(self._path(profile_id), now)
            except OSError:
                return

    def last(self, profile_id: str) -> int | None:
        """When that was last noted (wall ms), None where it never was."""
        try:
            return self._path(profile_id).stat().st_mtime_ns // 1_000_000
        except OSError:
            return None

    def forget(self, profile_id: str) -> None:
        """The profile is signed out."""
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
        # By descriptor where that can be done: a link in its place must not lead to another file.
        os.utime(descriptor if os.utime in os.supports_fd else path, ns=(now_ms * 1_000_000, now_ms * 1_000_000))
    finally:
        os.close(descriptor)


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
