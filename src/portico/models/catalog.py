"""The catalog: all known models with their limits and prices.

The plugins' catalogs come first. The config overrides them, and `models.json` overrides both. A config block may contain a
placeholder instead of a price; `models.json` then has the real price (provider page: notes). With `models.mode: "merge"`,
models that are not in the config block are still callable.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.interfaces.plugins import ModelSpec
from portico.models.reference import ModelReference, parse_reference
from portico.models.thinking import reasons

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portico.config.schema import Config, ModelConfig, ModelSettings, ProviderConfig
    from portico.interfaces.plugins import ApiKind, ProviderSpec

CONFIG: Final = "config"
CORRECTIONS: Final = "models.json"
_MAX_NEAR: Final = 3


def _with_overrides(model: ModelSpec, override: ModelConfig) -> ModelSpec:
    return replace(
        model,
        name=override.name or model.name,
        context_window=override.context_window or model.context_window,
        max_tokens=override.max_tokens or model.max_tokens,
        cost=override.cost.over(model.cost) if override.cost is not None else model.cost,
        reasoning=model.reasoning if override.reasoning is None else override.reasoning,
        input=override.input or model.input,
    )


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider as described by a plugin and the config.

    `spec` is None without a plugin; `config` is None without a config block.

    `prices` maps the id of each model with a known price to the source: `models.json`, `config`, or a public source.
    """

    id: str
    models: tuple[ModelSpec, ...]
    spec: ProviderSpec | None = None
    config: ProviderConfig | None = None
    prices: Mapping[str, str] = field(default_factory=dict)

    @property
    def api(self) -> ApiKind | None:
        """The protocol from the config, else from the plugin."""
        if self.config is not None and self.config.api is not None:
            return self.config.api
        return self.spec.api if self.spec is not None else None

    def configured_model(self, model_id: str) -> ModelConfig | None:
        return next((model for model in self.config.models if model.id == model_id), None) if self.config is not None else None

    def api_of(self, model_id: str) -> ApiKind | None:
        """Return the model's protocol from its own config entry, else the provider's protocol."""
        configured = self.configured_model(model_id)
        return configured.api if configured is not None and configured.api is not None else self.api

    def model(self, model_id: str) -> ModelSpec | None:
        return next((model for model in self.models if model.id == model_id), None)


class Catalog:
    """All known providers and models, and their aliases."""

    def __init__(
        self,
        config: Config,
        specs: Iterable[ProviderSpec],
        corrections: Mapping[tuple[str, str], ModelConfig] | None = None,
    ) -> None:
        self._config = config
        self._corrections = corrections or {}
        self.specs: Mapping[str, ProviderSpec] = {spec.id: spec for spec in specs}

    @cached_property
    def providers(self) -> Mapping[str, Provider]:
        """Providers by id; with `models.mode: "replace"`, only the providers in the config."""
        configured = self._config.models.providers
        ids = dict.fromkeys(configured)
        if self._config.models.mode != "replace":
            ids = {**dict.fromkeys(self.specs), **ids}
        return {id: self._merged(id, configured.get(id)) for id in ids}

    def _merged(self, id: str, config: ProviderConfig | None) -> Provider:
        spec = self.specs.get(id)
        known = {model.id: model for model in spec.models} if spec is not None else {}
        listed = {model.id: model for model in config.models} if config is not None else {}
        models, prices = {}, {}
        for model_id in listed if self._config.models.mode == "replace" else {**known, **listed}:
            model = known.get(model_id) or ModelSpec(model_id, model_id, reasoning=reasons(model_id))
            price_source = model.source
            corrected = self._corrections.get((id, model_id))
            for source, override in ((CONFIG, listed.get(model_id)), (CORRECTIONS, corrected)):
                if override is not None:
                    model = _with_overrides(model, override)
                    price_source = source if override.cost is not None else price_source
            models[model_id] = model
            if model.cost is not None:
                prices[model_id] = price_source or "unknown"
        return Provider(id, tuple(models.values()), spec, config, prices)

    @cached_property
    def aliases(self) -> Mapping[str, ModelReference]:
        """Models by lower-case alias. The config's aliases override the aliases that plugins propose."""
        proposed = {
            model.alias.lower(): ModelReference(provider.id, model.id)
            for provider in self.providers.values()
            for model in provider.models
            if model.alias
        }
        chosen = {
            settings.alias.lower(): parse_reference(key)
            for key, settings in self._config.agents.models.items()
            if settings.alias and "/" in key
        }
        return {**proposed, **chosen}

    @cached_property
    def allowed(self) -> frozenset[ModelReference] | None:
        """The models that may be used; None if all may be used.

        `agents.defaults.models` is a list of allowed models, unless it contains only aliases that a sign-in wrote, or
        `agents.defaults.allow` is `all`. The default model and the fallbacks are always allowed.
        """
        agents = self._config.agents
        if agents.allow == "all" or all(self._is_proposed_alias(key, settings) for key, settings in agents.models.items()):
            return None
        references = set()
        for text in (*agents.models, *agents.fallbacks, *filter(None, [agents.primary])):
            with suppress(UsageError):
                references.add(self.expand(text))
        return frozenset(references)

    def allows(self, reference: ModelReference) -> bool:
        return self.allowed is None or reference in self.allowed

    def _is_proposed_alias(self, key: str, settings: ModelSettings) -> bool:
        """Whether this entry only repeats the alias that a plugin proposes for its model."""
        provider, _, model = key.partition("/")
        spec = self.specs.get(provider)
        models = spec.models if spec is not None else ()
        proposed = next((model_spec.alias for model_spec in models if model_spec.id == model), None)
        return proposed is not None and settings.alias == proposed

    def references(self) -> Iterator[ModelReference]:
        """Iterate over all known models, sorted by provider and id."""
        known = (ModelReference(provider.id, model.id) for provider in self.providers.values() for model in provider.models)
        return iter(sorted(known))

    def find(self, reference: ModelReference) -> ModelSpec | None:
        provider = self.providers.get(reference.provider)
        return provider.model(reference.model) if provider is not None else None

    def expand(self, text: str) -> ModelReference:
        """Return the reference for an alias, for `provider/model`, or for a bare model id that only one provider has.

        Raises:
            UsageError: `invalid-model-reference`.
        """
        name = text.strip()
        alias = self.aliases.get(name.lower())
        if alias is not None:
            return alias
        if "/" not in name:
            matches = [reference for reference in self.references() if reference.model == name]
            if len(matches) == 1:
                return matches[0]
        return parse_reference(name, near=() if "/" in name else self.near(name))

    def near(self, text: str) -> list[str]:
        """Return some known names close to `text`.

        First come names that differ only in case (provider page: troubleshooting), else names with this part.
        """
        import difflib

        names = [str(reference) for reference in self.references()]
        wanted = text.strip().lower()
        same_name = [name for name in names if name.lower() == wanted or name.lower().partition("/")[2] == wanted]
        if same_name:
            return same_name[:_MAX_NEAR]
        parts = sorted((name for name in names if wanted and _starts_word(wanted, name.lower())), key=len)
        if parts:
            return parts[:_MAX_NEAR]
        by_lower = {name.lower(): name for name in [*names, *self.aliases]}
        close = [by_lower[match] for match in difflib.get_close_matches(wanted, by_lower, n=_MAX_NEAR, cutoff=0.75)]
        return list(dict.fromkeys(close))


def _starts_word(wanted: str, name: str) -> bool:
    """Whether a hyphenated part of the model id in `name` starts with `wanted`, such as M2 in MiniMax-M2.1."""
    provider, _, model = name.partition("/")
    return f"-{wanted.removeprefix(f'{provider}/')}" in f"-{model}"


def retirement_notice(spec: ModelSpec) -> str | None:
    """Return a sentence about a retired model; None if its provider still offers the model."""
    if spec.retired_on is None:
        return None
    when = f"on {spec.retired_on}" if spec.retired_on.count("-") > 1 else f"in {spec.retired_on}"
    return f"{spec.id} was retired {when}." + (f" Use {spec.successor}." if spec.successor is not None else "")


def host_of(url: str) -> str:
    """Return the host of `url` in lower case; empty if the URL has no host."""
    from urllib.parse import urlsplit

    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""
