"""`models status`: what is set up, who is signed in, and with `--probe` whether it answers (docs.openclaw.ai/cli/models).

The exit codes of `--check` are OpenClaw's. An access token that has ended is never called ok, which there it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.auth.health import health_of
from portico.errors import UsageError
from portico.models.credentials import API_KEY
from portico.onboarding.pending import finish_pending

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from portico.cli.runtime import Runtime
    from portico.models.catalog import Provider
    from portico.models.loader import ModelLoader
    from portico.models.probe import Probe
    from portico.models.reference import ModelReference
    from portico.store.profiles import Profile

_MISSING: Final = 1
_EXPIRING: Final = 2
_STATUS: Final = {
    "ok": "ok",
    "refresh due": "ok",
    "refresh failing": "failing",
    "expiring": "expiring",
    "sign in again": "expired",
    "sign-out unfinished": "expired",
}


@dataclass(frozen=True, slots=True)
class Account:
    """One provider as it is set up here. `effective` is the kind of the credential that counts, `detail` which one."""

    provider: Provider
    profiles: tuple[Profile, ...]
    effective: str
    detail: str


@dataclass(frozen=True, slots=True)
class Overview:
    """All there is to show. `missing` are the models in use that nothing answers for."""

    loader: ModelLoader
    accounts: tuple[Account, ...]
    missing: tuple[ModelReference, ...]
    probes: tuple[Probe, ...] = ()


def show_status(args: argparse.Namespace, rt: Runtime) -> int:
    """Say what is set up.

    Returns:
        With `--check`: 1 where a model in use has no credential or a sign-in has ended, 2 where one ends within a day and
        cannot be refreshed, or has ended and refreshing fails, else 0.

    Raises:
        UsageError: `--plain` with `--json` or `--probe`; `unknown-provider`, `not-signed-in` for what is to be probed.
    """
    if args.plain and (rt.out.is_json or args.probe):
        raise UsageError("usage", "--plain prints the default model alone: leave --json and --probe out.")
    finish_pending(rt)
    loader = rt.models()
    if args.plain:
        rt.out.line(str(loader.reference(None)))
        return 0
    from portico.cli import models_status_view as view
    from portico.cli.models_probe import probed

    probes = probed(args, loader, rt) if args.probe else ()
    overview = Overview(loader, _accounts(loader, rt), _missing(loader, rt), probes)
    if rt.out.is_json:
        rt.out.json(view.as_json(overview, rt))
    else:
        view.say(overview, rt)
    return _code(overview, rt) if args.check else 0


def status_of(profile: Profile, now_ms: int) -> str:
    """The profile's state in OpenClaw's words, and `failing`, which it does not have."""
    return "static" if profile.type == API_KEY else _STATUS[health_of(profile, now_ms).word]


def resolved(loader: ModelLoader, text: str | None) -> ModelReference | None:
    """The model that a name in the config stands for, None where there is no name, or it is none."""
    try:
        return loader.catalog.expand(text) if text is not None else None
    except UsageError:
        return None


def _accounts(loader: ModelLoader, rt: Runtime) -> tuple[Account, ...]:
    found = []
    for provider in loader.catalog.providers.values():
        profiles = tuple(one for one in rt.index.profiles() if one.provider == provider.id)
        credential = next(iter(loader.credentials.of(provider)), None)
        if profiles or (credential is not None and (provider.config is not None or credential.key is not None)):
            source = credential.source if credential is not None else "missing"
            found.append(Account(provider, profiles, *_effective(source)))
    return tuple(found)


def _effective(source: str) -> tuple[str, str]:
    kind, _, detail = source.partition(" ")
    return {"environment": "env", "profile": "profiles", "no": "none"}.get(kind, kind), detail.removeprefix("variable ")


def _missing(loader: ModelLoader, rt: Runtime) -> tuple[ModelReference, ...]:
    agents = rt.config.config.agents
    used = (resolved(loader, text) for text in filter(None, [agents.primary, *agents.fallbacks]))
    return tuple(reference for reference in used if reference is not None and not _is_answered(reference, loader))


def _is_answered(reference: ModelReference, loader: ModelLoader) -> bool:
    provider = loader.catalog.providers.get(reference.provider)
    return provider is not None and loader.has_credential(provider)


def _code(overview: Overview, rt: Runtime) -> int:
    profiles: Sequence[Profile] = [profile for account in overview.accounts for profile in account.profiles]
    states = {status_of(profile, rt.clock.wall_ms()) for profile in profiles}
    if overview.missing or "expired" in states:
        return _MISSING
    return _EXPIRING if states & {"expiring", "failing"} else 0
