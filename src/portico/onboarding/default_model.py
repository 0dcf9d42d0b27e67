"""The default model in the config, in whichever of its two forms the file has it, and the list of allowed models beside it.

That list begins only where somebody chooses it (until then `listed` is False, as `Catalog.allowed` is None): an entry that is
added for another reason must not lock every other model out (openclaw#20265).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.config.document import Document
    from portico.config.schema import AgentDefaults

MODEL: Final = ("agents", "defaults", "model")
ALLOWED: Final = ("agents", "defaults", "models")
ALLOW: Final = ("agents", "defaults", "allow")


def with_default(document: Document, reference: str, *, listed: bool) -> Document:
    """`document` with `reference` as the default model; fallbacks stay, and a list of allowed models lets it in."""
    short = document.has(MODEL) and isinstance(document.get(MODEL), str)
    document = document.set(MODEL if short else (*MODEL, "primary"), reference)
    allowed = document.get(ALLOWED) if document.has(ALLOWED) else None
    if listed and isinstance(allowed, dict) and allowed and reference not in allowed:
        document = document.set((*ALLOWED, reference), {})
    return document


def with_fallbacks(document: Document, fallbacks: Sequence[str], agents: AgentDefaults) -> Document:
    """`document` with these fallbacks and no others; `agents` is what the whole configuration says now."""
    if document.has(MODEL) and isinstance(document.get(MODEL), str):
        return document.set(MODEL, {"primary": agents.primary or "", "fallbacks": [*fallbacks]})
    return document.set((*MODEL, "fallbacks"), [*fallbacks])


def with_allowed(document: Document, reference: str, agents: AgentDefaults, *, listed: bool) -> Document:
    """`document` with an entry for `reference` among the models; where they were no list, they do not become one."""
    if reference in agents.models:
        return document
    return kept_open(document, agents, listed=listed).set((*ALLOWED, reference), {})


def kept_open(document: Document, agents: AgentDefaults, *, listed: bool) -> Document:
    """`document` in which every model stays allowed, whatever entries come or change, where every one is allowed now."""
    return document if listed or agents.allow == "all" else document.set(ALLOW, "all")
