"""`auth status`: whether each account can be used now, until when, what went wrong last, and what to do.

An account is ok only if a request with it would succeed as far as can be known without asking a server or a person: its plugin
is on, its tokens come out of the store, and they have not ended (openclaw#66952).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.auth.freshness import own_time
from portico.auth.health import check_code, health_now
from portico.cli.auth_view import DAMAGED, all_as_json, expiry, in_use, now, say_signed_out
from portico.errors import ExitCode, PorticoError
from portico.onboarding.times import in_words, iso
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import sign_in_again
from portico.store.token_store import local_token_store
from portico.util.files import shared_folder_warning

if TYPE_CHECKING:
    from portico.auth.health import Health
    from portico.cli.runtime import Runtime
    from portico.store.records import Profile
    from portico.store.token_store import Snapshot

_UNREADABLE = "store unreadable"
_STORES = {"keyring": "the OS keyring", "file": "a sealed file"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps an account from being used, though its tokens may be good. `word` sums it up."""

    word: str
    error: PorticoError


def show_status(rt: Runtime, *, check: bool = False) -> int:
    """Say how each account is.

    Returns:
        3 if there is none, or one needs a new sign-in; 7 if the store does not give the tokens back; 9 if a plugin that is needed
        cannot be used. With `check` also 12 if one ends within 24 hours and cannot be refreshed; the keyring may then ask.
    """
    index = rt.token_store.snapshot()
    unusable = _unusable(index, rt, may_ask=check)
    code = _code(index, unusable, rt, check=check)
    warning = shared_folder_warning(rt.paths.state)
    if warning is not None:
        rt.out.warn(warning)
    if rt.out.is_json:
        warnings = [] if warning is None else [warning]
        profiles = _as_json(index, unusable, rt)
        rt.out.json({"signedIn": bool(index.profiles), "exitCode": code, "profiles": profiles, "warnings": warnings})
    elif not index.profiles and not index.damaged:
        say_signed_out(rt)
    else:
        used = (in_use(index, rt) if len(index.profiles) > 1 else None) or frozenset()
        for profile in index.profiles:
            _say(profile, unusable.get(profile.id), rt, in_use=profile.id in used)
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


def _code(index: Snapshot, unusable: dict[str, Trouble], rt: Runtime, *, check: bool) -> int:
    code = ExitCode.SIGN_IN_NEEDED if index.damaged else check_code(index.profiles, rt.clock)
    if code == ExitCode.SIGN_IN_NEEDED:
        return code
    codes = {trouble.error.exit_code for trouble in unusable.values()}
    if codes:
        return ExitCode.STORE_FAILED if ExitCode.STORE_FAILED in codes else min(codes)
    return code if check else ExitCode.OK


def _unusable(index: Snapshot, rt: Runtime, *, may_ask: bool) -> dict[str, Trouble]:
    """The accounts that cannot be used, by id: for want of their plugin or of their tokens.

    With `may_ask` a keyring may open its window; a passphrase is never asked for.
    """
    found: dict[str, Trouble] = {}
    store = local_token_store(rt.paths, passphrase=lambda: PassphraseSource(rt.env), env=rt.env, on_wait=rt.note, asks=may_ask)
    for profile in index.profiles:
        try:
            if profile.plugin:
                rt.plugins.require(profile.plugin)
        except PorticoError as error:
            found[profile.id] = Trouble("plugin off" if _is_off(profile.plugin, rt) else "plugin unusable", error)
            continue
        try:
            store.read(profile.id)
        except PorticoError as error:
            found[profile.id] = Trouble(_UNREADABLE, error)
    return found


def _is_off(plugin: str, rt: Runtime) -> bool:
    try:
        return not rt.plugins.find(plugin).enabled
    except PorticoError:
        return False


def _say(profile: Profile, trouble: Trouble | None, rt: Runtime, *, in_use: bool) -> None:
    health = health_now(profile, rt.clock)
    word = trouble.word if trouble is not None and health.exit_code != ExitCode.SIGN_IN_NEEDED else health.word
    rt.out.line(f"{profile.id}: {word}{' (in use)' if in_use else ''}")
    fields = {
        "access token": expiry(profile, rt),
        "refresh": _refresh_words(profile, health, rt),
        "last failure": _failure_words(profile, rt),
        "region": f"{profile.region} ({profile.api_base})" if profile.region else profile.api_base,
        "store": _STORES[profile.store],
        "problem": str(trouble.error) if trouble is not None else None,
        "to do": _to_do(profile, health, trouble) or "nothing",
    }
    for name, value in fields.items():
        if value is not None:
            rt.out.line(f"  {name:<13} {value.replace('{prog}', rt.program)}")


def _to_do(profile: Profile, health: Health, trouble: Trouble | None) -> str | None:
    """What helps first: a new sign-in if it has ended, since that also stores new tokens."""
    if trouble is not None and health.exit_code != ExitCode.SIGN_IN_NEEDED:
        return trouble.error.hint
    return advice(profile, health)


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


def _as_json(index: Snapshot, unusable: dict[str, Trouble], rt: Runtime) -> list[dict[str, object]]:
    values = all_as_json(index, rt, verbose=True)
    for profile, value in zip(index.profiles, values, strict=False):  # the damaged ones come after
        own = own_time(profile, rt.clock)
        health = health_now(profile, rt.clock)
        trouble = unusable.get(profile.id)
        what = _to_do(profile, health, trouble)
        value["access"] = health.access
        value["refresh"] = health.refresh
        value["remainingMs"] = None if profile.expires_at is None else profile.expires_at - own
        value["lastRefreshAt"] = profile.refreshed_at
        value["refreshExpiresAt"] = profile.refresh_expires_at
        value["lastFailure"] = None if profile.failure is None else _failure_json(profile)
        value["advice"] = what.replace("{prog}", rt.program) if what is not None else None
        if trouble is not None:
            kind = "storeError" if trouble.word == _UNREADABLE else "pluginError"
            value[kind] = trouble.error.as_json(rt.program)
            if health.exit_code != ExitCode.SIGN_IN_NEEDED:
                value["status"] = trouble.word
    return values


def _failure_json(profile: Profile) -> dict[str, object]:
    failure = profile.failure
    assert failure is not None  # noqa: S101 - asked only where there is one
    known = {"at": failure.at, "id": failure.id, "message": failure.message, "terminal": failure.terminal, "code": failure.code}
    return {**known, "attempts": failure.attempts, "retryAt": failure.retry_at}
