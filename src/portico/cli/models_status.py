"""`models status`: show the default model, fallbacks, aliases and accounts (docs.openclaw.ai/cli/models).

`--probe` tests each credential with a small request, a few at a time. The exit codes of `--check` and the JSON are OpenClaw's,
without any part of a credential. Unlike in OpenClaw, an expired access token is never called ok.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import EXPIRING_MS, effective_now_ms, health_now
from portico.cli.auth_status import expiry_words
from portico.cli.dispatch import finish_pending_sign_ins
from portico.errors import PorticoError, UnknownName, UsageError
from portico.models.client import probe
from portico.models.credentials import API_KEY
from portico.models.reference import LIST, is_signed_in_to, set_up_command
from portico.store.errors import NotSignedIn
from portico.store.profiles import NOT_SIGNED_IN, sign_in
from portico.util import signals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from portico.app import App
    from portico.interfaces.basics import Clock
    from portico.models.catalog import Provider
    from portico.models.client import Probe
    from portico.models.loader import CallableModel, ModelLoader
    from portico.models.reference import ModelReference
    from portico.store.records import Profile

_WIDTH: Final = 14  # of the row names
_MISSING: Final = 1  # exit codes of `--check`
_EXPIRING: Final = 2
_STATUS_WORDS: Final = {
    "ok": "ok",
    "refresh due": "ok",
    "refresh failing": "failing",
    "expiring": "expiring",
    "sign in again": "expired",
    "sign-out unfinished": "expired",
}


@dataclass(frozen=True, slots=True)
class _Account:
    """A provider and its profiles. `effective` is the kind of the credential in use; `detail` names the credential."""

    provider: Provider
    profiles: tuple[Profile, ...]
    effective: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Overview:
    """Everything that the command shows. `missing` are the models in use that have no credential."""

    loader: ModelLoader
    accounts: tuple[_Account, ...]
    missing: tuple[ModelReference, ...]
    probes: tuple[Probe, ...]


def show_status(args: argparse.Namespace, app: App) -> int:
    """Print the models, aliases and accounts, and probe credentials with `--probe`.

    Returns:
        With `--check`: 1 if a model in use has no credential or an account must sign in again, 2 if an account expires within a
        day and cannot be refreshed, or its refreshes fail, else 0.

    Raises:
        UsageError: `--plain` with `--json` or `--probe`; `unknown-name` for the provider to probe.
        SignInNeeded: `not-signed-in` for the account to probe.
    """
    if args.plain and (app.out.is_json or args.probe):
        raise UsageError("--plain prints only the default model. Remove --json and --probe.")
    finish_pending_sign_ins(app)
    loader = app.models()
    if args.plain:
        app.out.line(str(loader.reference(None)))
        return 0
    probes = _probed(args, loader, app) if args.probe else ()
    overview = _Overview(loader, _accounts_of(loader, app), _unanswered(loader, app), probes)
    if app.out.is_json:
        app.out.json(_as_json(overview, app))
    else:
        _show(overview, app)
    return _check_code(overview, app) if args.check else 0


def _check_code(overview: _Overview, app: App) -> int:
    profiles: Sequence[Profile] = [profile for account in overview.accounts for profile in account.profiles]
    states = {_status_of(profile, app.clock) for profile in profiles}
    if overview.missing or "expired" in states:
        return _MISSING
    return _EXPIRING if states & {"expiring", "failing"} else 0


def _accounts_of(loader: ModelLoader, app: App) -> tuple[_Account, ...]:
    accounts = []
    for provider in loader.catalog.providers.values():
        profiles = tuple(one for one in app.token_store.profiles() if one.provider == provider.id)
        credential = next(iter(loader.credentials.for_provider(provider)), None)
        if profiles or (credential is not None and (provider.config is not None or credential.key is not None)):
            source = credential.source if credential is not None else "missing"
            accounts.append(_Account(provider, profiles, *_effective(source)))
    return tuple(accounts)


def _effective(source: str) -> tuple[str, str]:
    kind, _, detail = source.partition(" ")
    return {"environment": "env", "profile": "profiles", "no": "none"}.get(kind, kind), detail.removeprefix("variable ")


def _unanswered(loader: ModelLoader, app: App) -> tuple[ModelReference, ...]:
    """Return the models in use that have no credential."""
    agents = app.config.config.agents
    used = (_resolved(loader, text) for text in filter(None, [agents.primary, *agents.fallbacks]))
    return tuple(reference for reference in used if reference is not None and not _is_answered(reference, loader))


def _is_answered(reference: ModelReference, loader: ModelLoader) -> bool:
    provider = loader.catalog.providers.get(reference.provider)
    return provider is not None and loader.has_credential(provider)


def _resolved(loader: ModelLoader, text: str | None) -> ModelReference | None:
    """Return the model for a name in the config, or None."""
    try:
        return loader.catalog.expand(text) if text is not None else None
    except UsageError:
        return None


def _status_of(profile: Profile, clock: Clock) -> str:
    """Return the profile's state in OpenClaw's words, plus `failing`, which OpenClaw does not have."""
    return "static" if profile.type == API_KEY else _STATUS_WORDS[health_now(profile, clock).status]


def _show(overview: _Overview, app: App) -> None:
    _show_models(overview, app)
    app.out.line("\nAuth overview")
    for account in overview.accounts:
        app.out.line(f"- {account.provider.id} effective={account.effective}:{account.detail} | {_counted(account.profiles)}")
        for profile in account.profiles:
            app.out.line(f"  - {profile.id} {_status_of(profile, app.clock)}{_ends(profile, app)}")
    if not overview.accounts:
        app.out.line(f"- none. {NOT_SIGNED_IN} {sign_in()}".replace("{prog}", app.program))
    if overview.missing:
        app.out.line("\nMissing auth")
        for reference in overview.missing:
            app.out.line(f"- {reference.provider}: {_first_step(reference, overview.loader)}".replace("{prog}", app.program))
    _show_probes(overview.probes, app)


def _show_models(overview: _Overview, app: App) -> None:
    agents, catalog = app.config.config.agents, overview.loader.catalog
    primary, default = agents.primary, _resolved(overview.loader, agents.primary)
    allowed = sorted(map(str, catalog.allowed or ()))
    aliases = ", ".join(f"{alias} -> {reference}" for alias, reference in catalog.aliases.items())
    rows = {
        "Config": str(app.paths.config),
        "Default": (primary if default is None or str(default) == primary else f"{default} (from {primary})") or "-",
        f"Fallbacks ({len(agents.fallbacks)})": ", ".join(agents.fallbacks) or "-",
        f"Aliases ({len(catalog.aliases)})": aliases or "-",
        f"Allowed ({len(allowed)})": ", ".join(allowed) or "all",
        "Auth store": str(app.paths.index),
    }
    for name, value in rows.items():
        app.out.line(f"{name:<{_WIDTH}}: {value}")


def _ends(profile: Profile, app: App) -> str:
    if profile.type == API_KEY or profile.expires_at is None:
        return ""
    return f" ({expiry_words(profile.expires_at, effective_now_ms(profile, app.clock))})"


def _counted(profiles: Sequence[Profile]) -> str:
    kinds = Counter[str](profile.type for profile in profiles)
    return f"profiles={len(profiles)} (oauth={kinds['oauth']}, token={kinds['token']}, api_key={kinds[API_KEY]})"


def _first_step(reference: ModelReference, loader: ModelLoader) -> str:
    provider = loader.catalog.providers.get(reference.provider)
    if provider is None:
        off = loader.off_plugin(reference.provider)
        return f"{{prog}} plugins enable {off}" if off is not None else f"no plugin has this provider: {LIST}"
    prefix = "You are not signed in. " if is_signed_in_to(provider) else ""
    return f"{prefix}Run `{set_up_command(provider)}`."


def _show_probes(probes: Sequence[Probe], app: App) -> None:
    if probes:
        app.out.line()
        app.out.table(["Model", "Credential", "Status"], [_probe_cells(each) for each in probes])
    for each in probes:
        if each.error is not None:
            hint = each.error.hint_for(app.program)
            app.out.note(f"{each.model.reference} ({each.model.source}): {each.error}{f' - {hint}' if hint else ''}")


def _probe_cells(probe: Probe) -> list[str]:
    latency = f" ({probe.latency_ms} ms)" if probe.latency_ms is not None else ""
    return [str(probe.model.reference), probe.model.profile_id or probe.model.source, f"{probe.status}{latency}"]


def _as_json(overview: _Overview, app: App) -> dict[str, object]:
    """Return OpenClaw's fields, without the fields for which Portico has no value."""
    agents, catalog = app.config.config.agents, overview.loader.catalog
    default = _resolved(overview.loader, agents.primary)
    oauth = [_profile_json(profile, app) for account in overview.accounts for profile in account.profiles]
    with_oauth = {account.provider.id: sum(one.type != API_KEY for one in account.profiles) for account in overview.accounts}
    auth: dict[str, object] = {
        "storePath": str(app.paths.index),
        "providersWithOAuth": [f"{provider} ({count})" for provider, count in with_oauth.items() if count],
        "missingProvidersInUse": list(dict.fromkeys(reference.provider for reference in overview.missing)),
        "providers": [_account_json(account) for account in overview.accounts],
        "oauth": {"warnAfterMs": EXPIRING_MS, "profiles": oauth},
    }
    if overview.probes:
        auth["probes"] = [_probe_json(each) for each in overview.probes]
    return {
        "configPath": str(app.paths.config),
        "defaultModel": agents.primary,
        "resolvedDefault": str(default) if default is not None else None,
        "fallbacks": [*agents.fallbacks],
        "aliases": {alias: str(reference) for alias, reference in catalog.aliases.items()},
        "allowed": sorted(map(str, catalog.allowed or ())),
        "auth": auth,
    }


def _account_json(account: _Account) -> dict[str, object]:
    kinds = Counter[str](profile.type for profile in account.profiles)
    counts = {"count": len(account.profiles), "oauth": kinds["oauth"], "token": kinds["token"], "apiKey": kinds[API_KEY]}
    labels = [profile.id for profile in account.profiles]
    effective = {"kind": account.effective, "detail": account.detail}
    return {"provider": account.provider.id, "effective": effective, "profiles": {**counts, "labels": labels}}


def _profile_json(profile: Profile, app: App) -> dict[str, object]:
    return {
        "profileId": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "status": _status_of(profile, app.clock),
        "expiresAt": profile.expires_at,
        "remainingMs": None if profile.expires_at is None else profile.expires_at - effective_now_ms(profile, app.clock),
        "source": "store",
        "label": profile.id,
    }


def _probe_json(probe: Probe) -> dict[str, object]:
    model = probe.model
    fields = {"provider": model.reference.provider, "model": str(model.reference), "profileId": model.profile_id}
    error = None if probe.error is None else str(probe.error)
    return {**fields, "source": model.source, "status": probe.status, "latencyMs": probe.latency_ms, "error": error}


def _probed(args: argparse.Namespace, loader: ModelLoader, app: App) -> tuple[Probe, ...]:
    """Probe the chosen credentials.

    Raises:
        UsageError: `unknown-name`, or an invalid limit.
        SignInNeeded: `not-signed-in`: there is no such account.
    """
    if args.probe_timeout <= 0 or args.probe_concurrency < 1 or args.probe_max_tokens < 1:
        raise UsageError("--probe-timeout, --probe-concurrency and --probe-max-tokens take numbers above 0.")
    models = _models_to_probe(args, loader)
    app.out.note(f"Probing {len(models)} credential{'s' if len(models) != 1 else ''}...")
    return tuple(signals.run(_run_probes(models, args, app)))


def _models_to_probe(args: argparse.Namespace, loader: ModelLoader) -> list[CallableModel]:
    """Return each credential with the model to probe: the default model if it is the provider's, else the first model."""
    providers = loader.catalog.providers
    if args.probe_provider is not None and args.probe_provider not in providers:
        raise UnknownName(f"Unknown provider: {args.probe_provider}", hint=f"--probe-provider {'|'.join(providers)}")
    wanted = {name for text in args.probe_profile for name in text.split(",") if name}
    models: list[CallableModel] = []
    for provider in providers.values():
        if args.probe_provider not in {None, provider.id} or not loader.has_credential(provider):
            continue
        models += _models_of_provider(provider.id, loader)
    if wanted:
        models = [model for model in models if model.profile_id in wanted]
        missing = wanted - {model.profile_id for model in models}
        if missing:
            raise NotSignedIn(f"Not signed in: {', '.join(sorted(missing))}.", hint="{prog} auth list")
    return models


def _models_of_provider(provider_id: str, loader: ModelLoader) -> list[CallableModel]:
    provider = loader.catalog.providers[provider_id]
    try:
        default = loader.reference(None)
    except PorticoError:
        default = None
    model = default.model if default is not None and default.provider == provider_id else None
    model = model or next((one.id for one in provider.models), None)
    return [*loader.each_credential(f"{provider_id}/{model}")] if model is not None else []


async def _run_probes(models: list[CallableModel], args: argparse.Namespace, app: App) -> list[Probe]:
    limit = asyncio.Semaphore(args.probe_concurrency)
    async with app.http() as http:
        broker = app.broker(http)
        timeout_s, max_tokens = args.probe_timeout / 1000, args.probe_max_tokens

        async def run(model: CallableModel) -> Probe:
            async with limit:
                return await probe(model, http=http, broker=broker, clock=app.clock, timeout_s=timeout_s, max_tokens=max_tokens)

        return await asyncio.gather(*map(run, models))
