"""The public clients that MiniMax's account service knows, and what each asks for.

All are public clients without a secret; MiniMax registers them per product and offers no self-registration. Which of them a user
signs in as is the user's choice (`clientId` in the plugin's config); a known id brings the scope, the audience and the dialect
that its own product uses.

Sources: OpenClaw's `extensions/minimax` (family A), MiniMax's `mmx-cli` 1.0.27 and its opencode plugin (family B), MiniMax's
`minimax-code`, packages/oauth-core (family C).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

OPENCLAW_CLIENT: Final = "78257093-7e40-4613-99e0-527b14b39113"
MMX_CLIENT: Final = "659cf4c1-615c-45f6-a5f6-4bf15eb476e5"
OPENCODE_CLIENT: Final = "d38bdbee-2b8c-4c74-9a9c-5875fabe6317"
MCODE_CLIENT: Final = "mcode-public"

USER_CODE: Final = "minimax-user-code"
USER_CODE_8628: Final = "minimax-user-code-8628"
DEVICE_CODE: Final = "minimax-device-code"


@dataclass(frozen=True, slots=True)
class Family:
    """What one product's client sends. `accounts` and `api_bases` name the regions where they differ from the portal's own."""

    product: str
    scope: str
    dialect: str
    audience: str | None = None
    accounts: Mapping[str, str] = field(default_factory=dict)
    api_bases: Mapping[str, str] = field(default_factory=dict)


_PLAN_SCOPE: Final = "openid profile coding_plan"

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(
    {
        OPENCLAW_CLIENT: Family("OpenClaw", "group_id profile model.completion", USER_CODE),
        MMX_CLIENT: Family("MiniMax CLI", _PLAN_SCOPE, USER_CODE_8628),
        OPENCODE_CLIENT: Family("opencode", _PLAN_SCOPE, USER_CODE_8628),
        MCODE_CLIENT: Family(
            "MiniMax Code",
            "agent.default",
            DEVICE_CODE,
            audience="agent-backend",
            accounts=MappingProxyType({"cn": "https://account.minimax.cn"}),
            api_bases=MappingProxyType(
                {
                    "global": "https://agent.minimax.io/mavis/api/v1/llm",
                    "cn": "https://agent.minimax.cn/mavis/api/v1/llm",
                }
            ),
        ),
    }
)
