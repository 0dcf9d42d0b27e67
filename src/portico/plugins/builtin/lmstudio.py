"""Models on this machine, served by LM Studio (https://lmstudio.ai/docs/developer/openai-compat)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import KeyChoice, ModelCost, ModelSpec, ProviderSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

# What OpenClaw's page sets up, and what its wizard writes (docs.openclaw.ai/providers/minimax).
_SOURCE: Final = "https://docs.openclaw.ai/providers/minimax"
_MODEL: Final = ModelSpec("minimax-m2.1-gs32", "MiniMax M2.1 GS32", 196_608, 8192, ModelCost(0.0, 0.0), source=_SOURCE)

PROVIDER: Final = ProviderSpec(
    id="lmstudio",
    label="LM Studio",
    api="openai-responses",
    base_urls={"": "http://127.0.0.1:1234/v1"},
    hosts={"": frozenset({"127.0.0.1", "localhost"})},
    placeholder_key="lmstudio",
    needs_credential=False,
    paths={"openai-responses": "/v1", "openai-completions": "/v1"},
    key_choices=(
        KeyChoice("lmstudio", "LM Studio (local)", _MODEL.id, "MiniMax M2.1 on this machine", needs_key=False, spec=_MODEL),
    ),
)


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """LM Studio, whose models are those the user has loaded there."""
    return (PROVIDER,)
