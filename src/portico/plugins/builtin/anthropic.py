"""Anthropic by API key (https://docs.anthropic.com/en/api/messages)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import KeyChoice, ModelCost, ModelSpec, ProviderSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOURCE: Final = "https://platform.claude.com/docs/en/models/opus-4-6/overview"
_COST: Final = ModelCost(5.0, 25.0, 0.5, 6.25)

PROVIDER: Final = ProviderSpec(
    id="anthropic",
    label="Anthropic",
    api="anthropic-messages",
    base_urls={"": "https://api.anthropic.com"},
    hosts={"": frozenset({"api.anthropic.com"})},
    env_keys=("ANTHROPIC_API_KEY",),
    auth_header="x-api-key",
    paths={"anthropic-messages": ""},
    key_choices=(KeyChoice("anthropic-api", "Anthropic API key", "claude-opus-4-6", "Claude Opus 4.6"),),
    models=(ModelSpec("claude-opus-4-6", "Claude Opus 4.6", 1_000_000, 128_000, _COST, True, ("text", "image"), source=_SOURCE),),
)


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """Anthropic."""
    return (PROVIDER,)
