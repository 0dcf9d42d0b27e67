"""What is set up: each provider with its sign-ins and the credential that counts, and the models that nothing answers for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.auth.health import health_now
from portico.errors import UsageError
from portico.models.credentials import API_KEY

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.interfaces.basics import Clock
    from portico.models.catalog import Provider
    from portico.models.loader import ModelLoader
    from portico.models.probe import Probe
    from portico.models.reference import ModelReference
    from portico.store.records import Profile

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


def overview_of(loader: ModelLoader, rt: Runtime, probes: tuple[Probe, ...] = ()) -> Overview:
    """Everything, as config, environment and profiles are now."""
    return Overview(loader, _accounts(loader, rt), _missing(loader, rt), probes)


def status_of(profile: Profile, clock: Clock) -> str:
    """The profile's state in OpenClaw's words, and `failing`, which it does not have."""
    return "static" if profile.type == API_KEY else _STATUS[health_now(profile, clock).word]


def resolved(loader: ModelLoader, text: str | None) -> ModelReference | None:
    """The model that a name in the config stands for, None where there is no name, or it is none."""
    try:
        return loader.catalog.expand(text) if text is not None else None
    except UsageError:
        return None


def _accounts(loader: ModelLoader, rt: Runtime) -> tuple[Account, ...]:
    found = []
    for provider in loader.catalog.providers.values():
        profiles = tuple(one for one in rt.token_store.profiles() if one.provider == provider.id)
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
