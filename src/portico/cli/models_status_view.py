"""How `models status` is shown: rows for a person, OpenClaw's JSON for a program. No part of a credential is in either."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import own_time
from portico.auth.health import EXPIRING_MS
from portico.cli.models_overview import resolved, status_of
from portico.models.credentials import API_KEY
from portico.models.reference import LIST, first_step, is_signed_in_to
from portico.onboarding.times import in_words
from portico.store.profiles import SIGNED_OUT, sign_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.cli.models_overview import Account, Overview
    from portico.cli.runtime import Runtime
    from portico.models.loader import ModelLoader
    from portico.models.probe import Probe
    from portico.models.reference import ModelReference
    from portico.store.records import Profile

_WIDTH: Final = 14


def say(overview: Overview, rt: Runtime) -> None:
    """Print it for a person."""
    _say_models(overview, rt)
    rt.out.line("\nAuth overview")
    for account in overview.accounts:
        rt.out.line(f"- {account.provider.id} effective={account.effective}:{account.detail} | {_counted(account.profiles)}")
        for profile in account.profiles:
            rt.out.line(f"  - {profile.id} {status_of(profile, rt.clock)}{_ends(profile, rt)}")
    if not overview.accounts:
        rt.out.line(f"- none. {SIGNED_OUT} {sign_in()}".replace("{prog}", rt.program))
    if overview.missing:
        rt.out.line("\nMissing auth")
        for reference in overview.missing:
            rt.out.line(f"- {reference.provider}: {_first_step(reference, overview.loader)}".replace("{prog}", rt.program))
    _say_probes(overview.probes, rt)


def _first_step(reference: ModelReference, loader: ModelLoader) -> str:
    provider = loader.catalog.providers.get(reference.provider)
    if provider is None:
        off = loader.off_plugin(reference.provider)
        return f"{{prog}} plugins enable {off}" if off is not None else f"no plugin brings this provider: {LIST}"
    said = f"{SIGNED_OUT[:-1]} of it. " if is_signed_in_to(provider) else ""
    return f"{said}Run `{first_step(provider)}`."


def _say_models(overview: Overview, rt: Runtime) -> None:
    agents, catalog = rt.config.config.agents, overview.loader.catalog
    primary, meant = agents.primary, resolved(overview.loader, agents.primary)
    allowed = sorted(map(str, catalog.allowed or ()))
    aliases = ", ".join(f"{alias} -> {reference}" for alias, reference in catalog.aliases.items())
    rows = {
        "Config": str(rt.paths.config),
        "Default": (primary if meant is None or str(meant) == primary else f"{meant} (from {primary})") or "-",
        f"Fallbacks ({len(agents.fallbacks)})": ", ".join(agents.fallbacks) or "-",
        f"Aliases ({len(catalog.aliases)})": aliases or "-",
        f"Allowed ({len(allowed)})": ", ".join(allowed) or "all",
        "Auth store": str(rt.paths.index),
    }
    for name, value in rows.items():
        rt.out.line(f"{name:<{_WIDTH}}: {value}")


def _ends(profile: Profile, rt: Runtime) -> str:
    words = in_words(profile.expires_at, own_time(profile, rt.clock))
    if profile.type == API_KEY or profile.expires_at is None:
        return ""
    return f" ({words if words.startswith('expired') else f'expires in {words}'})"


def _counted(profiles: Sequence[Profile]) -> str:
    kinds = Counter[str](profile.type for profile in profiles)
    return f"profiles={len(profiles)} (oauth={kinds['oauth']}, token={kinds['token']}, api_key={kinds[API_KEY]})"


def _say_probes(probes: Sequence[Probe], rt: Runtime) -> None:
    if probes:
        rt.out.line()
        rt.out.table(["Model", "Credential", "Status"], [_probe_cells(probe) for probe in probes])
    for probe in probes:
        if probe.error is not None:
            hint = probe.error.hint_for(rt.program)
            rt.out.note(f"{probe.model.reference} ({probe.model.source}): {probe.error}{f' - {hint}' if hint else ''}")


def _probe_cells(probe: Probe) -> list[str]:
    latency = f" ({probe.latency_ms} ms)" if probe.latency_ms is not None else ""
    return [str(probe.model.reference), probe.model.profile_id or probe.model.source, f"{probe.status}{latency}"]


def as_json(overview: Overview, rt: Runtime) -> dict[str, object]:
    """OpenClaw's fields, as far as there is something to say in them."""
    agents, catalog = rt.config.config.agents, overview.loader.catalog
    meant = resolved(overview.loader, agents.primary)
    oauth = [_profile_json(profile, rt) for account in overview.accounts for profile in account.profiles]
    with_oauth = {account.provider.id: sum(one.type != API_KEY for one in account.profiles) for account in overview.accounts}
    auth: dict[str, object] = {
        "storePath": str(rt.paths.index),
        "providersWithOAuth": [f"{provider} ({count})" for provider, count in with_oauth.items() if count],
        "missingProvidersInUse": list(dict.fromkeys(reference.provider for reference in overview.missing)),
        "providers": [_account_json(account) for account in overview.accounts],
        "oauth": {"warnAfterMs": EXPIRING_MS, "profiles": oauth},
    }
    if overview.probes:
        auth["probes"] = [_probe_json(probe) for probe in overview.probes]
    return {
        "configPath": str(rt.paths.config),
        "defaultModel": agents.primary,
        "resolvedDefault": str(meant) if meant is not None else None,
        "fallbacks": [*agents.fallbacks],
        "aliases": {alias: str(reference) for alias, reference in catalog.aliases.items()},
        "allowed": sorted(map(str, catalog.allowed or ())),
        "auth": auth,
    }


def _account_json(account: Account) -> dict[str, object]:
    kinds = Counter[str](profile.type for profile in account.profiles)
    counts = {"count": len(account.profiles), "oauth": kinds["oauth"], "token": kinds["token"], "apiKey": kinds[API_KEY]}
    labels = [profile.id for profile in account.profiles]
    effective = {"kind": account.effective, "detail": account.detail}
    return {"provider": account.provider.id, "effective": effective, "profiles": {**counts, "labels": labels}}


def _profile_json(profile: Profile, rt: Runtime) -> dict[str, object]:
    return {
        "profileId": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "status": status_of(profile, rt.clock),
        "expiresAt": profile.expires_at,
        "remainingMs": None if profile.expires_at is None else profile.expires_at - own_time(profile, rt.clock),
        "source": "store",
        "label": profile.id,
    }


def _probe_json(probe: Probe) -> dict[str, object]:
    model = probe.model
    told = {"provider": model.reference.provider, "model": str(model.reference), "profileId": model.profile_id}
    error = None if probe.error is None else str(probe.error)
    return {**told, "source": model.source, "status": probe.status, "latencyMs": probe.latency_ms, "error": error}
