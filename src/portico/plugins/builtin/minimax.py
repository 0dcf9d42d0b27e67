"""MiniMax by API key (https://platform.minimax.io/docs/api-reference/text-anthropic-api), and its models.

All values of the models have a public source; model ids are case-sensitive. The prices are the pay-as-you-go list prices, in US
dollars per million tokens; a plan has no price per token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.interfaces.plugins import KeyChoice, ModelCost, ModelSpec, PriceTier, ProviderSpec
from portico.plugins.builtin.minimax_plans import MinimaxPlans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.plugins import ApiKind, ProviderErrorKind

_LITELLM: Final = "https://docs.litellm.ai/docs/providers/minimax"
_LITELLM_TABLE: Final = "litellm 1.110.2 model_prices_and_context_window.json"
_VERCEL: Final = "https://vercel.com/ai-gateway/models/minimax-m2.1-lightning"
_VERCEL_FLASH: Final = "https://vercel.com/ai-gateway/models/minimax-m3.1-flash"
_PI: Final = "pi-ai 1.6.0 data/minimax.json"
_MMX: Final = "mmx-cli 1.0.27 model table"
_OPENCLAW: Final = "OpenClaw extensions/minimax/model-definitions.ts"
_ANTHROPIC_API: Final = "https://platform.minimax.io/docs/api-reference/text-anthropic-api"
# The retirement notice of MiniMax's models page, as quoted in October 2026; it does not mention M2.1 and M2.
_NOTICE: Final = "https://dev.to/aihubmix/fixing-requires-adaptive-thinking-2013-when-moving-from-minimax-m27-to-m31-flash-1iif"
# MiniMax's staff, in March and in June 2026: M2, M2.1 and M2.5 are no longer available.
_STAFF: Final = "earendil-works/pi#2596; CherryHQ/cherry-studio#15580"
_PREVIEW: Final = "https://github.com/VladoIvankovic/Codeep/releases/tag/v3.14.0"

_CONTEXT: Final = 204_800
_OUTPUT: Final = 131_072
_NOW: Final = "MiniMax-M3.1-Flash"
_RETIRED_ON: Final = "2026-11-18"

_DOUBTFUL: Final = f"MiniMax may no longer serve it. If MiniMax rejects it, use {_NOW}."
_LIGHTNING_NOTE: Final = f"Same input price as MiniMax-M2.1, higher output price, faster. {_DOUBTFUL}"
_LEGACY_NOTE: Final = f"An earlier model that MiniMax still documents; no public source gives its output limit. {_DOUBTFUL}"
_RETIRED_NOTE: Final = f"Retired on {_RETIRED_ON}: with a plan {_NOW} answers instead; a pay-as-you-go key is rejected."


def _retired(id: str, name: str, cost: ModelCost) -> ModelSpec:
    return ModelSpec(
        id=id,
        name=name,
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=cost,
        reasoning=True,
        note=_RETIRED_NOTE,
        source=f"{_OPENCLAW}; {_NOTICE}",
        retired_on=_RETIRED_ON,
        successor=_NOW,
    )


MODELS: Final = (
    ModelSpec(
        id="MiniMax-M2.1",
        name="MiniMax M2.1",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.30, output=1.20, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        note=_DOUBTFUL,
        source=f"{_LITELLM}; {_ANTHROPIC_API}; {_STAFF}",
        successor=_NOW,
    ),
    ModelSpec(
        id="MiniMax-M2.1-lightning",
        name="MiniMax M2.1 Lightning",
        context_window=_CONTEXT,
        max_tokens=_OUTPUT,
        cost=ModelCost(input=0.30, output=2.40, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        note=_LIGHTNING_NOTE,
        source=f"{_LITELLM}; {_VERCEL}; {_STAFF}",
        successor=_NOW,
    ),
    ModelSpec(
        id=_NOW,
        name="MiniMax M3.1 Flash",
        context_window=1_000_000,
        max_tokens=524_288,
        cost=ModelCost(input=0.15, output=0.60, cache_read=0.015),
        reasoning=True,
        input=("text", "image", "video"),
        note="It always thinks, by default at the highest level; the lowest is --effort low.",
        source=f"{_PI}; {_VERCEL_FLASH}",
    ),
    ModelSpec(
        id="MiniMax-M3",
        name="MiniMax M3",
        context_window=1_000_000,
        max_tokens=524_288,
        # The discount of June 2026, now permanent.
        cost=ModelCost(
            input=0.30,
            output=1.20,
            cache_read=0.06,
            tiers=(PriceTier(input_above=512_000, input=0.60, output=2.40, cache_read=0.12),),
        ),
        reasoning=True,
        input=("text", "image", "video"),
        note="A request with more than 512,000 input tokens costs twice as much.",
        source=f"{_PI}; {_LITELLM_TABLE}; {_ANTHROPIC_API}",
    ),
    ModelSpec(
        id="MiniMax-M3.1-Flash-Preview",
        name="MiniMax M3.1 Flash Preview",
        context_window=524_288,
        max_tokens=128_000,
        reasoning=True,
        input=("text", "image"),
        note=f"Retired in October 2026: {_NOW} answers instead. No public source gives its price.",
        source=f"{_MMX}; {_PREVIEW}",
        retired_on="2026-10",
        successor=_NOW,
    ),
    _retired("MiniMax-M2.7", "MiniMax M2.7", ModelCost(0.30, 1.20, 0.06, 0.375)),
    _retired("MiniMax-M2.7-highspeed", "MiniMax M2.7 Highspeed", ModelCost(0.60, 2.40, 0.06, 0.375)),
    _retired("MiniMax-M2.5", "MiniMax M2.5", ModelCost(0.30, 1.20, 0.03, 0.375)),
    _retired("MiniMax-M2.5-highspeed", "MiniMax M2.5 Highspeed", ModelCost(0.60, 2.40, 0.03, 0.375)),
    ModelSpec(
        id="MiniMax-M2.1-highspeed",
        name="MiniMax M2.1 Highspeed",
        context_window=_CONTEXT,
        reasoning=True,
        note=f"Needs a High-Speed plan. No public source gives its output limit or price. {_DOUBTFUL}",
        source=f"{_ANTHROPIC_API}; {_STAFF}",
        successor=_NOW,
    ),
    ModelSpec(
        id="MiniMax-M2",
        name="MiniMax M2",
        context_window=_CONTEXT,
        cost=ModelCost(input=0.30, output=1.20, cache_read=0.03, cache_write=0.375),
        reasoning=True,
        note=_LEGACY_NOTE,
        source=f"{_LITELLM}; {_ANTHROPIC_API}; {_STAFF}",
        successor=_NOW,
    ),
)


# One origin serves all three protocols (platform.minimax.io/docs/api-reference).
PATHS: Final[Mapping[ApiKind, str]] = {
    "anthropic-messages": "/anthropic",
    "openai-completions": "/v1",
    "openai-responses": "/v1",
}
# https://platform.minimax.io/docs/api-reference/errorcode; 2056 from MiniMax-M2.7#36; 2061, 1028 and 1030 from mmx-cli 1.0.27;
# 2062 from CodexBar and others.
ERROR_CODES: Final[Mapping[int, ProviderErrorKind]] = {
    1000: "server",
    1001: "timeout",
    1002: "rate-limit",
    1004: "auth",
    1008: "billing",
    1024: "server",
    1026: "content",
    1027: "content",
    1028: "plan-used-up",
    1030: "plan-used-up",
    1033: "server",
    1039: "rate-limit",
    1041: "rate-limit",
    1042: "invalid-request",
    2013: "invalid-request",
    2045: "rate-limit",
    2049: "auth",
    2056: "plan-used-up",
    2061: "plan-lacks-model",
    2062: "no-plan",
}

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
    region_env="MINIMAX_REGION",
    models=MODELS,
    paths=PATHS,
    error_codes=ERROR_CODES,
    # Global: from platform.minimax.io/docs/m-plan/quickstart since September 2026; the provider page's link redirects to the same
    # page. China: from the provider page, the only public source.
    subscribe_urls={
        "global": "https://platform.minimax.io/console/plan",
        "cn": "https://platform.minimaxi.com/subscribe/coding-plan",
    },
    key_choices=(
        KeyChoice(
            "minimax-api",
            "MiniMax M2.1",
            "MiniMax-M2.1",
            "API key, Global: api.minimax.io",
            "global",
            aliases=("minimax-global-api",),  # openclaw 2026.9.6, extensions/minimax; for CN it uses the id below
        ),
        KeyChoice(
            "minimax-api-lightning",
            "MiniMax M2.1 Lightning",
            "MiniMax-M2.1-lightning",
            "API key, Global; faster, higher output cost",
            "global",
        ),
        KeyChoice("minimax-cn-api", "MiniMax M2.1 (CN)", "MiniMax-M2.1", "API key, CN: api.minimaxi.com", "cn"),
    ),
    sign_in_choices=("minimax-portal",),
    group="MiniMax",
    group_hint="MiniMax M2.1: OAuth with a plan, or an API key",
)
# The M Plan, earlier Coding Plan and Token Plan. The variables and their order are OpenClaw's
# (docs.openclaw.ai/concepts/usage-tracking).
PLANS: Final = MinimaxPlans("minimax", ("MINIMAX_CODE_PLAN_KEY", "MINIMAX_API_KEY"))
