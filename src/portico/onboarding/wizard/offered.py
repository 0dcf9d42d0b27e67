"""The models that can be chosen here and now: those of the providers that are set up, and those that the config names."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from portico.errors import PorticoError, UsageError
from portico.models.credentials import API_KEY
from portico.models.discovery import listed_now
from portico.onboarding.picker import LISTED_WITHIN_S, Offer, offers_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.models.loader import CallableModel, ModelLoader
    from portico.models.reference import ModelReference
    from portico.onboarding.workbench import Workbench


def offered(bench: Workbench, loader: ModelLoader) -> list[Offer]:
    """Each once: provider by provider, then what only the config names. Providers with a key, or without one, are asked too."""
    providers = [each for each in loader.catalog.providers.values() if loader.has_credential(each)]
    listed = listed_now(bench, _askable(bench, loader), within_s=LISTED_WITHIN_S)
    found: dict[ModelReference, Offer] = {}
    for provider in providers:
        answer = listed.get(provider.id)
        live = None if answer is None or isinstance(answer, PorticoError) else answer
        found |= {offer.reference: offer for offer in offers_of(provider.id, provider.models, live)}
    agents = bench.config.config.agents
    for reference in expanded(loader, (*filter(None, [agents.primary]), *agents.fallbacks, *agents.models)):
        found.setdefault(reference, Offer(reference))
    return list(found.values())


def expanded(loader: ModelLoader, texts: Iterable[str]) -> dict[ModelReference, str]:
    """The references that `texts` stand for, each with the text; what stands for none is left out."""
    found: dict[ModelReference, str] = {}
    for text in texts:
        with suppress(UsageError):
            found.setdefault(loader.catalog.expand(text), text)
    return found


def _askable(bench: Workbench, loader: ModelLoader) -> dict[str, CallableModel]:
    """One model of each provider that can be asked without a refresh: a question must change nothing."""
    keyed = {None, *(profile.id for profile in bench.token_store.profiles() if profile.type == API_KEY)}
    return {id: model for id, model in loader.one_of_each().items() if model.profile_id in keyed}
