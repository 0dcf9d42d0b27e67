"""MiniMax by API key (https://platform.minimax.io/docs/api-reference/text-anthropic-api)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import ModelCost, ModelSpec, ProviderSpec, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

_SOURCE: Final = "https://platform.minimax.io/docs/api-reference/text-anthropic-api"
_M2_1_PRICES: Final = "https://docs.litellm.ai/docs/providers/minimax"
_LIGHTNING: Final = "faster than M2.1: the same input price, a higher output price"
_CONTEXT: Final = 204_800


_OUTPUT: Final = 131_072


def _model(id: str, name: str, cost: ModelCost, *, note: str | None = None, source: str = _SOURCE) -> ModelSpec:
    return ModelSpec(id, name, _CONTEXT, _OUTPUT, cost, reasoning=True, note=note, source=source)


PROVIDER: Final = ProviderSpec(
    id="minimax",
    label="MiniMax (API key)",
    api="anthropic-messages",
    base_urls={"global": "https://api.minimax.io/anthropic", "cn": "https://api.minimaxi.com/anthropic"},
    hosts={
        "global": frozenset({"api.minimax.io"}),
        "cn": frozenset({"api.minimaxi.com", "api.minimax.cn"}),
    },
    env_keys=("MINIMAX_API_KEY",),
    models=(
        _model("MiniMax-M2.1", "MiniMax M2.1", ModelCost(0.3, 1.2, 0.03, 0.375), source=_M2_1_PRICES),
        _model(
            "MiniMax-M2.1-lightning",
            "MiniMax M2.1 Lightning",
            ModelCost(0.3, 2.4, 0.03, 0.375),
            note=_LIGHTNING,
            source=_M2_1_PRICES,
        ),
        _model("MiniMax-M2.5", "MiniMax M2.5", ModelCost(0.3, 1.2, 0.03, 0.375)),
        _model("MiniMax-M2.5-highspeed", "MiniMax M2.5 Highspeed", ModelCost(0.6, 2.4, 0.03, 0.375)),
        _model("MiniMax-M2.7", "MiniMax M2.7", ModelCost(0.3, 1.2, 0.06, 0.375)),
        _model("MiniMax-M2.7-highspeed", "MiniMax M2.7 Highspeed", ModelCost(0.6, 2.4, 0.06, 0.375)),
    ),
)


@hookimpl
def portico_providers() -> Iterable[ProviderSpec]:
    """MiniMax, Global and CN."""
    return (PROVIDER,)
