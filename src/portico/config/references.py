"""Places of the config that name a profile, an alias or a model: what is deleted is taken out of them as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from portico.config.document import ConfigPath, Document
    from portico.config.schema import Config

ORDER: Final = ("auth", "order")
PROFILES: Final = ("auth", "profiles")
_MODEL: Final = ("agents", "defaults", "model")
_GATEWAY_MODELS: Final = ("gateway", "models")


def without_profile(document: Document, profile_id: str) -> Document:
    """`document` without the profile's own entry and without its place in any `auth.order`; an order left empty goes too."""
    if document.has((*PROFILES, profile_id)):
        document = document.unset((*PROFILES, profile_id))
    for provider, order in _entries(document, ORDER).items():
        if isinstance(order, list) and profile_id in order:
            rest = [id for id in order if id != profile_id]
            path = (*ORDER, provider)
            document = document.set(path, rest) if rest else document.unset(path)
    return document


def own_profiles(document: Document) -> tuple[str, ...]:
    """The ids that one file's `auth.profiles` names."""
    return tuple(_entries(document, PROFILES))


def without_alias(document: Document, alias: str, reference: str) -> Document:
    """`document` in which the default, the fallbacks and `gateway.models` name `reference` instead of `alias` (case aside)."""
    for path, text in _model_names(document):
        if text.lower() == alias.lower():
            document = document.set(path, reference)
    return document


def model_names(config: Config) -> Iterator[tuple[ConfigPath, str]]:
    """Each place of the effective config that names a model by an alias or a reference, and the name."""
    agents = config.agents
    if agents.primary is not None:
        yield (*_MODEL, "primary"), agents.primary
    yield from (((*_MODEL, "fallbacks", number), text) for number, text in enumerate(agents.fallbacks))
    yield from (((*_GATEWAY_MODELS, name), text) for name, text in config.gateway.models.items())


def _model_names(document: Document) -> Iterator[tuple[ConfigPath, str]]:
    """As `model_names`, of what one file says; the default has a short form there."""
    model = document.get(_MODEL) if document.has(_MODEL) else None
    if isinstance(model, str):
        yield _MODEL, model
    elif isinstance(model, dict):
        primary, fallbacks = model.get("primary"), model.get("fallbacks")
        if isinstance(primary, str):
            yield (*_MODEL, "primary"), primary
        for number, name in enumerate(fallbacks if isinstance(fallbacks, list) else []):
            if isinstance(name, str):
                yield (*_MODEL, "fallbacks", number), name
    for asked, answers in _entries(document, _GATEWAY_MODELS).items():
        if isinstance(answers, str):
            yield (*_GATEWAY_MODELS, asked), answers


def _entries(document: Document, path: ConfigPath) -> Mapping[str, object]:
    value = document.get(path) if document.has(path) else None
    return value if isinstance(value, dict) else {}
