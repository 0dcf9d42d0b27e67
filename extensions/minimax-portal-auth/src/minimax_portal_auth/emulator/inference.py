"""MiniMax's API hosts: inference, and the error replies that users have seen (CodexBar#1615, MiniMax-M2.7#36)."""

from __future__ import annotations

import datetime as dt
import secrets
from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.emulator import answers
from minimax_portal_auth.plugin import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minimax_portal_auth.emulator.accounts import AccountSpace
    from minimax_portal_auth.emulator.hosts import EmulatedHost
    from minimax_portal_auth.emulator.settings import Settings

_LOGIN_FAIL: Final = "login fail: Please carry the API secret key in the 'X-Api-Key' field of the request header"
_USED_UP: Final = "usage limit exceeded, 5-hour usage limit reached for Token Plan Starter (0/0 used), resets at {} (2056)"
_RESETS_IN: Final = dt.timedelta(hours=2)
_IDS: Final = tuple(model.id for model in MODELS)
_RETIRED: Final = frozenset(model.id for model in MODELS if model.retired_on is not None)
_PAY_AS_YOU_GO_PREFIX: Final = "sk-api-"  # a pay-as-you-go key
_LEVELS: Final = ("low", "medium", "high", "xhigh", "max")
_EMULATED_KEY: Final = "sk-emulator"


def credential(request: web.Request) -> str | None:
    """The request's credential: a bearer token, or `x-api-key`."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    bearer = value.strip() if scheme.lower() == "bearer" else ""
    return bearer or request.headers.get("x-api-key") or None


class Inference:
    """One region's models. A token of `other_space` gets its own error message."""

    def __init__(self, space: AccountSpace, other_space: AccountSpace, settings: Settings) -> None:
        self._space = space
        self._other_space = other_space
        self._settings = settings

    async def messages(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /anthropic/v1/messages."""
        return await self._answer_request(request, answers.anthropic_message, answers.anthropic_events)

    async def count_tokens(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /anthropic/v1/messages/count_tokens."""
        rejection = self._reject_credential(request)
        if rejection is not None:
            return rejection
        return web.json_response({"input_tokens": answers.answer_to(await read_body(request)).input_tokens})

    async def chat(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        return await self._answer_request(request, answers.chat_completion, answers.chat_events)

    async def responses(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /v1/responses."""
        return await self._answer_request(request, answers.response_object, answers.response_events)

    async def models(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """GET /v1/models."""
        return self._reject_credential(request) or answers.model_list(list(_IDS))

    async def agent_messages(self, request: web.Request, host: EmulatedHost) -> web.StreamResponse:
        """POST /mavis/api/v1/llm/v1/messages on the agent host. Accepts only a bearer token of MiniMax Code."""
        bearer = request.headers.get("Authorization", "").partition(" ")[2]
        client = self._space.client_of(bearer)
        if client is None or not client.standard:
            return web.json_response({"code": 401, "message": "token is required"}, status=401)
        return await self.messages(request, host)

    def knows(self, key: str) -> bool:
        """Whether `key` is a credential of this region: an issued token, or a key of the emulator."""
        if key in {self._settings.api_key, f"{_EMULATED_KEY}-{self._space.region}"}:
            return True
        return self._space.client_of(key) is not None

    async def _answer_request(
        self,
        request: web.Request,
        build_body: Callable[[answers.Answer], dict[str, object]],
        build_events: Callable[[answers.Answer], Iterator[answers.Event]],
    ) -> web.StreamResponse:
        rejection = self._reject_credential(request)
        if rejection is not None:
            return rejection
        body = await read_body(request)
        model = str(body.get("model", ""))
        rejection = self._reject_by_plan(request, model) or _reject_thinking(request.path, model, body)
        if rejection is not None:
            return rejection
        self._space.use()
        return await answers.respond(request, body, build_body, build_events)

    def _reject_credential(self, request: web.Request) -> web.Response | None:
        key = credential(request)
        if key is not None and self.knows(key):
            return None
        if self._settings.refusal == "200":
            return web.json_response({"base_resp": {"status_code": 1004, "status_msg": _LOGIN_FAIL}})
        if self._settings.refusal == "403":
            return _error(403, "authorized_error", f"{_LOGIN_FAIL} (1004)", http_code="403")
        is_other_region = key is not None and self._other_space.client_of(key) is not None
        if request.path.startswith("/v1/"):
            message = "invalid api key (2049)" if key else f"{_LOGIN_FAIL} (1004)"
            return _error(401, "authorized_error", message, http_code="401")
        message = "invalid api key (2049)" if is_other_region else "invalid api key" if key else _LOGIN_FAIL
        return _error(401, "authentication_error", message)

    def _reject_by_plan(self, request: web.Request, model: str) -> web.Response | None:
        more_fields = {"http_code": "400"} if request.path.startswith("/v1/") else {}
        if self._settings.quota == "none":
            status = {"status_code": 2062, "status_msg": "no active token plan subscription"}
            return web.json_response({"base_resp": status})
        if self._settings.quota == "exhausted":
            now = dt.datetime.fromtimestamp(self._space.mint.clock.wall_ms() // 1000, dt.UTC)
            return _error(429, "rate_limit_error", _USED_UP.format(f"{now + _RESETS_IN:%Y-%m-%dT%H:%M:%SZ}"))
        if model == self._settings.refuse_model:
            return _error(400, "invalid_request_error", f"your current plan does not support model {model} (2061)", **more_fields)
        pay_as_you_go = (credential(request) or "").startswith(_PAY_AS_YOU_GO_PREFIX)
        if model not in _IDS or (pay_as_you_go and model in _RETIRED):
            return _error(400, "invalid_request_error", f"invalid params, unknown model '{model[:80]}' (2013)", **more_fields)
        return None


def _reject_thinking(path: str, model: str, body: dict[str, object]) -> web.Response | None:
    """HTTP 400 with 2013 for a thinking option that the model's family does not support.

    Sources: platform.minimax.io/docs/api-reference/text-anthropic-api, dev.to/aihubmix (October 2026), earendil-works/pi#6658,
    esengine/DeepSeek-Reasonix#3594.
    """
    thinking, config = body.get("thinking"), body.get("output_config")
    thinking_type = thinking.get("type") if isinstance(thinking, dict) else None
    effort = config.get("effort") if isinstance(config, dict) else None
    is_chat, is_m31, is_m3 = path.startswith("/v1/chat/"), model.startswith("MiniMax-M3.1"), model.startswith("MiniMax-M3")
    if is_chat and is_m31 and thinking_type == "disabled":
        message = f"{model} requires adaptive thinking"
    elif thinking_type not in {None, "adaptive", "disabled", *(() if is_m3 else ("enabled",))}:
        message = f"invalid params, thinking.type '{str(thinking_type)[:20]}' is not supported by {model}"
    elif is_chat and is_m3 and not is_m31 and "reasoning_effort" in body:
        message = f"invalid params, reasoning_effort is not supported by {model}"
    elif is_m31 and effort is not None and effort not in _LEVELS:
        message = f"invalid params, effort must be one of {', '.join(_LEVELS)}"
    else:
        return None
    return _error(400, "invalid_request_error", f"{message} (2013)", **({"http_code": "400"} if path.startswith("/v1/") else {}))


async def read_body(request: web.Request) -> dict[str, object]:
    """The JSON object of a request.

    Raises:
        web.HTTPBadRequest: the body is not a JSON object.
    """
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text='{"type":"error","error":{"type":"invalid_request_error","message":"invalid json (2013)"}}')
    return body


def _error(status: int, kind: str, message: str, **more: str) -> web.Response:
    error = {"type": kind, "message": message, **more}
    return web.json_response({"type": "error", "error": error, "request_id": secrets.token_hex(16)}, status=status)
