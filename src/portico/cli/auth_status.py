"""`auth list` and `auth status`: the accounts and their state. Neither shows a secret, and `auth list` opens no keyring.

An account is ok only if the data on this machine shows that a request should succeed: the account's plugin is on, and its tokens
can be read and have not expired (openclaw#66952). Neither command contacts a server. Only `--check` lets a keyring ask the user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.accounts.view import in_words, iso
from portico.auth.freshness import effective_now_ms, health_now, worst_exit_code
from portico.cli.dispatch import finish_pending_sign_ins
from portico.config.document import ConfigNotFound
from portico.errors import ExitCode, PorticoError
from portico.models.loader import ModelLoader
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import NOT_SIGNED_IN, sign_in, sign_in_again
from portico.store.records import OAuthProfile
from portico.store.token_store import local_token_store
from portico.util.files import shared_folder_warning

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.auth.freshness import Health
    from portico.store.records import Profile
    from portico.store.token_store import Snapshot

_DAMAGED: Final = "damaged"  # the account's entry in the profile index
_UNREADABLE: Final = "store unreadable"
STORE_WORDS: Final = {"keyring": "the OS keyring", "file": "the encrypted file"}


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Why an account cannot be used, even if its tokens are valid. `word` is the short form."""

    word: str
    error: PorticoError


def show_list(_args: argparse.Namespace, app: App) -> int:
    """`auth list`: print one row per account; with `--verbose` also the store, service and user."""
    if app.options.config is not None and not app.paths.config.exists():
        raise ConfigNotFound(f"Config path not found: {app.paths.config}")
    finish_pending_sign_ins(app)
    index = app.token_store.snapshot()
    used = _in_use(index, app)
    if app.out.is_json:
        app.out.json({"profiles": _list_as_json(index, app, verbose=app.out.verbose)})
    elif not index.profiles and not index.damaged:
        show_signed_out(app)
    elif app.out.verbose:
        for profile in index.profiles:
            _show_details(profile, used, app)
        for id in index.damaged:
            app.out.line(f"{id}\n  {'status':<10} {_DAMAGED}")
    else:
        _show_table(index, used, app)
    return ExitCode.OK


def _list_as_json(index: Snapshot, app: App, *, verbose: bool) -> list[dict[str, object]]:
    damaged: list[dict[str, object]] = [{"id": id, "status": _DAMAGED} for id in index.damaged]
    used = _in_use(index, app)
    shown = [(profile, None if used is None else profile.id in used) for profile in index.profiles]
    return [{**_profile_as_json(profile, app, verbose=verbose), "inUse": is_used} for profile, is_used in shown] + damaged


def _profile_as_json(profile: Profile, app: App, *, verbose: bool) -> dict[str, object]:
    value: dict[str, object] = {
        "id": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "region": profile.region,
        "status": health_now(profile, app.clock).status,
        "expiresAt": profile.expires_at,
        "hasRefresh": profile.has_refresh,
        "store": profile.store,
    }
    if profile.failure is not None:
        value["failure"] = {"id": profile.failure.id, "message": profile.failure.message, "terminal": profile.failure.terminal}
    if verbose:
        place = app.local_store().location(profile.id)
        account = profile if isinstance(profile, OAuthProfile) else None
        value |= {"apiBase": profile.api_base, "issuer": account.issuer if account is not None else ""}
        value |= {"clientId": account.client_id if account is not None else ""}
        value |= {"subject": account.subject if account is not None else None}
        value |= {"backend": place.backend, "service": place.service, "user": place.user}
        value |= {"createdAt": profile.created_at, "refreshedAt": profile.refreshed_at, "generation": profile.generation}
    return value


def _in_use(index: Snapshot, app: App) -> frozenset[str] | None:
    """Return the ids of the accounts that commands use by default; None if the base file cannot be used.

    Raises:
        ConfigError: the config cannot be read.
    """
    if app.settings.fault is not None:
        return None
    return ModelLoader(app.config.config, (), index.profiles, app.config.env).in_use()


def _is_used(profile: Profile, used: frozenset[str] | None) -> str:
    return "?" if used is None else "yes" if profile.id in used else "no"


def _show_table(index: Snapshot, used: frozenset[str] | None, app: App) -> None:
    rows = [
        [
            profile.id,
            profile.region,
            health_now(profile, app.clock).status,
            _expiry(profile, app),
            _is_used(profile, used),
        ]
        for profile in index.profiles
    ]
    rows += [[id, "?", _DAMAGED, "?", "no"] for id in index.damaged]
    app.out.table(["Profile", "Region", "Status", "Access token", "In use"], rows)


def _show_details(profile: Profile, used: frozenset[str] | None, app: App) -> None:
    place = app.local_store().location(profile.id)
    account = profile if isinstance(profile, OAuthProfile) else None
    fields = {
        "status": f"{health_now(profile, app.clock).status}, access token {_expiry(profile, app)}",
        "in use": _is_used(profile, used),
        "region": profile.region,
        "API base": profile.api_base,
        "issuer": account.issuer if account is not None else "",
        "account": (account.subject if account is not None else None) or "not named by the provider",
        "client id": account.client_id if account is not None else "",
        "store": f"{place.store} ({place.backend})" if place.backend else place.store,
        "service": place.service,
        "user": place.user,
        "signed in": iso(profile.created_at),
        "refreshed": iso(profile.refreshed_at) if profile.refreshed_at is not None else "never",
    }
    app.out.line(profile.id)
    for name, value in fields.items():
        app.out.line(f"  {name:<10} {value}")


def show_status(args: argparse.Namespace, app: App) -> int:
    """`auth status`: print the state of each account, and what to do.

    Returns:
        3 if there is no account, or the user must sign in to an account again; 7 if tokens cannot be read; 9 if a required plugin
        cannot be used. With `--check`, also 12 if an account expires within 24 hours and cannot be refreshed; then the keyring
        may ask the user.
    """
    index = app.token_store.snapshot()
    unusable = _unusable(index, app, may_ask=args.check)
    code = _code(index, unusable, app, check=args.check)
    warning = shared_folder_warning(app.paths.state)
    if warning is not None:
        app.out.warn(warning)
    if app.out.is_json:
        warnings = [] if warning is None else [warning]
        profiles = _status_as_json(index, unusable, app)
        app.out.json({"signedIn": bool(index.profiles), "exitCode": code, "profiles": profiles, "warnings": warnings})
    elif not index.profiles and not index.damaged:
        show_signed_out(app)
    else:
        used = (_in_use(index, app) if len(index.profiles) > 1 else None) or frozenset()
        for profile in index.profiles:
            _show_account(profile, unusable.get(profile.id), app, in_use=profile.id in used)
        for id in index.damaged:
            app.out.line(f"{id}: {_DAMAGED}\n  to do         delete its tokens: {app.program} auth logout {id}")
    return code


def _code(index: Snapshot, unusable: dict[str, _Trouble], app: App, *, check: bool) -> int:
    code = ExitCode.SIGN_IN_NEEDED if index.damaged else worst_exit_code(index.profiles, app.clock)
    if code == ExitCode.SIGN_IN_NEEDED:
        return code
    codes = {trouble.error.exit_code for trouble in unusable.values()}
    if codes:
        return ExitCode.STORE_FAILED if ExitCode.STORE_FAILED in codes else min(codes)
    return code if check else ExitCode.OK


def _unusable(index: Snapshot, app: App, *, may_ask: bool) -> dict[str, _Trouble]:
    """Return the accounts whose plugin or tokens cannot be used, by id.

    With `may_ask`, a keyring may ask the user. Portico never asks for a passphrase here.
    """
    troubles: dict[str, _Trouble] = {}
    store = local_token_store(
        app.paths, passphrase=lambda: PassphraseSource(app.env), env=app.env, on_wait=app.out.note, asks=may_ask
    )
    for profile in index.profiles:
        try:
            if profile.plugin:
                app.plugins.require(profile.plugin)
        except PorticoError as error:
            troubles[profile.id] = _Trouble("plugin off" if _is_off(profile.plugin, app) else "plugin unusable", error)
            continue
        try:
            store.read(profile.id)
        except PorticoError as error:
            troubles[profile.id] = _Trouble(_UNREADABLE, error)
    return troubles


def _is_off(plugin: str, app: App) -> bool:
    try:
        return not app.plugins.find(plugin).enabled
    except PorticoError:
        return False


def _status_as_json(index: Snapshot, unusable: dict[str, _Trouble], app: App) -> list[dict[str, object]]:
    values = _list_as_json(index, app, verbose=True)
    for profile, value in zip(index.profiles, values, strict=False):  # `values` ends with the damaged profiles
        now_ms = effective_now_ms(profile, app.clock)
        health = health_now(profile, app.clock)
        trouble = unusable.get(profile.id)
        next_step = _to_do(profile, health, trouble)
        value["access"] = health.access
        value["refresh"] = health.refresh
        value["remainingMs"] = None if profile.expires_at is None else profile.expires_at - now_ms
        value["lastRefreshAt"] = profile.refreshed_at
        value["refreshExpiresAt"] = profile.refresh_expires_at
        value["lastFailure"] = None if profile.failure is None else _failure_json(profile)
        value["advice"] = next_step.replace("{prog}", app.program) if next_step is not None else None
        if trouble is not None:
            kind = "storeError" if trouble.word == _UNREADABLE else "pluginError"
            value[kind] = trouble.error.as_json(app.program)
            if health.exit_code != ExitCode.SIGN_IN_NEEDED:
                value["status"] = trouble.word
    return values


def _failure_json(profile: Profile) -> dict[str, object]:
    failure = profile.failure
    assert failure is not None  # noqa: S101 - the caller checks it
    known = {"at": failure.at, "id": failure.id, "message": failure.message, "terminal": failure.terminal, "code": failure.code}
    return {**known, "attempts": failure.attempts, "retryAt": failure.retry_at}


def _show_account(profile: Profile, trouble: _Trouble | None, app: App, *, in_use: bool) -> None:
    health = health_now(profile, app.clock)
    word = trouble.word if trouble is not None and health.exit_code != ExitCode.SIGN_IN_NEEDED else health.status
    app.out.line(f"{profile.id}: {word}{' (in use)' if in_use else ''}")
    fields = {
        "access token": _expiry(profile, app),
        "refresh": _refresh_words(profile, health, app),
        "last failure": _failure_words(profile, app),
        "region": f"{profile.region} ({profile.api_base})" if profile.region else profile.api_base,
        "store": STORE_WORDS[profile.store],
        "problem": str(trouble.error) if trouble is not None else None,
        "to do": _to_do(profile, health, trouble) or "nothing",
    }
    for name, value in fields.items():
        if value is not None:
            app.out.line(f"  {name:<13} {value.replace('{prog}', app.program)}")


def _to_do(profile: Profile, health: Health, trouble: _Trouble | None) -> str | None:
    """Return the first thing to do. For an account that has ended, this is a new sign-in, which also stores new tokens."""
    if trouble is not None and health.exit_code != ExitCode.SIGN_IN_NEEDED:
        return trouble.error.hint
    return _advice(profile, health)


def _advice(profile: Profile, health: Health) -> str | None:
    """Return what the user has to do, or None."""
    if health.status == "sign-out unfinished":
        return f"finish signing out: {{prog}} auth logout {profile.id}"
    if health.status in {"sign in again", "expiring"}:
        return f"sign in again: {sign_in_again(profile)}"
    if health.status == "refresh failing":
        return "nothing yet: Portico tries again; if it keeps failing, check the network and the provider's status page"
    if health.status == "refresh due":
        return "nothing: it is refreshed at its next use (to keep it fresh: {prog} auth keep-fresh)"
    return None


def _refresh_words(profile: Profile, health: Health, app: App) -> str:
    if health.refresh == "none":
        return "not possible: there is no refresh token"
    last = "never" if profile.refreshed_at is None else _when(profile.refreshed_at, app)
    end = profile.refresh_expires_at
    until = "" if end is None else f"; refresh token {'expired' if health.refresh == 'ended' else 'expires'}: {_when(end, app)}"
    return f"{health.refresh}; last refresh: {last}{until}"


def _failure_words(profile: Profile, app: App) -> str | None:
    if profile.failure is None:
        return None
    code = f" [{profile.failure.code}]" if profile.failure.code else ""
    return f"{_when(profile.failure.at, app)}: {profile.failure.message}{code}"


def _when(at_ms: int, app: App) -> str:
    ago = in_words(at_ms, app.clock.wall_ms()).removeprefix("expired ")
    return f"{iso(at_ms)} ({ago})"


def _expiry(profile: Profile, app: App) -> str:
    return expiry_words(profile.expires_at, effective_now_ms(profile, app.clock))


def expiry_words(at_ms: int | None, now_ms: int) -> str:
    """Return when a token expires: `expires in 2h 5m`, `expired 3m ago`, or `as long as the provider says`."""
    words = in_words(at_ms, now_ms)
    return words if at_ms is None or at_ms <= now_ms else f"expires in {words}"


def show_signed_out(app: App) -> None:
    """Print that you are not signed in, and the command that signs in."""
    app.out.note(f"{NOT_SIGNED_IN} {sign_in()}".replace("{prog}", app.program))
