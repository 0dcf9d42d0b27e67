"""Write a finished sign-in into the config: the provider's block, the aliases, the profile's name, the default model.

The user's own entries stay: a key, an alias or a base URL of another host is never replaced, and a model list only grows. Only
the user restricts the models to a list: an entry that is added for another reason must not block all other models
(openclaw#20265). Without such a list `listed` is False, and `Catalog.allowed` is None.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from portico.accounts.view import id_in_use
from portico.models.catalog import host_of
from portico.models.reference import (
    InvalidModelReference,
    ModelReference,
    UnknownModel,
    did_you_mean,
    parse_reference,
    unknown_model_error,
    wrong_case,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.app import App
    from portico.config.document import Document
    from portico.config.schema import AgentDefaults
    from portico.config.sources import Effective
    from portico.interfaces.basics import JsonValue
    from portico.interfaces.plugins import AuthMethod, ModelSpec, ProviderSpec
    from portico.models.loader import ModelLoader
    from portico.store.records import Profile

MODEL: Final = ("agents", "defaults", "model")
ALLOWED: Final = ("agents", "defaults", "models")
ALLOW: Final = ("agents", "defaults", "allow")


def with_default(document: Document, reference: str, *, listed: bool) -> Document:
    """Set the default model. Fallbacks stay; a list of allowed models gets `reference` too."""
    short = document.has(MODEL) and isinstance(document.get(MODEL), str)
    document = document.set(MODEL if short else (*MODEL, "primary"), reference)
    allowed = document.get(ALLOWED) if document.has(ALLOWED) else None
    if listed and isinstance(allowed, dict) and allowed and reference not in allowed:
        document = document.set((*ALLOWED, reference), {})
    return document


def with_fallbacks(document: Document, fallbacks: Sequence[str], agents: AgentDefaults) -> Document:
    """Replace the fallbacks. `agents` has the effective values."""
    if document.has(MODEL) and isinstance(document.get(MODEL), str):
        return document.set(MODEL, {"primary": agents.primary or "", "fallbacks": [*fallbacks]})
    return document.set((*MODEL, "fallbacks"), [*fallbacks])


def with_allowed(document: Document, reference: str, agents: AgentDefaults, *, listed: bool) -> Document:
    """Add an entry for `reference` to the models. If all models are allowed, all stay allowed."""
    if reference in agents.models:
        return document
    return with_all_allowed(document, agents, listed=listed).set((*ALLOWED, reference), {})


def with_all_allowed(document: Document, agents: AgentDefaults, *, listed: bool) -> Document:
    """If all models are allowed now, keep them allowed, even if entries are added."""
    return document if listed or agents.allow == "all" else document.set(ALLOW, "all")


def finish_pending(app: App) -> tuple[str, ...]:
    """Write the config for profiles whose sign-in was interrupted before this step, if their plugin is still installed.

    Returns:
        The ids of the pending profiles.

    Raises:
        ConfigError, LockBusy, StoreError: the config or the index cannot be changed.
    """
    pending = [profile for profile in app.token_store.profiles() if profile.config_pending]
    for profile in pending:
        method = _method_of(app, profile)
        if method is not None:
            write_config(app, profile, method)
    return tuple(profile.id for profile in pending)


def _method_of(app: App, profile: Profile) -> AuthMethod | None:
    methods = (method for method in app.plugins.auth_methods() if method.provider == profile.provider)
    return next((method for method in methods if profile.region in {region.id for region in method.regions}), None)


def write_config(app: App, profile: Profile, method: AuthMethod) -> bool:
    """Write the profile's models into the config. Return whether the file changed.

    Raises:
        ConfigError: the file cannot be read or written.
    """
    spec = next((spec for spec in app.plugins.providers() if spec.id == method.provider), None)
    default_model = (profile.default_model or method.default_model) if profile.default_pending else None
    listed = app.models().catalog.allowed is not None
    in_use = profile.use_pending or id_in_use(app, profile.provider) in {None, profile.id}
    changed = app.edit_config(
        lambda document: patched(document, profile, spec, in_use=in_use, default_model=default_model, listed=listed)
    )
    finished: dict[str, Any] = {"config_pending": False, "default_pending": False, "default_model": None, "use_pending": False}
    app.token_store.update(profile.id, lambda current: replace(current, **finished))
    return changed


def patched(
    document: Document, profile: Profile, spec: ProviderSpec | None, *, in_use: bool, default_model: str | None, listed: bool
) -> Document:
    """Return `document` with the profile's provider and aliases; `default_model` None leaves the default model unchanged.

    `in_use`: the profile is, or becomes, the account in use, so the base URL of its region is written. `listed`: the document has
    a list of allowed models. An explicit `auth.order` stays unchanged.
    """
    named: dict[str, JsonValue] = {"auth": {"profiles": {profile.id: {"provider": profile.provider, "mode": "oauth"}}}}
    if spec is None:
        document = document.merge(named)
    else:
        provider = _provider_block(document, profile, spec, in_use=in_use)
        aliases = _new_aliases(document, spec)
        # One merge, since each edit parses the document again.
        patch: dict[str, JsonValue] = {"models": {"providers": {spec.id: provider}}}
        if aliases:
            patch["agents"] = {"defaults": {"models": aliases}}
        document = _with_new_models(document.merge(patch | named), spec)
    return with_default(document, default_model, listed=listed) if default_model is not None else document


def _provider_block(document: Document, profile: Profile, spec: ProviderSpec, *, in_use: bool) -> dict[str, JsonValue]:
    own = own_object(document, ("models", "providers", spec.id))
    block: dict[str, JsonValue] = {
        "baseUrl": custom_base_url(own, spec) or (profile.api_base if in_use else own.get("baseUrl")),
        "apiKey": own.get("apiKey", spec.placeholder_key),
        "api": own.get("api", spec.api),
    }
    if not isinstance(own.get("models"), list):
        block["models"] = [*_proposed(spec)]
    return {key: value for key, value in block.items() if value is not None}


def _proposed(spec: ProviderSpec) -> list[dict[str, JsonValue]]:
    return [model_block(model) for model in spec.models if model.alias]


def _with_new_models(document: Document, spec: ProviderSpec) -> Document:
    """Append the missing models to the provider's list of models."""
    path = ("models", "providers", spec.id)
    listed = own_object(document, path)["models"]
    present = {model.get("id") for model in listed if isinstance(model, dict)}
    for index, model in enumerate((model for model in _proposed(spec) if model["id"] not in present), len(listed)):
        document = document.set((*path, "models", index), model)
    return document


def custom_base_url(own: Mapping[str, object], spec: ProviderSpec) -> str | None:
    """Return the base URL in the provider's block if its host does not belong to the provider; else None."""
    url = own.get("baseUrl")
    if not isinstance(url, str):
        return None
    provider_hosts = frozenset().union(*spec.hosts.values()) if spec.needs_credential else frozenset()
    return None if host_of(url) in provider_hosts else url


def model_block(model: ModelSpec) -> dict[str, JsonValue]:
    """Return the config entry of a model, with every known value."""
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


def _new_aliases(document: Document, spec: ProviderSpec) -> dict[str, JsonValue]:
    entries = own_object(document, ("agents", "defaults", "models"))
    taken = {str(entry.get("alias", "")).lower() for entry in entries.values() if isinstance(entry, dict)}
    # An existing entry stays: the plugin defines the alias anyway, and the user may have left an entry empty on purpose.
    return {
        f"{spec.id}/{model.id}": {"alias": model.alias}
        for model in spec.models
        if model.alias and model.alias.lower() not in taken and f"{spec.id}/{model.id}" not in entries
    }


def own_object(document: Document | Effective, path: tuple[str, ...]) -> dict[str, Any]:
    """Return the object at `path`; empty if there is no object."""
    value = document.get(path) if document.has(path) else None
    return value if isinstance(value, dict) else {}


def known_model(text: str, loader: ModelLoader) -> ModelReference:
    """Return the existing model for `text`, which is an alias or a reference.

    Raises:
        UsageError: `unknown-model`, with a similar name as hint; `invalid-model-reference`.
    """
    catalog = loader.catalog
    reference = catalog.expand(text)
    provider = catalog.providers.get(reference.provider)
    listed = provider is not None and (provider.model(reference.model) is not None or provider.config is not None)
    if not listed or (wrong_case(catalog, reference) and catalog.find(reference) is None):
        raise unknown_model_error(catalog, reference, switched_off_by=loader.off_plugin(reference.provider), kind=UnknownModel)
    return parse_reference(str(reference))


def default_named(text: str, spec: ProviderSpec | None, loader: ModelLoader) -> ModelReference:
    """Return the default model for `text` during the set-up of the provider `spec`: a model of `spec`, or a known model.

    Raises:
        UsageError: as `known_model`.
    """
    provider, slash, _ = text.strip().partition("/")
    if spec is None or (slash and provider.lower() != spec.id and provider.lower() in loader.catalog.providers):
        return known_model(text, loader)
    return model_of(spec, text)


def model_of(spec: ProviderSpec, text: str) -> ModelReference:
    """Return the model of `spec` for `text`, which is a model id, an alias or `provider/id`.

    An unknown id is accepted: the model may be newer than the catalogue, and the provider rejects a wrong id.

    Raises:
        UsageError: `unknown-model`: only the case differs from a known model; `invalid-model-reference`: the id is empty.
    """
    name = text.strip()
    provider, slash, rest = name.partition("/")
    with_provider = bool(slash) and provider.lower() == spec.id
    id = rest.strip() if with_provider else name
    if not id:
        raise InvalidModelReference(f"Invalid model reference: {text}", why="a reference is provider/model")
    ids = {model.id for model in spec.models}
    aliases = {model.alias.lower(): model.id for model in spec.models if model.alias and not with_provider}
    if id in ids or id.lower() in aliases:
        return ModelReference(spec.id, id if id in ids else aliases[id.lower()])
    if similar := [f"{spec.id}/{known}" for known in ids if known.lower() == id.lower()]:
        why = "model ids are case-sensitive"
        raise UnknownModel(f"Unknown model: {spec.id}/{id}", why=why, hint=did_you_mean(similar))
    return ModelReference(spec.id, id)
