"""One question, one streamed answer, over the Anthropic Messages protocol.

https://docs.anthropic.com/en/api/messages-streaming: server-sent events; text arrives in `content_block_delta`, and only
`message_stop` makes an answer complete.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError, NetworkError, SignInNeeded, UsageError
from portico.models.reference import did_you_mean
from portico.models.server_events import read_events
from portico.secret import Secret, redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse

    from portico.auth.broker import TokenBroker
    from portico.models.http import ModelHttp
    from portico.models.loader import CallableModel

API_VERSION: Final = "2023-06-01"
_MAX_TOKENS: Final = 8192
_ERROR_BODY_LIMIT: Final = 64 * 1024
_SHOWN_LIMIT: Final = 300
_UNAUTHORIZED: Final = 401
_NO_SUCH: Final = (400, 404)  # MiniMax answers 400 "unknown model" (2013), Anthropic 404 "model: ..."
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_REDIRECT: Final = range(300, 400)


async def stream_answer(model: CallableModel, question: str, *, http: ModelHttp, broker: TokenBroker) -> AsyncIterator[str]:
    """The answer's text, piece by piece.

    A token that the provider refuses is refreshed once and the question sent once more.

    Raises:
        SignInNeeded: no credential, or the provider refuses it also when fresh.
        NetworkError: `rate-limited`, `provider-failed`, `provider-refused`, or `answer-cut` in the middle of a stream.
        UsageError: `unknown-model`: neither the catalogue nor the provider knows it.
        ConfigError: `protocol-unknown`: the model is not served over this protocol.
    """
    if model.api != "anthropic-messages":
        raise ConfigError(
            "protocol-unknown",
            f"{model.reference} is served over {model.api}, which `ask` does not speak.",
            hint=f"Set models.providers.{model.reference.provider}.api to anthropic-messages, with the base URL for it.",
        )
    response = await _send(model, question, http=http, broker=broker)
    async with response:
        async for piece in _text(response, model):
            yield piece


async def _send(model: CallableModel, question: str, *, http: ModelHttp, broker: TokenBroker) -> ClientResponse:
    if model.profile_id is None:
        response = await _post(model, question, model.key, http)
        return await _accepted(response, model, model.key)
    token = await broker.access(model.profile_id)
    response = await _post(model, question, token.token, http)
    if response.status == _UNAUTHORIZED:
        response.release()
        token = await broker.access(model.profile_id, rejected_generation=token.generation)
        response = await _post(model, question, token.token, http)
    return await _accepted(response, model, token.token)


async def _post(model: CallableModel, question: str, key: Secret | None, http: ModelHttp) -> ClientResponse:
    return await http.post(messages_url(model.base_url), body=_body(model, question), headers=_headers(model, key))


def messages_url(base_url: str) -> str:
    """Where messages go under an API base, with or without its version."""
    return f"{base_url}/messages" if base_url.endswith("/v1") else f"{base_url}/v1/messages"


def _body(model: CallableModel, question: str) -> dict[str, object]:
    limit = min(model.spec.max_tokens or _MAX_TOKENS, _MAX_TOKENS)
    messages = [{"role": "user", "content": question}]
    return {"model": model.reference.model, "max_tokens": limit, "stream": True, "messages": messages}


def _headers(model: CallableModel, key: Secret | None) -> dict[str, str]:
    headers = {**model.headers, "anthropic-version": API_VERSION, "accept": "text/event-stream"}
    if key is None:
        return headers
    if model.auth_header == "x-api-key":
        return {**headers, "x-api-key": key.reveal()}
    return {**headers, "Authorization": f"Bearer {key.reveal()}"}


async def _accepted(response: ClientResponse, model: CallableModel, key: Secret | None) -> ClientResponse:
    if response.ok and response.status not in _REDIRECT:
        return response
    async with response:
        raw = await response.content.read(_ERROR_BODY_LIMIT)
    raise _refusal(response.status, shown(_message(raw), key), model)


def _refusal(status: int, message: str, model: CallableModel) -> NetworkError | SignInNeeded | UsageError:
    said = f"{status}: {message}" if message else f"HTTP {status}"
    name = model.reference.provider
    if status in _NO_SUCH and "model" in message.lower() and not model.listed:
        hint = did_you_mean(model.near) or "{prog} models list --all"
        return UsageError("unknown-model", f"Unknown model: {model.reference}", why=f"{name} answers {said}", hint=hint)
    if status == _UNAUTHORIZED:
        return SignInNeeded(
            "credential-refused",
            f"{name} refuses the credential from {model.source}.",
            why=said,
            hint="An account of the other region is refused the same way: {prog} auth list --verbose shows the region. "
            "Sign in again: {prog} onboard --auth-choice minimax-portal",
        )
    if status == _TOO_MANY:
        return NetworkError("rate-limited", f"{name} answers that the limit is reached.", why=said)
    if status >= _SERVER_ERROR:
        return NetworkError("provider-failed", f"{name} failed.", why=said, hint="Try again in a moment.")
    return NetworkError("provider-refused", f"{name} refused the request.", why=said)


async def _text(response: ClientResponse, model: CallableModel) -> AsyncIterator[str]:
    from aiohttp import ClientError

    try:
        async for data in read_events(response.content.iter_any()):
            event = _event(data)
            if event.get("type") == "message_stop":
                return
            if event.get("type") == "error":
                raise NetworkError("answer-cut", "The answer broke off.", why=shown(_message(data.encode())))
            delta = event.get("delta")
            if isinstance(delta, dict) and isinstance(delta.get("text"), str):
                yield delta["text"]
    except (ClientError, TimeoutError, OSError) as exc:
        raise NetworkError("answer-cut", "The answer broke off.", why=str(exc) or type(exc).__name__) from exc
    raise NetworkError("answer-cut", "The answer broke off.", why=f"{model.reference.provider} closed the stream before its end")


def _event(data: str) -> dict[str, Any]:
    try:
        event = json.loads(data)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}


def _message(raw: bytes) -> str:
    """The provider's own words: `error.message` (Anthropic's and OpenAI's shape), else the body's start."""
    text = raw.decode(errors="replace")
    error = _event(text).get("error")
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])
    return text


def shown(text: str, *known: Secret | None) -> str:
    """Received text, fit for a terminal: no control characters, no credential, at most 300 characters."""
    safe = redact(text, *(secret for secret in known if secret is not None))
    return "".join(each if each.isprintable() else " " for each in safe[:_SHOWN_LIMIT]).strip()
