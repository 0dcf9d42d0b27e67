"""MiniMax's models. A figure is here only where a public source gives it; model ids are case-sensitive.

The prices are the pay-as-you-go list prices, in US dollars per million tokens; under a plan nothing is paid per token.
"""

from __future__ import annotations

from typing import Final

from portico.plugin_api import ModelCost, ModelSpec

_LITELLM: Final = "https://docs.litellm.ai/docs/providers/minimax"
_VERCEL: Final = "https://vercel.com/ai-gateway/models/minimax-m2.1-lightning"
_MMX: Final = "mmx-cli 1.0.27 model table"
_OPENCLAW: Final = "OpenClaw extensions/minimax/model-definitions.ts"
_ANTHROPIC_API: Final = "https://platform.minimax.io/docs/api-reference/text-anthropic-api"

_CONTEXT: Final = 204_800
_OUTPUT: Final = 131_072

_LIGHTNING_NOTE: Final = "Same input price as MiniMax-M2.1, higher output price, faster."
_HIGHSPEED_NOTE: Final = "Needs a High-Speed plan."
_LEGACY_NOTE: Final = "An earlier model that MiniMax still documents; no public source gives its output limit."

MODELS: Final = (
    ModelSpec(
        id="MiniMax-M2.1",
        name="MiniMax M2.1",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.30, output=1.20, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        source=f"{_LITELLM}; {_ANTHROPIC_API}",
    ),
    ModelSpec(
        id="MiniMax-M2.1-lightning",
        name="MiniMax M2.1 Lightning",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.30, output=2.40, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        note=_LIGHTNING_NOTE,
        source=f"{_LITELLM}; {_VERCEL}",
    ),
    ModelSpec(
        id="MiniMax-M3",
        name="MiniMax M3",
        context_window=1_000_000,
        max_tokens=128_000,
        cost=ModelCost(input=0.60, output=2.40, cache_read=0.12),
        reasoning=True,
        input=("text", "image"),
        note="512K of the context is guaranteed; input beyond it costs twice. Since 2026-06 sold at 0.30/1.20 (promotion).",
        source=f"{_MMX}; {_OPENCLAW}",
    ),
    ModelSpec(
        id="MiniMax-M3.1-Flash-Preview",
        name="MiniMax M3.1 Flash Preview",
        context_window=524_288,
        max_tokens=128_000,
        reasoning=True,
        input=("text", "image"),
        note="No public source gives its price.",
        source=_MMX,
    ),
    ModelSpec(
        id="MiniMax-M2.7",
        name="MiniMax M2.7",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.30, output=1.20, cache_read=0.06, cache_write=0.375),
        reasoning=True,
        source=_OPENCLAW,
    ),
    ModelSpec(
        id="MiniMax-M2.7-highspeed",
        name="MiniMax M2.7 Highspeed",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.60, output=2.40, cache_read=0.06, cache_write=0.375),
        reasoning=True,
        note=_HIGHSPEED_NOTE,
        source=_OPENCLAW,
    ),
    ModelSpec(
        id="MiniMax-M2.5",
        name="MiniMax M2.5",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.30, output=1.20, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        source=_OPENCLAW,
    ),
    ModelSpec(
        id="MiniMax-M2.5-highspeed",
        name="MiniMax M2.5 Highspeed",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.60, output=2.40, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        note=_HIGHSPEED_NOTE,
        source=_OPENCLAW,
    ),
    ModelSpec(
        id="MiniMax-M2.1-highspeed",
        name="MiniMax M2.1 Highspeed",
        context_window=_CONTEXT,
        reasoning=True,
        note=f"{_HIGHSPEED_NOTE} No public source gives its output limit or price.",
        source=_ANTHROPIC_API,
    ),
    ModelSpec(
        id="MiniMax-M2",
        name="MiniMax M2",
        context_window=_CONTEXT,
        cost=ModelCost(input=0.30, output=1.20, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        note=_LEGACY_NOTE,
        source=f"{_LITELLM}; {_ANTHROPIC_API}",
    ),
)
