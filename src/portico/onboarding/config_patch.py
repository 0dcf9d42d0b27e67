"""What a finished sign-in writes into the config: the provider's block, the aliases, the profile's name, the default model.

What the user wrote stays: an own key, alias or base URL of another host is never replaced, and a model list only grows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portico.onboarding.default_model import with_default

if TYPE_CHECKING:
    from portico.config.document import Document
    from portico.contracts import AuthMethod, JsonValue, ModelSpec, ProviderSpec
    from portico.onboarding.workbench import Workbench
    from portico.store.profiles import Profile


def write_config(bench: Workbench, profile: Profile, method: AuthMethod) -> bool:
    """Make the profile's models known to the config; say whether anything was changed.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    spec = next((spec for spec in bench.plugins.providers() if spec.id == method.provider), None)
    default_model = method.default_model if profile.default_pending else None
    changed = bench.config.file.edit(lambda document: patched(document, profile, spec, default_model=default_model))
    bench.index.update(profile.id, lambda current: replace(current, config_pending=False, default_pending=False))
    bench.reload_config()
    return changed


def patched(document: Document, profile: Profile, spec: ProviderSpec | None, *, default_model: str | None) -> Document:
    """`document` with the profile's provider and aliases, and `default_model` as the default where it is given."""
    if spec is not None:
        document = _with_provider(document, profile, spec)
        document = _with_aliases(document, spec)
    document = document.merge({"auth": {"profiles": {profile.id: {"provider": profile.provider, "mode": "oauth"}}}})
    document = _with_order(document, profile)
    return with_default(document, default_model) if default_model is not None else document


def _with_provider(document: Document, profile: Profile, spec: ProviderSpec) -> Document:
    place = ("models", "providers", spec.id)
    own = _object(document, place)
    block: dict[str, JsonValue] = {
        "baseUrl": _base_url(own.get("baseUrl"), profile, spec),
        "apiKey": own.get("apiKey", spec.placeholder_key),
        "api": own.get("api", spec.api),
    }
    known: dict[str, JsonValue] = {key: value for key, value in block.items() if value is not None}
    document = document.merge({"models": {"providers": {spec.id: known}}})
    listed = own.get("models")
    proposed = [_model(model) for model in spec.models if model.alias]
    if not isinstance(listed, list):
        return document.set((*place, "models"), [*proposed])
    present = {model.get("id") for model in listed if isinstance(model, dict)}
    for index, model in enumerate((model for model in proposed if model["id"] not in present), len(listed)):
        document = document.set((*place, "models", index), model)
    return document


def _base_url(own: object, profile: Profile, spec: ProviderSpec) -> str:
    from portico.models.catalog import host_of

    ours = frozenset().union(*spec.hosts.values())
    foreign = isinstance(own, str) and host_of(own) not in ours
    return str(own) if foreign else profile.api_base


def _model(model: ModelSpec) -> dict[str, JsonValue]:
    block: dict[str, JsonValue] = {"id": model.id, "name": model.name, "reasoning": model.reasoning, "input": [*model.input]}
    if model.cost is not None:
        cost = model.cost
        block["cost"] = {
            "input": cost.input,
            "output": cost.output,
            "cacheRead": cost.cache_read,
            "cacheWrite": cost.cache_write,
        }
    known = {"contextWindow": model.context_window, "maxTokens": model.max_tokens}
    return block | {key: value for key, value in known.items() if value is not None}


def _with_aliases(document: Document, spec: ProviderSpec) -> Document:
    entries = _object(document, ("agents", "defaults", "models"))
    taken = {str(entry.get("alias", "")).lower() for entry in entries.values() if isinstance(entry, dict)}
    for model in spec.models:
        reference = f"{spec.id}/{model.id}"
        entry = entries.get(reference)
        if model.alias and model.alias.lower() not in taken and not (isinstance(entry, dict) and "alias" in entry):
            document = document.merge({"agents": {"defaults": {"models": {reference: {"alias": model.alias}}}}})
    return document


def _with_order(document: Document, profile: Profile) -> Document:
    path = ("auth", "order", profile.provider)
    order = document.get(path) if document.has(path) else None
    if not isinstance(order, list):
        return document
    return document.set(path, [profile.id, *(id for id in order if id != profile.id)])


def _object(document: Document, path: tuple[str, ...]) -> dict[str, Any]:
    value = document.get(path) if document.has(path) else None
    return value if isinstance(value, dict) else {}
