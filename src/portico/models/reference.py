"""Model references: `provider/model` (provider page: notes).

The provider's id is case-insensitive, the model's id is not: `minimax/minimax-m2.1` is no model, and is never mended silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, order=True)
class ModelReference:
    """One model of one provider; `str()` gives `provider/model`."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def did_you_mean(names: Sequence[str]) -> str | None:
    """`Did you mean x, y?`, None without names."""
    return f"Did you mean {', '.join(names)}?" if names else None


def parse_reference(text: str, *, near: Sequence[str] = ()) -> ModelReference:
    """Split `provider/model` at the first slash: a model's own id may hold more of them. `near` is what it may have meant.

    Raises:
        UsageError: `invalid-model-reference`, where a side is empty or there is no slash.
    """
    provider, slash, model = text.strip().partition("/")
    if not (slash and provider.strip() and model.strip()):
        raise UsageError(
            "invalid-model-reference",
            f"Invalid model reference: {text}",
            why="a reference is provider/model",
            hint=did_you_mean(near) or "{prog} models list --all",
        )
    return ModelReference(provider.strip().lower(), model.strip())
