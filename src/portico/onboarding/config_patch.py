"""What a finished sign-in writes into the config: the provider's block, the aliases, the profile's name, the default model.

What the user wrote stays: an own key, alias or base URL of another host is never replaced, and a model list only grows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portico.onboarding.account_in_use import id_in_use
from portico.onboarding.default_model import with_default

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.config.document import Document
    from portico.config.sources import Effective
    from portico.interfaces.auth_method import AuthMethod
    from portico.interfaces.basics import JsonValue
    from portico.interfaces.provider_spec import ModelSpec, ProviderSpec
    from portico.onboarding.workbench import Workbench
    from portico.store.records import Profile


def write_config(bench: Workbench, profile: Profile, method: AuthMethod) -> bool:
    """Make the profile's models known to the config; say whether anything was changed.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    spec = next((spec for spec in bench.plugins.providers() if spec.id == method.provider), None)
    default_model = (profile.default_model or method.default_model) if profile.default_pending else None
    listed = bench.models().catalog.allowed is not None
    in_use = profile.use_pending or id_in_use(bench, profile.provider) in {None, profile.id}
    changed = bench.config.file.edit(
        lambda document: patched(document, profile, spec, in_use=in_use, default_model=default_model, listed=listed)
    )
    done: dict[str, Any] = {"config_pending": False, "default_pending": False, "default_model": None, "use_pending": False}
    bench.token_store.update(profile.id, lambda current: replace(current, **done))
    bench.reload_config()
    return changed


def patched(
    document: Document, profile: Profile, spec: ProviderSpec | None, *, in_use: bool, default_model: str | None, listed: bool
) -> Document:
    """`document` with the profile's provider and aliases, and `default_model` as the default where it is given.

    `in_use`: the profile is, or becomes, the provider's account in use, so the base URL is that of its region. `listed`: the
    models in it are a list of what is allowed. An explicit `auth.order` is the user's and stays as it is.
    """
    if spec is not None:
        document = _with_provider(document, profile, spec, in_use=in_use)
        document = _with_aliases(document, spec)
    document = document.merge({"auth": {"profiles": {profile.id: {"provider": profile.provider, "mode": "oauth"}}}})
    return with_default(document, default_model, listed=listed) if default_model is not None else document


def _with_provider(document: Document, profile: Profile, spec: ProviderSpec, *, in_use: bool) -> Document:
    place = ("models", "providers", spec.id)
    own = own_object(document, place)
    block: dict[str, JsonValue] = {
        "baseUrl": kept_base_url(own, spec) or (profile.api_base if in_use else own.get("baseUrl")),
        "apiKey": own.get("apiKey", spec.placeholder_key),
        "api": own.get("api", spec.api),
    }
    known: dict[str, JsonValue] = {key: value for key, value in block.items() if value is not None}
    document = document.merge({"models": {"providers": {spec.id: known}}})
    listed = own.get("models")
    proposed = [model_block(model) for model in spec.models if model.alias]
    if not isinstance(listed, list):
        return document.set((*place, "models"), [*proposed])
    present = {model.get("id") for model in listed if isinstance(model, dict)}
    for index, model in enumerate((model for model in proposed if model["id"] not in present), len(listed)):
        document = document.set((*place, "models", index), model)
    return document


def kept_base_url(own: Mapping[str, object], spec: ProviderSpec) -> str | None:
    """The base URL in a provider's block, where it is the user's: to another host, or to this machine."""
    from portico.models.catalog import host_of

    url = own.get("baseUrl")
    if not isinstance(url, str):
        return None
    theirs = frozenset().union(*spec.hosts.values()) if spec.needs_credential else frozenset()
    return None if host_of(url) in theirs else url


def model_block(model: ModelSpec) -> dict[str, JsonValue]:
    """A model as the config lists it, with all that is known of it."""
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
    entries = own_object(document, ("agents", "defaults", "models"))
    taken = {str(entry.get("alias", "")).lower() for entry in entries.values() if isinstance(entry, dict)}
    for model in spec.models:
        reference = f"{spec.id}/{model.id}"
        # An entry that is there stays: the plugin brings its alias anyway, and one of a list may be empty on purpose.
        if model.alias and model.alias.lower() not in taken and reference not in entries:
            document = document.merge({"agents": {"defaults": {"models": {reference: {"alias": model.alias}}}}})
    return document


def own_object(document: Document | Effective, path: tuple[str, ...]) -> dict[str, Any]:
    """The object at `path`; empty where there is none."""
    value = document.get(path) if document.has(path) else None
    return value if isinstance(value, dict) else {}
