"""The variables and arguments that make a tool use the gateway, from each tool's public documentation.

A value may contain `{url}`, `{key}` and `{model}`. An argument never contains the key: other processes can read arguments.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.secret import Secret

# The SDKs of both vendors read these (https://github.com/anthropics/anthropic-sdk-python, https://github.com/openai/openai-python),
# and litellm, which aider uses, reads OPENAI_API_BASE (https://aider.chat/docs/llms/openai-compat.html).
FOR_ALL: Final[Mapping[str, str]] = {
    "ANTHROPIC_BASE_URL": "{url}",
    "ANTHROPIC_AUTH_TOKEN": "{key}",
    "ANTHROPIC_MODEL": "{model}",
    "OPENAI_BASE_URL": "{url}/v1",
    "OPENAI_API_BASE": "{url}/v1",
    "OPENAI_API_KEY": "{key}",
    "PORTICO_GATEWAY_URL": "{url}",
    "PORTICO_GATEWAY_KEY": "{key}",
    "PORTICO_MODEL": "{model}",
}
# If the user has set these, tools would send the user's key to the gateway instead of the gateway key.
TAKEN_OUT: Final = ("ANTHROPIC_API_KEY",)


@dataclass(frozen=True, slots=True)
class Tool:
    """The variables and arguments of one tool, in addition to `FOR_ALL`. `arguments` come before the user's own."""

    variables: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()


_OPENCODE: Final = {
    "provider": {
        "portico": {
            "npm": "@ai-sdk/openai-compatible",
            "name": "Portico",
            "options": {"baseURL": "{url}/v1", "apiKey": "{env:PORTICO_GATEWAY_KEY}"},
            "models": {"{model}": {}},
        }
    },
    "model": "portico/{model}",
    "small_model": "portico/{model}",
}
TOOLS: Final[Mapping[str, Tool]] = {
    # https://code.claude.com/docs/en/env-vars: which models its own model names mean, including the small model.
    "claude": Tool(
        {
            "ANTHROPIC_DEFAULT_OPUS_MODEL": "{model}",
            "ANTHROPIC_DEFAULT_SONNET_MODEL": "{model}",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "{model}",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
    ),
    # https://developers.openai.com/codex/config-advanced: a custom provider, which uses the Responses API.
    "codex": Tool(
        arguments=(
            *("-c", 'model_provider="portico"'),
            *("-c", 'model_providers.portico.name="Portico"'),
            *("-c", 'model_providers.portico.base_url="{url}/v1"'),
            *("-c", 'model_providers.portico.env_key="PORTICO_GATEWAY_KEY"'),
            *("-c", 'model_providers.portico.wire_api="responses"'),
            *("-c", 'model="{model}"'),
        )
    ),
    # https://aider.chat/docs/config/options.html: each option has a variable; `openai/` chooses the protocol.
    "aider": Tool({"AIDER_MODEL": "openai/{model}", "AIDER_WEAK_MODEL": "openai/{model}"}),
    # https://opencode.ai/docs/config: the value of this variable overrides the files.
    "opencode": Tool({"OPENCODE_CONFIG_CONTENT": json.dumps(_OPENCODE)}),
}


def variables(url: str, key: Secret, model: str, tool: str = "") -> dict[str, str]:
    """The variables for this tool; without a name, for any tool. `url` is the gateway's URL without a path."""
    known = TOOLS.get(tool, Tool())
    return {
        name: _filled(value, url, model).replace("{key}", key.reveal()) for name, value in {**FOR_ALL, **known.variables}.items()
    }


def arguments(url: str, model: str, tool: str) -> list[str]:
    """The arguments for this tool, to put before the user's own."""
    return [_filled(argument, url, model) for argument in TOOLS.get(tool, Tool()).arguments]


def _filled(text: str, url: str, model: str) -> str:
    return text.replace("{url}", url).replace("{model}", model)
