"""Model references: `provider/model` (provider page: notes).

The provider's id is case-insensitive, the model's id is not: `minimax/minimax-m2.1` is no model, and is never mended silently.
"""

from __future__ import annotations

from dataclasses import dataclass

from portico.errors import UsageError


@dataclass(frozen=True, slots=True, order=True)
class ModelReference:
    """One model of one provider; `str()` gives `provider/model`."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


def parse_reference(text: str) -> ModelReference:
    """Split `provider/model` at the first slash: a model's own id may hold more of them.

    Raises:
        UsageError: `invalid-model-reference`, where a side is empty or there is no slash.
    """
    provider, slash, model = text.strip().partition("/")
    if not (slash and provider.strip() and model.strip()):
        raise UsageError(
            "invalid-model-reference",
            f"Invalid model reference: {text}",
            why="a reference is provider/model",
            hint="{prog} models list --all",
        )
    return ModelReference(provider.strip().lower(), model.strip())
