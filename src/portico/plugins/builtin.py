"""The built-in providers, which use the same hooks as a plugin.

This module contains only numbers that a public source states. Model ids are case-sensitive. MiniMax's prices are the
pay-as-you-go list prices (https://platform.minimax.io/docs/api-reference/text-anthropic-api), in US dollars per million tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.interfaces.plugins import KeyChoice, ModelCost, ModelSpec, PriceTier, ProviderSpec
from portico.plugins.minimax_plans import MinimaxPlans
from portico.plugins.spec import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from portico.interfaces.plugins import ApiKind, PlanReader, ProviderErrorKind

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


MINIMAX_MODELS: Final = (
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
        # The discounted price of June 2026, now permanent.
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
MINIMAX_PATHS: Final[Mapping[ApiKind, str]] = {
    "anthropic-messages": "/anthropic",
    "openai-completions": "/v1",
    "openai-responses": "/v1",
}
# https://platform.minimax.io/docs/api-reference/errorcode; 2056 from MiniMax-M2.7#36; 2061, 1028 and 1030 from mmx-cli 1.0.27;
# 2062 from CodexBar and others.
MINIMAX_ERROR_CODES: Final[Mapping[int, ProviderErrorKind]] = {
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

MINIMAX: Final = ProviderSpec(
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
    models=MINIMAX_MODELS,
    paths=MINIMAX_PATHS,
    error_codes=MINIMAX_ERROR_CODES,
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
MINIMAX_PLANS: Final = MinimaxPlans("minimax", ("MINIMAX_CODE_PLAN_KEY", "MINIMAX_API_KEY"))

# https://docs.anthropic.com/en/api/messages
_OPUS: Final = ModelSpec(
    "claude-opus-4-6",
    "Claude Opus 4.6",
    1_000_000,
    128_000,
    ModelCost(5.0, 25.0, 0.5, 6.25),
    reasoning=True,
    input=("text", "image"),
    source="https://platform.claude.com/docs/en/models/opus-4-6/overview",
)
ANTHROPIC: Final = ProviderSpec(
    id="anthropic",
    label="Anthropic",
    api="anthropic-messages",
    base_urls={"": "https://api.anthropic.com"},
    hosts={"": frozenset({"api.anthropic.com"})},
    env_keys=("ANTHROPIC_API_KEY",),
    auth_header="x-api-key",
    paths={"anthropic-messages": ""},
    key_choices=(KeyChoice("anthropic-api", "Anthropic API key", _OPUS.id, _OPUS.name),),
    models=(_OPUS,),
)

# https://platform.openai.com/docs/api-reference/chat. Only the config lists its models.
OPENAI: Final = ProviderSpec(
    id="openai",
    label="OpenAI",
    api="openai-completions",
    base_urls={"": "https://api.openai.com/v1"},
    hosts={"": frozenset({"api.openai.com"})},
    env_keys=("OPENAI_API_KEY",),
    paths={"openai-completions": "/v1", "openai-responses": "/v1"},
    key_choices=(KeyChoice("openai-api", "OpenAI API key", "", "you choose the model"),),
)

# https://lmstudio.ai/docs/developer/openai-compat. Its models are those loaded in LM Studio. OpenClaw's provider page and
# wizard set up this model.
_LOCAL: Final = ModelSpec(
    "minimax-m2.1-gs32",
    "MiniMax M2.1 GS32",
    196_608,
    8192,
    ModelCost(0.0, 0.0),
    source="https://docs.openclaw.ai/providers/minimax",
)
LMSTUDIO: Final = ProviderSpec(
    id="lmstudio",
    label="LM Studio",
    api="openai-responses",
    base_urls={"": "http://127.0.0.1:1234/v1"},
    hosts={"": frozenset({"127.0.0.1", "localhost"})},
    placeholder_key="lmstudio",
    needs_credential=False,
    paths={"openai-responses": "/v1", "openai-completions": "/v1"},
    key_choices=(
        KeyChoice("lmstudio", "LM Studio (local)", _LOCAL.id, "MiniMax M2.1 on this machine", needs_key=False, spec=_LOCAL),
    ),
)


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """A plugin with one provider."""

    spec: ProviderSpec

    @hookimpl
    def portico_providers(self) -> Iterable[ProviderSpec]:
        return (self.spec,)


@dataclass(frozen=True, eq=False)
class BuiltInWithPlans(BuiltIn):
    """A plugin with one provider and the reader of its plans."""

    plans: PlanReader

    @hookimpl
    def portico_plan_readers(self) -> Iterable[PlanReader]:
        return (self.plans,)


BUILT_IN: Final[Mapping[str, BuiltIn]] = {
    each.spec.id: each
    for each in (BuiltInWithPlans(MINIMAX, MINIMAX_PLANS), BuiltIn(ANTHROPIC), BuiltIn(OPENAI), BuiltIn(LMSTUDIO))
}


def built_in(id: str) -> ProviderSpec:
    """Return a built-in provider, as a base for a plugin that adds a sign-in.

    Raises:
        ValueError: there is no built-in provider with this id.
    """
    if id not in BUILT_IN:
        raise ValueError(f"there is no built-in provider {id}; the built-in providers are {', '.join(BUILT_IN)}")
    return BUILT_IN[id].spec


def built_in_plans(id: str, *, provider: str, env_keys: tuple[str, ...] = ()) -> PlanReader:
    """Return the plan reader of a built-in provider, for the accounts of `provider` at the same service.

    `env_keys` are the variables for a credential of `provider`.

    Raises:
        ValueError: there is no built-in provider with this id and plans.
    """
    if id != MINIMAX.id:
        raise ValueError(f"there is no built-in provider {id} with plans")
    return replace(MINIMAX_PLANS, provider=provider, env_keys=env_keys)
