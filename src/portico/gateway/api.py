"""The gateway's API for requests with a key: forward to models, list models, show metrics; and the connection to the client.

`GET /v1/models` returns one list with the fields of both APIs. OpenAI's: https://platform.openai.com/docs/api-reference/models.
Anthropic's: https://docs.claude.com/en/api/models-list.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import responses
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import rfc822_formatted_time
from multidict import CIMultiDict

from portico.errors import ConfigError, PorticoError, UsageError
from portico.gateway import access
from portico.gateway.access import METRICS, MODELS, ROUTES, ShareUsed, meant_by
from portico.gateway.forward import Call, Forward, NoAnswer
from portico.gateway.keys import owner
from portico.gateway.metrics import CONTENT_TYPE
from portico.gateway.replies import (
    error_body,
    is_long,
    one_line,
    provider_error_headers,
    status_of,
    status_of_provider_error,
    to_provider,
)
from portico.gateway.request_body import LIMIT, LONGEST_NAME, read_in_turn
from portico.net.server import receiving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.gateway.access import Lease, Route, Shares
    from portico.gateway.forward import Parts
    from portico.gateway.keys import KeyInfo
    from portico.gateway.metrics import Metrics, Outcome
    from portico.gateway.router import Candidates, LiveModels, Reloading
    from portico.interfaces.plugins import ApiKind
    from portico.models.loader import CallableModel

# The headers are in memory three times: as received, as text, and as forwarded.
_HEAD_COPIES: Final = 3
# Memory for a body of unknown length is counted in steps of so many bytes.
_MEMORY_STEP: Final = 256 << 10
_NO_CONTENT: Final = 204
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class NoModels(UsageError):
    """The config cannot be read, so the gateway knows no models."""

    id = "no-models"


class BadRequest(Exception):
    """An invalid request, with the status and the error id of the response."""

    def __init__(self, status: int, id: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.id = id
        self.message = message
        self.headers = headers


def share_error(used: ShareUsed) -> BadRequest:
    """The error for a key that has used up its share. The SDKs of both vendors wait and retry."""
    headers = {"Retry-After": "1", "x-should-retry": "true"}
    if used.what == "requests":
        return BadRequest(429, "too-many-requests", "This gateway key has too many requests at once.", **headers)
    return BadRequest(503, "bodies-too-large", "The request bodies of this gateway key use too much memory at once.", **headers)


async def delivered(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Send the response if it was not sent yet. Return it after the client's connection has taken the whole response."""
    if not isinstance(response, (SentAnswer, AnswerStream)):
        await response.prepare(request)
        await response.write_eof()
    return response


async def received_body(request: web.BaseRequest, lease: Lease) -> bytes | bytearray:
    """Read the whole body. Its memory is counted in advance if the length is known, else as the body arrives.

    Raises:
        BadRequest: 408 if it does not arrive or is too slow, 413 if it is too long, 400 if it ends early.
        ShareUsed: there is no memory for it.
    """
    length = request.content_length
    if length is not None and length > LIMIT:
        raise _too_long()
    head_size = len(b"".join(chain.from_iterable(request.raw_headers)))
    await lease.hold((length or 0) + _HEAD_COPIES * head_size)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    if request.content.is_eof():
        data = request.content.read_nowait()
        if len(data) != length:
            await lease.hold(len(data) - (length or 0))
        return data
    with receiving(request):
        return await _read_chunks(request, lease, length or 0)


async def _read_chunks(request: web.BaseRequest, lease: Lease, counted: int) -> bytearray:
    """Read the body in chunks. The memory of `counted` bytes is already counted."""
    limits, start = lease.limits, time.monotonic()
    data = bytearray()
    left_s = 0.0
    try:
        while True:
            left_s = start + limits.seconds_for(len(data)) - time.monotonic()
            async with asyncio.timeout(min(limits.silence_s, left_s)):
                chunk = await request.content.readany()
            if not chunk:
                return data
            if len(data) + len(chunk) > LIMIT:
                raise _too_long()
            if len(data) + len(chunk) > counted:
                step = min(max(len(chunk), _MEMORY_STEP), LIMIT - counted)
                await lease.hold(step)
                counted += step
            data += chunk
    except TimeoutError:
        is_silent = limits.silence_s <= left_s
        why = f"The client sent no part of the body for {limits.silence_s:g} s." if is_silent else "The body arrives too slowly."
        raise BadRequest(408, "body-late", why) from None
    except web.RequestPayloadError:
        raise BadRequest(400, "body-broken", "The body cannot be read.") from None


class AnswerStream(web.StreamResponse):
    """A streamed response without a `Server` header. Its headers are sent together with its first chunk."""

    _send_headers_immediately = False

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class SentAnswer(web.StreamResponse):
    """A response that `AiohttpClient.send` has already sent."""

    def __init__(self, *, keeps_open: bool) -> None:
        super().__init__()
        self._keeps_open = keeps_open

    @property
    def keep_alive(self) -> bool:
        return self._keeps_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Do nothing: the headers were sent."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: the body was sent."""


_SENT: Final = {keeps_open: SentAnswer(keeps_open=keeps_open) for keeps_open in (False, True)}


class AiohttpClient:
    """`ClientSide` for one request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response: web.StreamResponse | None = None

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        request = self._request
        keeps_open, version, writer = request.keep_alive, request.version, request.writer
        self.response = _SENT[keeps_open]
        head = CIMultiDict(headers)
        head[hdrs.CACHE_CONTROL], head[hdrs.DATE] = "no-store", rfc822_formatted_time()
        if keeps_open is not (version >= HttpVersion11):
            head[hdrs.CONNECTION] = "keep-alive" if keeps_open else "close"
        if status != _NO_CONTENT:
            head[hdrs.CONTENT_LENGTH] = str(len(body))
        await writer.write_headers(f"HTTP/{version[0]}.{version[1]} {status} {responses.get(status, '')}", head)
        await writer.write_eof(body)

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        response = AnswerStream(status=status, headers={**headers, "Cache-Control": "no-store"})
        if self._request.version >= (1, 1):
            response.enable_chunked_encoding()
        else:
            response.force_close()
        self.response = response
        await response.prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        assert self.response is not None  # noqa: S101 - `begin` was called
        await self.response.write(chunk)

    async def end(self) -> None:
        assert self.response is not None  # noqa: S101 - `begin` was called
        await self.response.write_eof()

    def abort(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._request.version < (1, 1):
            # Without chunked encoding, only a reset shows the client that the body is incomplete.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _too_long() -> BadRequest:
    return BadRequest(413, "body-too-long", f"The body is longer than {LIMIT >> 20} MiB.")


# Both APIs require a date, but no public source has a date for every model.
_UNKNOWN_DATE: Final = "1970-01-01T00:00:00Z"


def model_list(models: LiveModels) -> dict[str, object]:
    """The list of models that can be called now: by reference, by alias, and by the names in `gateway.models`."""
    ready = {str(model.reference): model for model in models.ready()}
    entries = {name: _entry(name, model) for name, model in ready.items()}
    for alias, reference in models.loader.catalog.aliases.items():
        if str(reference) in ready:
            entries.setdefault(alias, _entry(alias, ready[str(reference)]))
    for name, text in models.names.items():
        with suppress(UsageError):  # a name without a model is left out here; `doctor` reports it
            model = ready.get(str(models.loader.catalog.expand(text))) if not name.endswith("*") else None
            if model is not None:
                entries[name] = _entry(name, model)
    data = [*entries.values()]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": False, **ends}


def one_model(models: LiveModels, name: str) -> dict[str, object] | None:
    """The entry of one name in the list of models; None if the list does not have this name.

    Raises:
        SignInNeeded: the model's provider has no credential.
    """
    listed = model_list(models)["data"]
    assert isinstance(listed, list)  # noqa: S101 - made above
    found = next((entry for entry in listed if entry["id"] == name), None)
    if found is None:
        with suppress(UsageError, ConfigError):  # no model has this name
            models.loader.load(models.meant(name))
    return found


def _entry(name: str, model: CallableModel) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": _UNKNOWN_DATE,
        "owned_by": model.reference.provider,
        "display_name": model.spec.name,
    }


_LONGEST_QUERY: Final = 2048
_log: Final = logging.getLogger("portico.gateway")


@dataclass(frozen=True, slots=True)
class Front:
    """Answers requests. `models` and `keys` are read again when their files change. `started_at` is in ms since the epoch."""

    models: Reloading[LiveModels | None]
    keys: Reloading[tuple[KeyInfo, ...]]
    parts: Parts
    metrics: Metrics
    started_at: int
    shares: Shares

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request that `access.rejection` has admitted. Without a valid key the response is 401, on every path."""
        path = request.raw_path.partition("?")[0]
        route = ROUTES.get(path)
        api = None if route is None else route.api
        client = owner(await self.keys.now(), access.shown_keys(request))
        if client is None:
            return self._refused(api, 401, "no-key", "Show a gateway key: `portico gateway key show` prints one.")
        try:
            with self.shares.request(client) as lease:
                if route is None:
                    response = await self._page(request, path)
                elif request.method == "POST":
                    response = await self._call_model(request, route, client, lease)
                else:
                    response = self._refused(route.api, 405, "wrong-method", f"{route.path} takes POST.", Allow="POST")
                # The request counts until the client has read the response.
                return await delivered(request, response)
        except ShareUsed as used:
            bad = share_error(used)
        except BadRequest as error:
            bad = error
        return self._refused(api, bad.status, bad.id, bad.message, **bad.headers)

    async def _page(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path not in {METRICS, MODELS} and not path.startswith(f"{MODELS}/"):
            return self._not_found(request, path)
        if request.method not in {"GET", "HEAD"}:
            return self._refused(None, 405, "wrong-method", f"{path} takes GET.", Allow="GET, HEAD")
        if path == METRICS:
            return access.text(200, self.metrics.text(started_at=self.started_at), CONTENT_TYPE)
        api = _api_of_list(request)
        try:
            models = await self._models_now()
            name = unquote(path[len(MODELS) + 1 :])
            shown = model_list(models) if path == MODELS else one_model(models, name) if len(name) <= LONGEST_NAME else None
        except PorticoError as error:
            return access.answer(status_of(error), error_body(api, status_of(error), error.id, one_line(error)))
        if shown is None:
            return access.answer(404, error_body(api, 404, "unknown-model", "The gateway has no model with this name."))
        return access.answer(200, shown, keeps_open=True)

    def _not_found(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        origin = f"http://{request.headers['Host']}"  # safe: one of the gateway's own names
        meant = meant_by(path, origin)
        if meant is None:
            served = f"The gateway serves models at {origin}{MODELS}, {', '.join(ROUTES)}."
            return self._refused(None, 404, "not-found", f"There is nothing at this path. {served}")
        api = _api_of_list(request) if meant.route is None else meant.route.api
        return self._refused(api, 404, "not-found", f"There is nothing at this path. Did you mean {meant.path}? {meant.advice}")

    async def _call_model(self, request: web.BaseRequest, route: Route, client: str, lease: Lease) -> web.StreamResponse:
        if not access.is_json(request):
            raise BadRequest(415, "wrong-content-type", "Send the body as application/json.")
        if not access.is_readable(request):
            raise BadRequest(415, "wrong-content-coding", access.WRONG_CODING, **access.READABLE)
        query = request.rel_url.raw_query_string
        if len(query) > _LONGEST_QUERY:
            raise BadRequest(400, "bad-query", "The query is too long.")
        try:
            body = await read_in_turn(await received_body(request, lease), lease.turn)
            body.freed = lease.free
            call = Call(route, body, client, query, to_provider(request.headers.items()))
            candidates = (await self._models_now()).candidates(body.model, route.api)
        except PorticoError as error:
            status = status_of(error)
            self.metrics.refused(error.id)
            _log.info("%s %s: %s: %s", client, route.path, status, error)
            return access.answer(status, error_body(route.api, status, error.id, one_line(error)), keeps_open=True)
        return await self._forward(request, call, candidates)

    async def _forward(self, request: web.BaseRequest, call: Call, candidates: Candidates) -> web.StreamResponse:
        forward, client = Forward(call, candidates, self.parts), AiohttpClient(request)
        self.metrics.in_progress += 1
        try:
            await forward.run(client)
        except NoAnswer as failed:
            return _no_answer(forward, call, failed, self.parts.clock.wall_ms())
        finally:
            self.metrics.in_progress -= 1
        assert client.response is not None  # noqa: S101 - `run` has sent a response
        return client.response

    async def _models_now(self) -> LiveModels:
        models = await self.models.now()
        if models is None:
            raise self.models.error or NoModels("The configuration cannot be read.")
        return models

    def _refused(self, api: ApiKind | None, status: int, id: str, message: str, **headers: str) -> web.StreamResponse:
        self.metrics.refused(id)
        return access.answer(status, error_body(api, status, id, message), headers)


def _api_of_list(request: web.BaseRequest) -> ApiKind | None:
    """The protocol of a client that lists models. Both vendors use the same path for this."""
    return "anthropic-messages" if "anthropic-version" in request.headers else None


def log_outcome(outcome: Outcome) -> None:
    """Log one line for each request: client, path, model and result. An ordinary success is logged with `--verbose` only."""
    is_ordinary = outcome.end == "answered" and len(outcome.attempts) == 1
    level = logging.DEBUG if is_ordinary else logging.INFO
    if not _log.isEnabledFor(level):
        return
    model = outcome.model.reference if outcome.model is not None else "no model"
    why = f": {outcome.why}" if outcome.why else ""
    line = "%s %s: %s by %s, HTTP %s, %s ms, %s tried%s"
    path, attempts = outcome.call.route.path, len(outcome.attempts)
    _log.log(level, line, outcome.call.client, path, outcome.end, model, outcome.status, outcome.latency_ms, attempts, why)


def _no_answer(forward: Forward, call: Call, failed: NoAnswer, now_ms: int) -> web.StreamResponse:
    error, provider_error, wait_ms = failed.error, failed.provider_error, failed.wait_ms
    is_local = provider_error.kind == "local"
    status = status_of(error) if is_local else status_of_provider_error(provider_error.kind, provider_error.status)
    reply = provider_error.reply
    if reply is not None and (provider_error.rejects_token or provider_error.kind == "auth"):
        reply = reply.without_fields()
    headers = {**provider_error_headers(error.id, status, provider_error, wait_ms), **forward.headers(None)}
    forward.failed(status, str(error))
    resets_at = -(-(now_ms + wait_ms) // 1000) if wait_ms is not None and is_long(wait_ms) else None
    body = error_body(call.route.api, status, error.id, one_line(error), reply, resets_at=resets_at)
    return access.answer(status, body, headers, keeps_open=True)
