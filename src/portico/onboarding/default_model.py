"""The default model in the config, in whichever of its two forms the file has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from portico.config.document import Document

_MODEL: Final = ("agents", "defaults", "model")
_ALLOWED: Final = ("agents", "defaults", "models")


def with_default(document: Document, reference: str) -> Document:
    """`document` with `reference` as the default model; fallbacks stay, and a list of allowed models lets it in."""
    short = document.has(_MODEL) and isinstance(document.get(_MODEL), str)
    document = document.set(_MODEL if short else (*_MODEL, "primary"), reference)
    allowed = document.get(_ALLOWED) if document.has(_ALLOWED) else None
    if isinstance(allowed, dict) and allowed and reference not in allowed:
        document = document.set((*_ALLOWED, reference), {})
    return document
