"""OpenAI by API key (https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import KeyChoice, ProviderSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

PROVIDER: Final = ProviderSpec(
    id="openai",
    label="OpenAI",
    api="openai-completions",
    base_urls={"": "https://api.openai.com/v1"},
    hosts={"": frozenset({"api.openai.com"})},
    env_keys=("OPENAI_API_KEY",),
    paths={"openai-completions": "/v1", "openai-responses": "/v1"},
    key_choices=(KeyChoice("openai-api", "OpenAI API key", "", "the model is asked for"),),
)


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """OpenAI, whose models are those the configuration names."""
    return (PROVIDER,)
