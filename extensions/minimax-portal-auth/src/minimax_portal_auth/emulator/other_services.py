"""Other services beside MiniMax: Anthropic's API, and a local LM Studio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.emulator import answers
from minimax_portal_auth.emulator.inference import read_body

if TYPE_CHECKING:
    from minimax_portal_auth.emulator.hosts import EmulatedHost
    from minimax_portal_auth.emulator.settings import Settings

LM_STUDIO_MODEL: Final = "minimax-m2.1-gs32"
_CLAUDE: Final = "claude-opus-4-6"
_OVERLOADED: Final = 529


class Anthropic:
    """api.anthropic.com. Accepts any key that looks like an Anthropic key."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def messages(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /v1/messages."""
        if not request.headers.get("x-api-key", "").startswith("sk-ant-"):
            return _anthropic_error(401, "authentication_error", "invalid x-api-key")
        if self._settings.anthropic == "overloaded":
            return _anthropic_error(_OVERLOADED, "overloaded_error", "Overloaded")
        return await answers.respond(request, await read_body(request), answers.anthropic_message, answers.anthropic_events)

    async def models(self, _request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """GET /v1/models."""
        return web.json_response({"data": [{"type": "model", "id": _CLAUDE, "display_name": "Claude Opus"}], "has_more": False})


class LmStudio:
    """A local LM Studio: OpenAI's APIs, without a key, for any model name."""

    async def chat(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        return await answers.respond(request, await read_body(request), answers.chat_completion, answers.chat_events)

    async def responses(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /v1/responses."""
        return await answers.respond(request, await read_body(request), answers.response_object, answers.response_events)

    async def models(self, _request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """GET /v1/models."""
        return answers.model_list([LM_STUDIO_MODEL])


def _anthropic_error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"type": kind, "message": message}}, status=status)
