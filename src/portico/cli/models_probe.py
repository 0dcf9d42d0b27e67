"""`models status --probe`: one tiny real request for each credential, a few at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from portico.errors import PorticoError, SignInNeeded, UsageError
from portico.util import signals

if TYPE_CHECKING:
    import argparse

    from portico.auth.broker import TokenBroker
    from portico.cli.runtime import Runtime
    from portico.models.loader import CallableModel, ModelLoader
    from portico.models.probe import Probe
    from portico.net.client import HttpClient


def probed(args: argparse.Namespace, loader: ModelLoader, rt: Runtime) -> tuple[Probe, ...]:
    """What came of each.

    Raises:
        UsageError: `unknown-provider`; a limit that makes no sense.
        SignInNeeded: `not-signed-in`: there is no such profile.
    """
    if args.probe_timeout <= 0 or args.probe_concurrency < 1 or args.probe_max_tokens < 1:
        raise UsageError("usage", "--probe-timeout, --probe-concurrency and --probe-max-tokens are numbers above 0.")
    models = _models(args, loader)
    rt.out.note(f"Probing {len(models)} credential{'s' if len(models) != 1 else ''}...")
    return tuple(signals.run(_ask(models, args, rt)))


async def _ask(models: list[CallableModel], args: argparse.Namespace, rt: Runtime) -> list[Probe]:

    turns = asyncio.Semaphore(args.probe_concurrency)
    async with rt.http() as http:
        broker = rt.broker(http)
        return await asyncio.gather(*(_one(model, args, rt, turns, http, broker) for model in models))


async def _one(
    model: CallableModel, args: argparse.Namespace, rt: Runtime, turns: asyncio.Semaphore, http: HttpClient, broker: TokenBroker
) -> Probe:
    from portico.models.probe import probe

    async with turns:
        return await probe(
            model,
            http=http,
            broker=broker,
            clock=rt.clock,
            timeout_s=args.probe_timeout / 1000,
            max_tokens=args.probe_max_tokens,
        )


def _models(args: argparse.Namespace, loader: ModelLoader) -> list[CallableModel]:
    """Each credential of the providers that are set up, with the default model where it is that provider's, else its first."""
    providers = loader.catalog.providers
    if args.probe_provider is not None and args.probe_provider not in providers:
        raise UsageError(
            "unknown-provider", f"Unknown provider: {args.probe_provider}", hint=f"--probe-provider {'|'.join(providers)}"
        )
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
            raise SignInNeeded(
                "not-signed-in", f"There is no sign-in called {', '.join(sorted(missing))}.", hint="{prog} auth list"
            )
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
