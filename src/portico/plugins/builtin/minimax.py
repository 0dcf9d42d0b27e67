"""MiniMax by API key (https://platform.minimax.io/docs/api-reference/text-anthropic-api)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.interfaces.provider_spec import KeyChoice, ProviderSpec
from portico.plugins.builtin.minimax_models import MODELS
from portico.plugins.builtin.minimax_plans import MinimaxPlans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind, RefusalKind

# One origin speaks all three (platform.minimax.io/docs/api-reference).
PATHS: Final[Mapping[ApiKind, str]] = {
    "anthropic-messages": "/anthropic",
    "openai-completions": "/v1",
    "openai-responses": "/v1",
}
# https://platform.minimax.io/docs/api-reference/errorcode; 2056 as in MiniMax-M2.7#36, 2061 and 1028, 1030 as mmx-cli 1.0.27 has
# them, 2062 as CodexBar and others have met it.
ERROR_CODES: Final[Mapping[int, RefusalKind]] = {
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
    # Global as platform.minimax.io/docs/m-plan/quickstart has it since September 2026; the page's own link leads there. No public
    # source names another page for China than the provider page's.
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
            aliases=("minimax-global-api",),  # openclaw 2026.9.6, extensions/minimax; its name for CN is the one below
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
    vendor="MiniMax",
    vendor_hint="MiniMax M2.1: OAuth with a plan, or an API key",
)
# The M Plan, earlier Coding Plan and Token Plan, as its keys reach it: in OpenClaw's variables, in its order
# (docs.openclaw.ai/concepts/usage-tracking).
PLANS: Final = MinimaxPlans("minimax", ("MINIMAX_CODE_PLAN_KEY", "MINIMAX_API_KEY"))
