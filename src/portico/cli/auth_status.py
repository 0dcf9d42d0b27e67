"""`auth status`: how each sign-in is, until when, what went wrong last, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.auth.freshness import own_time
from portico.auth.health import check_code, health_now
from portico.cli.auth_view import DAMAGED, all_as_json, expiry, in_use, now, say_nobody
from portico.errors import ExitCode, PorticoError
from portico.onboarding.times import in_words, iso
from portico.store.network_folder import shared_folder_warning
from portico.store.remedy import sign_in_again

if TYPE_CHECKING:
    from portico.auth.health import Health
    from portico.cli.runtime import Runtime
    from portico.store.profiles import IndexDraft, Profile

_STORES = {"keyring": "the OS keyring", "file": "a sealed file"}


def show_status(rt: Runtime, *, check: bool = False) -> int:
    """Say how each sign-in is.

    Returns:
        3 where there is none, or one needs a new sign-in. With `check` also 12 where one ends within 24 hours and cannot be
        refreshed, and 7 where the store does not give the tokens back.
    """
    index = rt.index.view()
    unreadable = _unreadable(index, rt) if check else {}
    code = _code(index, unreadable, rt, check=check)
    warning = shared_folder_warning(rt.paths.state)
    if warning is not None:
        rt.out.warn(warning)
    if rt.out.is_json:
        warnings = [] if warning is None else [warning]
        profiles = _as_json(index, unreadable, rt)
        rt.out.json({"signedIn": bool(index.profiles), "exitCode": code, "profiles": profiles, "warnings": warnings})
    elif not index.profiles and not index.damaged:
        say_nobody(rt)
    else:
        used = (in_use(index, rt) if len(index.profiles) > 1 else None) or frozenset()
        for profile in index.profiles:
            _say(profile, unreadable.get(profile.id), rt, in_use=profile.id in used)
        for id in index.damaged:
            rt.out.line(f"{id}: {DAMAGED}\n  to do         delete its tokens: {rt.program} auth logout {id}")
    return code


def advice(profile: Profile, health: Health) -> str | None:
    """What a person should do about it; None where nothing. `{prog}` stands for the program name."""
    if health.word == "sign-out unfinished":
        return f"finish signing out: {{prog}} auth logout {profile.id}"
    if health.word in {"sign in again", "expiring"}:
        return f"sign in again: {sign_in_again(profile)}"
    if health.word == "refresh failing":
        return "nothing yet: it is tried again; if it stays so, look at the network and the provider's own status"
    if health.word == "refresh due":
        return "nothing: it is refreshed when it is used (to keep it fresh: {prog} auth keep-fresh)"
    return None


def _code(index: IndexDraft, unreadable: dict[str, PorticoError], rt: Runtime, *, check: bool) -> int:
    code = ExitCode.SIGN_IN_NEEDED if index.damaged else check_code(index.profiles, rt.clock)
    if not check:
        return code if code == ExitCode.SIGN_IN_NEEDED else ExitCode.OK
    return ExitCode.STORE_FAILED if unreadable and code != ExitCode.SIGN_IN_NEEDED else code


def _unreadable(index: IndexDraft, rt: Runtime) -> dict[str, PorticoError]:
    """The sign-ins whose tokens the store does not give back, and why. A passphrase is not asked for."""
    found: dict[str, PorticoError] = {}
    vault = rt.unattended().vault()
    for profile in index.profiles:
        try:
            vault.read(profile.id)
        except PorticoError as error:
            if error.id != "passphrase-needed":
                found[profile.id] = error
    return found


def _say(profile: Profile, unreadable: PorticoError | None, rt: Runtime, *, in_use: bool) -> None:
    health = health_now(profile, rt.clock)
    rt.out.line(f"{profile.id}: {'store unreadable' if unreadable else health.word}{' (in use)' if in_use else ''}")
    fields = {
        "access token": expiry(profile, rt),
        "refresh": _refresh_words(profile, health, rt),
        "last failure": _failure_words(profile, rt),
        "region": f"{profile.region} ({profile.api_base})" if profile.region else profile.api_base,
        "store": f"{_STORES[profile.store]}{f': {unreadable}' if unreadable else ''}",
        "to do": (unreadable.hint if unreadable else advice(profile, health)) or "nothing",
    }
    for name, value in fields.items():
        if value is not None:
            rt.out.line(f"  {name:<13} {value.replace('{prog}', rt.program)}")


def _refresh_words(profile: Profile, health: Health, rt: Runtime) -> str:
    if health.refresh == "none":
        return "none: there is no refresh token"
    last = "never so far" if profile.refreshed_at is None else _when(profile.refreshed_at, rt)
    end = profile.refresh_expires_at
    until = "" if end is None else f"; the refresh token {'ended' if health.refresh == 'ended' else 'ends'}: {_when(end, rt)}"
    return f"{health.refresh}; last successful: {last}{until}"


def _failure_words(profile: Profile, rt: Runtime) -> str | None:
    if profile.failure is None:
        return None
    code = f" [{profile.failure.code}]" if profile.failure.code else ""
    return f"{_when(profile.failure.at, rt)}: {profile.failure.message}{code}"


def _when(at_ms: int, rt: Runtime) -> str:
    ago = in_words(at_ms, now(rt)).removeprefix("expired ")
    return f"{iso(at_ms)} ({ago})"


def _as_json(index: IndexDraft, unreadable: dict[str, PorticoError], rt: Runtime) -> list[dict[str, object]]:
    values = all_as_json(index, rt, verbose=True)
    for profile, value in zip(index.profiles, values, strict=False):  # the damaged ones come after
        own = own_time(profile, rt.clock)
        health = health_now(profile, rt.clock)
        what = advice(profile, health)
        value["access"] = health.access
        value["refresh"] = health.refresh
        value["remainingMs"] = None if profile.expires_at is None else profile.expires_at - own
        value["lastRefreshAt"] = profile.refreshed_at
        value["refreshExpiresAt"] = profile.refresh_expires_at
        value["lastFailure"] = None if profile.failure is None else _failure_json(profile)
        value["advice"] = what.replace("{prog}", rt.program) if what is not None else None
        error = unreadable.get(profile.id)
        if error is not None:
            value |= {"status": "store unreadable", "storeError": error.as_json(rt.program)}
    return values


def _failure_json(profile: Profile) -> dict[str, object]:
    failure = profile.failure
    assert failure is not None  # noqa: S101 - asked only where there is one
    known = {"at": failure.at, "id": failure.id, "message": failure.message, "terminal": failure.terminal, "code": failure.code}
    return {**known, "attempts": failure.attempts, "retryAt": failure.retry_at}
