"""`models status`: what is set up, who is signed in, and with `--probe` whether it answers (docs.openclaw.ai/cli/models).

A probe is one tiny real request for each credential, a few at a time. The exit codes of `--check` are OpenClaw's. An access token
that has ended is never called ok, as OpenClaw does. JSON is OpenClaw's too, and no part of a credential is in it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Final

from portico.accounts.sign_in import finish_pending
from portico.accounts.view import in_words
from portico.auth.freshness import effective_now_ms
from portico.auth.health import EXPIRING_MS
from portico.cli.models_list import overview_of, resolved, status_of
from portico.errors import PorticoError, UsageError
from portico.models.credentials import API_KEY
from portico.models.reference import LIST, is_signed_in_to, set_up_command
from portico.store.errors import NotSignedIn
from portico.store.profiles import SIGNED_OUT, sign_in
from portico.util import signals
from portico.util.text import UnknownName

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from portico.app import App
    from portico.auth.broker import TokenBroker
    from portico.cli.models_list import Account, Overview
    from portico.models.loader import CallableModel, ModelLoader
    from portico.models.probe import Probe
    from portico.models.reference import ModelReference
    from portico.net.client import HttpClient
    from portico.store.records import Profile

_MISSING: Final = 1
_EXPIRING: Final = 2


def show_status(args: argparse.Namespace, app: App) -> int:
    """Say what is set up.

    Returns:
        With `--check`: 1 where a model in use has no credential or a sign-in has ended, 2 where one ends within a day and
        cannot be refreshed, or has ended and refreshing fails, else 0.

    Raises:
        UsageError: `--plain` with `--json` or `--probe`; `unknown-name`, `not-signed-in` for what is to be probed.
    """
    if args.plain and (app.out.is_json or args.probe):
        raise UsageError("--plain prints the default model alone: leave --json and --probe out.")
    finish_pending(app)
    loader = app.models()
    if args.plain:
        app.out.line(str(loader.reference(None)))
        return 0

    probes = probed(args, loader, app) if args.probe else ()
    overview = overview_of(loader, app, probes)
    if app.out.is_json:
        app.out.json(as_json(overview, app))
    else:
        say(overview, app)
    return _code(overview, app) if args.check else 0


def _code(overview: Overview, app: App) -> int:
    profiles: Sequence[Profile] = [profile for account in overview.accounts for profile in account.profiles]
    states = {status_of(profile, app.clock) for profile in profiles}
    if overview.missing or "expired" in states:
        return _MISSING
    return _EXPIRING if states & {"expiring", "failing"} else 0


_WIDTH: Final = 14


def say(overview: Overview, app: App) -> None:
    """Print it for a person."""
    _say_models(overview, app)
    app.out.line("\nAuth overview")
    for account in overview.accounts:
        app.out.line(f"- {account.provider.id} effective={account.effective}:{account.detail} | {_counted(account.profiles)}")
        for profile in account.profiles:
            app.out.line(f"  - {profile.id} {status_of(profile, app.clock)}{_ends(profile, app)}")
    if not overview.accounts:
        app.out.line(f"- none. {SIGNED_OUT} {sign_in()}".replace("{prog}", app.program))
    if overview.missing:
        app.out.line("\nMissing auth")
        for reference in overview.missing:
            app.out.line(f"- {reference.provider}: {_first_step(reference, overview.loader)}".replace("{prog}", app.program))
    _say_probes(overview.probes, app)


def _first_step(reference: ModelReference, loader: ModelLoader) -> str:
    provider = loader.catalog.providers.get(reference.provider)
    if provider is None:
        off = loader.off_plugin(reference.provider)
        return f"{{prog}} plugins enable {off}" if off is not None else f"no plugin brings this provider: {LIST}"
    said = f"{SIGNED_OUT[:-1]} of it. " if is_signed_in_to(provider) else ""
    return f"{said}Run `{set_up_command(provider)}`."


def _say_models(overview: Overview, app: App) -> None:
    agents, catalog = app.config.config.agents, overview.loader.catalog
    primary, meant = agents.primary, resolved(overview.loader, agents.primary)
    allowed = sorted(map(str, catalog.allowed or ()))
    aliases = ", ".join(f"{alias} -> {reference}" for alias, reference in catalog.aliases.items())
    rows = {
        "Config": str(app.paths.config),
        "Default": (primary if meant is None or str(meant) == primary else f"{meant} (from {primary})") or "-",
        f"Fallbacks ({len(agents.fallbacks)})": ", ".join(agents.fallbacks) or "-",
        f"Aliases ({len(catalog.aliases)})": aliases or "-",
        f"Allowed ({len(allowed)})": ", ".join(allowed) or "all",
        "Auth store": str(app.paths.index),
    }
    for name, value in rows.items():
        app.out.line(f"{name:<{_WIDTH}}: {value}")


def _ends(profile: Profile, app: App) -> str:
    words = in_words(profile.expires_at, effective_now_ms(profile, app.clock))
    if profile.type == API_KEY or profile.expires_at is None:
        return ""
    return f" ({words if words.startswith('expired') else f'expires in {words}'})"


def _counted(profiles: Sequence[Profile]) -> str:
    kinds = Counter[str](profile.type for profile in profiles)
    return f"profiles={len(profiles)} (oauth={kinds['oauth']}, token={kinds['token']}, api_key={kinds[API_KEY]})"


def _say_probes(probes: Sequence[Probe], app: App) -> None:
    if probes:
        app.out.line()
        app.out.table(["Model", "Credential", "Status"], [_probe_cells(probe) for probe in probes])
    for probe in probes:
        if probe.error is not None:
            hint = probe.error.hint_for(app.program)
            app.out.note(f"{probe.model.reference} ({probe.model.source}): {probe.error}{f' - {hint}' if hint else ''}")


def _probe_cells(probe: Probe) -> list[str]:
    latency = f" ({probe.latency_ms} ms)" if probe.latency_ms is not None else ""
    return [str(probe.model.reference), probe.model.profile_id or probe.model.source, f"{probe.status}{latency}"]


def as_json(overview: Overview, app: App) -> dict[str, object]:
    """OpenClaw's fields, as far as there is something to say in them."""
    agents, catalog = app.config.config.agents, overview.loader.catalog
    meant = resolved(overview.loader, agents.primary)
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
        auth["probes"] = [_probe_json(probe) for probe in overview.probes]
    return {
        "configPath": str(app.paths.config),
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


def _profile_json(profile: Profile, app: App) -> dict[str, object]:
    return {
        "profileId": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "status": status_of(profile, app.clock),
        "expiresAt": profile.expires_at,
        "remainingMs": None if profile.expires_at is None else profile.expires_at - effective_now_ms(profile, app.clock),
        "source": "store",
        "label": profile.id,
    }


def _probe_json(probe: Probe) -> dict[str, object]:
    model = probe.model
    told = {"provider": model.reference.provider, "model": str(model.reference), "profileId": model.profile_id}
    error = None if probe.error is None else str(probe.error)
    return {**told, "source": model.source, "status": probe.status, "latencyMs": probe.latency_ms, "error": error}


def probed(args: argparse.Namespace, loader: ModelLoader, app: App) -> tuple[Probe, ...]:
    """What came of each.

    Raises:
        UsageError: `unknown-name`; a limit that makes no sense.
        SignInNeeded: `not-signed-in`: there is no such profile.
    """
    if args.probe_timeout <= 0 or args.probe_concurrency < 1 or args.probe_max_tokens < 1:
        raise UsageError("--probe-timeout, --probe-concurrency and --probe-max-tokens are numbers above 0.")
    models = _models(args, loader)
    app.out.note(f"Probing {len(models)} credential{'s' if len(models) != 1 else ''}...")
    return tuple(signals.run(_ask(models, args, app)))


async def _ask(models: list[CallableModel], args: argparse.Namespace, app: App) -> list[Probe]:

    turns = asyncio.Semaphore(args.probe_concurrency)
    async with app.http() as http:
        broker = app.broker(http)
        return await asyncio.gather(*(_one(model, args, app, turns, http, broker) for model in models))


async def _one(
    model: CallableModel,
    args: argparse.Namespace,
    app: App,
    turns: asyncio.Semaphore,
    http: HttpClient,
    broker: TokenBroker,
) -> Probe:
    from portico.models.probe import probe

    async with turns:
        return await probe(
            model,
            http=http,
            broker=broker,
            clock=app.clock,
            timeout_s=args.probe_timeout / 1000,
            max_tokens=args.probe_max_tokens,
        )


def _models(args: argparse.Namespace, loader: ModelLoader) -> list[CallableModel]:
    """Each credential of the providers that are set up, with the default model where it is that provider's, else its first."""
    providers = loader.catalog.providers
    if args.probe_provider is not None and args.probe_provider not in providers:
        raise UnknownName(f"Unknown provider: {args.probe_provider}", hint=f"--probe-provider {'|'.join(providers)}")
    wanted = {name for given in args.probe_profile for name in given.split(",") if name}
    found: list[CallableModel] = []
    for provider in providers.values():
        if args.probe_provider not in {None, provider.id} or not loader.has_credential(provider):
            continue
        found += _of(provider.id, loader)
    if wanted:
        found = [model for model in found if model.profile_id in wanted]
        missing = wanted - {model.profile_id for model in found}
        if missing:
            raise NotSignedIn(f"There is no sign-in called {', '.join(sorted(missing))}.", hint="{prog} auth list")
    return found


def _of(provider_id: str, loader: ModelLoader) -> list[CallableModel]:
    provider = loader.catalog.providers[provider_id]
    try:
        default = loader.reference(None)
    except PorticoError:
        default = None
    model = default.model if default is not None and default.provider == provider_id else None
    model = model or next((one.id for one in provider.models), None)
    return [*loader.each_credential(f"{provider_id}/{model}")] if model is not None else []
