"""How sign-ins are shown: never a secret, and no keyring is opened for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode
from portico.onboarding.pending import finish_pending
from portico.onboarding.times import in_words, iso

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.store.profiles import IndexDraft, Profile

_DAMAGED: Final = "damaged"  # its entry in the index, that is: nothing more is known


def show_list(rt: Runtime) -> int:
    """`auth list`: one row per profile; with `--verbose` also store, service and user."""
    finish_pending(rt)
    index = rt.index.view()
    if rt.out.is_json:
        rt.out.json({"profiles": _all_as_json(index, rt, verbose=rt.out.verbose)})
    elif not index.profiles and not index.damaged:
        _say_nobody(rt)
    elif rt.out.verbose:
        for profile in index.profiles:
            _show_one(profile, rt)
        for id in index.damaged:
            rt.out.line(f"{id}\n  {'status':<10} {_DAMAGED}")
    else:
        rows = [[profile.id, profile.region, condition(profile, now(rt)), _expiry(profile, rt)] for profile in index.profiles]
        rows += [[id, "?", _DAMAGED, "?"] for id in index.damaged]
        rt.out.table(["Profile", "Region", "Status", "Access token"], rows)
    return ExitCode.OK


def show_status(rt: Runtime) -> int:
    """`auth status`: the same profiles, judged; exit code 3 without any, or where one needs a new sign-in."""
    index = rt.index.view()
    profiles = index.profiles
    if rt.out.is_json:
        rt.out.json({"signedIn": bool(profiles), "profiles": _all_as_json(index, rt, verbose=True)})
    else:
        _say_status(index, rt)
    healthy = profiles and not index.damaged and not any(needs_sign_in(profile, now(rt)) for profile in profiles)
    return ExitCode.OK if healthy else ExitCode.SIGN_IN_NEEDED


def _say_status(index: IndexDraft, rt: Runtime) -> None:
    if not index.profiles and not index.damaged:
        _say_nobody(rt)
    for profile in index.profiles:
        rt.out.line(f"{profile.id}: {condition(profile, now(rt))}, access token {_expiry(profile, rt)}")
        if profile.failure is not None:
            rt.out.line(f"  last refresh failed: {profile.failure.message}")
        if needs_sign_in(profile, now(rt)):
            rt.out.line(f"  sign in again: {rt.program} onboard --auth-choice minimax-portal --replace")
    for id in index.damaged:
        rt.out.line(f"{id}: {_DAMAGED}\n  delete its tokens: {rt.program} auth logout {id}")


def _say_nobody(rt: Runtime) -> None:
    rt.out.note(f"Nobody is signed in. Sign in: {rt.program} onboard --auth-choice minimax-portal")


def now(rt: Runtime) -> int:
    """Wall ms."""
    return rt.clock.wall_ms()


def needs_sign_in(profile: Profile, now_ms: int) -> bool:
    """Whether only a person can mend this profile."""
    if profile.failure is not None and profile.failure.terminal:
        return True
    return not profile.has_refresh and profile.expires_at is not None and profile.expires_at <= now_ms


def condition(profile: Profile, now_ms: int) -> str:
    """One word, or few: `ok`, `refresh due`, `refresh failing`, `sign in again`."""
    if needs_sign_in(profile, now_ms):
        return "sign in again"
    if profile.failure is not None:
        return "refresh failing"
    if profile.expires_at is not None and profile.expires_at <= now_ms:
        return "refresh due"
    return "ok"


def _expiry(profile: Profile, rt: Runtime) -> str:
    words = in_words(profile.expires_at, now(rt))
    return words if words.startswith(("expired", "as long")) else f"expires in {words}"


def _show_one(profile: Profile, rt: Runtime) -> None:
    place = rt.vault().place(profile.id)
    fields = {
        "status": f"{condition(profile, now(rt))}, access token {_expiry(profile, rt)}",
        "region": profile.region,
        "API base": profile.api_base,
        "issuer": profile.issuer,
        "client id": profile.client_id,
        "store": f"{place.store} ({place.backend})" if place.backend else place.store,
        "service": place.service,
        "user": place.user,
        "signed in": iso(profile.created_at),
        "refreshed": iso(profile.refreshed_at) if profile.refreshed_at is not None else "never",
    }
    rt.out.line(profile.id)
    for name, value in fields.items():
        rt.out.line(f"  {name:<10} {value}")


def _all_as_json(index: IndexDraft, rt: Runtime, *, verbose: bool) -> list[dict[str, object]]:
    damaged: list[dict[str, object]] = [{"id": id, "status": _DAMAGED} for id in index.damaged]
    return [_as_json(profile, rt, verbose=verbose) for profile in index.profiles] + damaged


def _as_json(profile: Profile, rt: Runtime, *, verbose: bool) -> dict[str, object]:
    value: dict[str, object] = {
        "id": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "region": profile.region,
        "status": condition(profile, now(rt)),
        "expiresAt": profile.expires_at,
        "hasRefresh": profile.has_refresh,
        "store": profile.store,
    }
    if profile.failure is not None:
        value["failure"] = {"id": profile.failure.id, "message": profile.failure.message, "terminal": profile.failure.terminal}
    if verbose:
        place = rt.vault().place(profile.id)
        value |= {"apiBase": profile.api_base, "issuer": profile.issuer, "clientId": profile.client_id}
        value |= {"backend": place.backend, "service": place.service, "user": place.user}
        value |= {"createdAt": profile.created_at, "refreshedAt": profile.refreshed_at, "generation": profile.generation}
    return value
