"""Anthropic by API key (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import ModelCost, ModelSpec, ProviderSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOURCE: Final = "https://docs.anthropic.com/en/docs/about-claude/models/overview"
_COST: Final = ModelCost(5.0, 25.0, 0.5, 6.25)
_INPUT: Final = ("text", "image")

PROVIDER: Final = ProviderSpec(
    id="anthropic",
    label="Anthropic",
    api="anthropic-messages",
    base_urls={"": "https://api.anthropic.com"},
    hosts={"": frozenset({"api.anthropic.com"})},
    env_keys=("ANTHROPIC_API_KEY",),
    auth_header="x-api-key",
    models=(
        ModelSpec("claude-opus-4-6", "Claude Opus 4.6", 200_000, 128_000, _COST, True, _INPUT, source=_SOURCE),
        ModelSpec("claude-opus-4-5", "Claude Opus 4.5", 200_000, 64_000, _COST, True, _INPUT, source=_SOURCE),
    ),
)


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """Anthropic."""
    return (PROVIDER,)
