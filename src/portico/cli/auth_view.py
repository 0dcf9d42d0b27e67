"""How sign-ins are shown: never a secret, and no keyring is opened for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.auth.freshness import own_time
from portico.auth.health import health_now
from portico.errors import ConfigError, ExitCode
from portico.onboarding.pending import finish_pending
from portico.onboarding.times import in_words, iso
from portico.store.profiles import SIGNED_OUT, sign_in
from portico.store.records import OAuthProfile

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.store.records import Profile
    from portico.store.token_store import Snapshot

DAMAGED: Final = "damaged"  # its entry in the index, that is: nothing more is known


def show_list(rt: Runtime) -> int:
    """`auth list`: one row per profile; with `--verbose` also store, service and user."""
    _check_config(rt)
    finish_pending(rt)
    index = rt.token_store.snapshot()
    used = in_use(index, rt)
    if rt.out.is_json:
        rt.out.json({"profiles": all_as_json(index, rt, verbose=rt.out.verbose)})
    elif not index.profiles and not index.damaged:
        say_signed_out(rt)
    elif rt.out.verbose:
        for profile in index.profiles:
            _show_one(profile, used, rt)
        for id in index.damaged:
            rt.out.line(f"{id}\n  {'status':<10} {DAMAGED}")
    else:
        _show_table(index, used, rt)
    return ExitCode.OK


def in_use(index: Snapshot, rt: Runtime) -> frozenset[str] | None:
    """The sign-ins that are used where nobody says which; None where the config's base would have a say and cannot be used.

    Raises:
        ConfigError: the config decides that, and cannot be read.
    """
    from portico.models.loader import ModelLoader

    if rt.settings.fault is not None:
        return None
    return ModelLoader(rt.config.config, (), index.profiles, rt.config.env).in_use()


def _is_used(profile: Profile, used: frozenset[str] | None) -> str:
    return "?" if used is None else "yes" if profile.id in used else "no"


def _check_config(rt: Runtime) -> None:
    if rt.options.config is not None and not rt.paths.config.exists():
        raise ConfigError("config-missing", f"Config path not found: {rt.paths.config}")


def _show_table(index: Snapshot, used: frozenset[str] | None, rt: Runtime) -> None:
    rows = [
        [
            profile.id,
            profile.region,
            condition(profile, rt),
            expiry(profile, rt),
            _is_used(profile, used),
        ]
        for profile in index.profiles
    ]
    rows += [[id, "?", DAMAGED, "?", "no"] for id in index.damaged]
    rt.out.table(["Profile", "Region", "Status", "Access token", "In use"], rows)


def say_signed_out(rt: Runtime) -> None:
    """Say that nobody is signed in here, and how to sign in."""
    rt.out.note(f"{SIGNED_OUT} {sign_in()}".replace("{prog}", rt.program))


def now(rt: Runtime) -> int:
    """Wall ms."""
    return rt.clock.wall_ms()


def condition(profile: Profile, rt: Runtime) -> str:
    """One word, or few: as `auth.health` sums it up."""
    return health_now(profile, rt.clock).word


def expiry(profile: Profile, rt: Runtime) -> str:
    """When the access token ends, in words."""
    words = in_words(profile.expires_at, own_time(profile, rt.clock))
    return words if words.startswith(("expired", "as long")) else f"expires in {words}"


def _show_one(profile: Profile, used: frozenset[str] | None, rt: Runtime) -> None:
    place = rt.local_store().place(profile.id)
    account = profile if isinstance(profile, OAuthProfile) else None
    fields = {
        "status": f"{condition(profile, rt)}, access token {expiry(profile, rt)}",
        "in use": _is_used(profile, used),
        "region": profile.region,
        "API base": profile.api_base,
        "issuer": account.issuer if account is not None else "",
        "account": (account.subject if account is not None else None) or "the provider does not tell",
        "client id": account.client_id if account is not None else "",
        "store": f"{place.store} ({place.backend})" if place.backend else place.store,
        "service": place.service,
        "user": place.user,
        "signed in": iso(profile.created_at),
        "refreshed": iso(profile.refreshed_at) if profile.refreshed_at is not None else "never",
    }
    rt.out.line(profile.id)
    for name, value in fields.items():
        rt.out.line(f"  {name:<10} {value}")


def all_as_json(index: Snapshot, rt: Runtime, *, verbose: bool) -> list[dict[str, object]]:
    """Every profile, and then the damaged ones."""
    damaged: list[dict[str, object]] = [{"id": id, "status": DAMAGED} for id in index.damaged]
    used = in_use(index, rt)
    shown = [(profile, None if used is None else profile.id in used) for profile in index.profiles]
    return [{**_as_json(profile, rt, verbose=verbose), "inUse": is_used} for profile, is_used in shown] + damaged


def _as_json(profile: Profile, rt: Runtime, *, verbose: bool) -> dict[str, object]:
    value: dict[str, object] = {
        "id": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "region": profile.region,
        "status": condition(profile, rt),
        "expiresAt": profile.expires_at,
        "hasRefresh": profile.has_refresh,
        "store": profile.store,
    }
    if profile.failure is not None:
        value["failure"] = {"id": profile.failure.id, "message": profile.failure.message, "terminal": profile.failure.terminal}
    if verbose:
        place = rt.local_store().place(profile.id)
        account = profile if isinstance(profile, OAuthProfile) else None
        value |= {"apiBase": profile.api_base, "issuer": account.issuer if account is not None else ""}
        value |= {"clientId": account.client_id if account is not None else ""}
        value |= {"subject": account.subject if account is not None else None}
        value |= {"backend": place.backend, "service": place.service, "user": place.user}
        value |= {"createdAt": profile.created_at, "refreshedAt": profile.refreshed_at, "generation": profile.generation}
    return value
