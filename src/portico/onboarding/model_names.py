"""What a person calls a model, and the reference that is meant: never a spelling that no provider knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import UsageError
from portico.models.reference import ModelReference, did_you_mean, parse_reference

if TYPE_CHECKING:
    from portico.interfaces.provider_spec import ProviderSpec
    from portico.models.loader import ModelLoader


def known_model(text: str, loader: ModelLoader) -> ModelReference:
    """The model that `text` names, an alias or a reference, which has to exist.

    Raises:
        UsageError: `unknown-model`, with the spelling that was meant; `invalid-model-reference`.
    """
    from portico.models.reference import no_such_model, wrong_case

    catalog = loader.catalog
    reference = catalog.expand(text)
    provider = catalog.providers.get(reference.provider)
    listed = provider is not None and (provider.model(reference.model) is not None or provider.config is not None)
    if not listed or (wrong_case(catalog, reference) and catalog.find(reference) is None):
        raise no_such_model(catalog, reference, switched_off_by=loader.switched_off_by(reference), kind=UsageError)
    return parse_reference(str(reference))


def default_named(text: str, spec: ProviderSpec, loader: ModelLoader) -> ModelReference:
    """The default model that is meant by `text` while `spec` is being set up: its own model, or one that is known already.

    Raises:
        UsageError: as `known_model`.
    """
    provider, slash, _ = text.strip().partition("/")
    if slash and provider.lower() != spec.id and provider.lower() in loader.catalog.providers:
        return known_model(text, loader)
    return model_of(spec, text)


def model_of(spec: ProviderSpec, text: str) -> ModelReference:
    """The model of `spec` that `text` names, with or without the provider before it.

    One that the catalogue lacks is taken as it is: it may be newer, and the provider itself says no.

    Raises:
        UsageError: `unknown-model`, where only the case differs; `invalid-model-reference`, where there is no name.
    """
    name = text.strip()
    provider, slash, rest = name.partition("/")
    whole = bool(slash) and provider.lower() == spec.id
    id = rest.strip() if whole else name
    if not id:
        raise UsageError("invalid-model-reference", f"Invalid model reference: {text}", why="a reference is provider/model")
    ids = {model.id for model in spec.models}
    aliases = {model.alias.lower(): model.id for model in spec.models if model.alias and not whole}
    if id in ids or id.lower() in aliases:
        return ModelReference(spec.id, id if id in ids else aliases[id.lower()])
    same = [f"{spec.id}/{known}" for known in ids if known.lower() == id.lower()]
    if same:
        why = "model ids are case-sensitive"
        raise UsageError("unknown-model", f"Unknown model: {spec.id}/{id}", why=why, hint=did_you_mean(same))
    return ModelReference(spec.id, id)
