"""The gateway's API behind a key: models asked and listed, counters shown, and the client's end of a request.

`GET /v1/models` is one list in both vendors' shapes at once, since each client looks at the fields that it knows. OpenAI's:
https://platform.openai.com/docs/api-reference/models. Anthropic's: https://docs.claude.com/en/api/models-list.
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
    provider_error_headers,
    status_of,
    status_of_provider_error,
    to_provider,
    told,
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

# A head is in memory as it came, as text, and as what is passed on of it.
_HEAD_COPIES: Final = 3
# Bytes that are counted at once for a body whose length is not known.
_GROWS_BY: Final = 256 << 10
_NO_CONTENT: Final = 204
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class NoModels(UsageError):
    """The config cannot be read, so the gateway knows no models."""

    id = "no-models"


class BadRequest(Exception):
    """What is wrong with a request, as a status and an id."""

    def __init__(self, status: int, id: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.id = id
        self.message = message
        self.headers = headers


def turned_away(used: ShareUsed) -> BadRequest:
    """What a request gets whose key has its share: clients of both vendors wait and send it again."""
    headers = {"Retry-After": "1", "x-should-retry": "true"}
    if used.what == "requests":
        return BadRequest(429, "too-many-requests", "This gateway key has as many requests under way as it may.", **headers)
    return BadRequest(503, "bodies-too-large", "The bodies of this gateway key's requests take all the memory it may.", **headers)


async def delivered(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """The response, once the client's connection has taken all of it."""
    if not isinstance(response, (SentAnswer, AnswerStream)):
        await response.prepare(request)
        await response.write_eof()
    return response


async def received_body(request: web.BaseRequest, lease: Lease) -> bytes | bytearray:
    """The whole body. Its memory is counted before it comes if its length is known, else as it comes.

    Raises:
        BadRequest: 408 where it does not come or comes too slowly, 413 where it is too long, 400 where it ends early.
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
        return await _pieces(request, lease, length or 0)


async def _pieces(request: web.BaseRequest, lease: Lease, held: int) -> bytearray:
    """The body as it comes, of which the memory of `held` bytes is counted already."""
    limits, began = lease.limits, time.monotonic()
    data = bytearray()
    left_s = 0.0
    try:
        while True:
            left_s = began + limits.seconds_for(len(data)) - time.monotonic()
            async with asyncio.timeout(min(limits.silence_s, left_s)):
                chunk = await request.content.readany()
            if not chunk:
                return data
            if len(data) + len(chunk) > LIMIT:
                raise _too_long()
            if len(data) + len(chunk) > held:
                more = min(max(len(chunk), _GROWS_BY), LIMIT - held)
                await lease.hold(more)
                held += more
            data += chunk
    except TimeoutError:
        silent = limits.silence_s <= left_s
        why = f"Nothing more of the body came for {limits.silence_s:g} s." if silent else "The body comes too slowly."
        raise BadRequest(408, "body-late", why) from None
    except web.RequestPayloadError:
        raise BadRequest(400, "body-broken", "The body cannot be read.") from None


class AnswerStream(web.StreamResponse):
    """A response that names no server software, and whose head goes out with its first piece."""

    _send_headers_immediately = False

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class SentAnswer(web.StreamResponse):
    """An answer that has gone out by the time the server hears of it."""

    def __init__(self, *, keeps_open: bool) -> None:
        super().__init__()
        self._keeps_open = keeps_open

    @property
    def keep_alive(self) -> bool:
        return self._keeps_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to be done."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to be done."""


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
        assert self.response is not None  # noqa: S101 - it was begun
        await self.response.write(chunk)

    async def end(self) -> None:
        assert self.response is not None  # noqa: S101 - it was begun
        await self.response.write_eof()

    def abort(self) -> None:
        transport = self._request.transport
        if transport is None:
            return
        if self._request.version < (1, 1):
            # Without chunks the end of the connection is the end of the answer: only a reset tells that it is not.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


def _too_long() -> BadRequest:
    return BadRequest(413, "body-too-long", f"The body is longer than {LIMIT >> 20} MiB.")


# Both shapes insist on a date, and no public source has one for every model.
_UNKNOWN: Final = "1970-01-01T00:00:00Z"


def model_list(models: LiveModels) -> dict[str, object]:
    """Every model that can be called now, by its reference, and the names that `gateway.models` and the aliases give them."""
    ready = {str(model.reference): model for model in models.ready()}
    entries = {name: _entry(name, model) for name, model in ready.items()}
    for alias, reference in models.loader.catalog.aliases.items():
        if str(reference) in ready:
            entries.setdefault(alias, _entry(alias, ready[str(reference)]))
    for name, text in models.names.items():
        with suppress(UsageError):  # a name of nothing is left out here, and is a finding of `doctor`
            model = ready.get(str(models.loader.catalog.expand(text))) if not name.endswith("*") else None
            if model is not None:
                entries[name] = _entry(name, model)
    data = [*entries.values()]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, "has_more": False, **ends}


def one_model(models: LiveModels, name: str) -> dict[str, object] | None:
    """The entry of one name; None if the list does not have it.

    Raises:
        SignInNeeded: it is a model of a provider that has no credential.
    """
    listed = model_list(models)["data"]
    assert isinstance(listed, list)  # noqa: S101 - made above
    found = next((entry for entry in listed if entry["id"] == name), None)
    if found is None:
        with suppress(UsageError, ConfigError):  # a name that means nothing
            models.loader.load(models.meant(name))
    return found


def _entry(name: str, model: CallableModel) -> dict[str, object]:
    return {
        "id": name,
        "object": "model",
        "type": "model",
        "created": 0,
        "created_at": _UNKNOWN,
        "owned_by": model.reference.provider,
        "display_name": model.spec.name,
    }


_LONGEST_QUERY: Final = 2048
_log: Final = logging.getLogger("portico.gateway")


@dataclass(frozen=True, slots=True)
class Front:
    """Everything but the socket. `models` and `keys` are as their files are at each request; `started_at` is wall ms.

    `shares` is what each key may have under way.
    """

    models: Reloading[LiveModels | None]
    keys: Reloading[tuple[KeyInfo, ...]]
    parts: Parts
    metrics: Metrics
    started_at: int
    shares: Shares

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer to a request that may talk to the gateway at all: 401 without a key, on every path."""
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
                    response = await self._asked(request, route, client, lease)
                else:
                    response = self._refused(route.api, 405, "wrong-method", f"{route.path} takes POST.", Allow="POST")
                # A client that does not read keeps its place until it does.
                return await delivered(request, response)
        except ShareUsed as used:
            bad = turned_away(used)
        except BadRequest as raised:
            bad = raised
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
            return access.answer(status_of(error), error_body(api, status_of(error), error.id, told(error)))
        if shown is None:
            return access.answer(404, error_body(api, 404, "unknown-model", "There is no model of this name here."))
        return access.answer(200, shown, keeps_open=True)

    def _not_found(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        origin = f"http://{request.headers['Host']}"  # one of the gateway's own, or the request would not be here
        meant = meant_by(path, origin)
        if meant is None:
            served = f"The gateway serves models at {origin}{MODELS}, {', '.join(ROUTES)}."
            return self._refused(None, 404, "not-found", f"There is nothing at this path. {served}")
        api = _api_of_list(request) if meant.route is None else meant.route.api
        return self._refused(api, 404, "not-found", f"There is nothing at this path: {meant.path} was meant. {meant.advice}")

    async def _asked(self, request: web.BaseRequest, route: Route, client: str, lease: Lease) -> web.StreamResponse:
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
            return access.answer(status, error_body(route.api, status, error.id, told(error)), keeps_open=True)
        return await self._forwarded(request, call, candidates)

    async def _forwarded(self, request: web.BaseRequest, call: Call, candidates: Candidates) -> web.StreamResponse:
        forward, client = Forward(call, candidates, self.parts), AiohttpClient(request)
        self.metrics.in_progress += 1
        try:
            await forward.run(client)
        except NoAnswer as none:
            return _no_answer(forward, call, none, self.parts.clock.wall_ms())
        finally:
            self.metrics.in_progress -= 1
        assert client.response is not None  # noqa: S101 - an answer was begun
        return client.response

    async def _models_now(self) -> LiveModels:
        models = await self.models.now()
        if models is None:
            raise self.models.fault or NoModels("The configuration cannot be read.")
        return models

    def _refused(self, api: ApiKind | None, status: int, id: str, message: str, **headers: str) -> web.StreamResponse:
        self.metrics.refused(id)
        return access.answer(status, error_body(api, status, id, message), headers)


def _api_of_list(request: web.BaseRequest) -> ApiKind | None:
    """Whose client asks for the list of models, which has one path for both."""
    return "anthropic-messages" if "anthropic-version" in request.headers else None


def log_outcome(outcome: Outcome) -> None:
    """One line for each request: who, what, which model, how it ended. Where nothing went wrong it is for `--verbose` only."""
    smooth = outcome.end == "answered" and len(outcome.attempts) == 1
    level = logging.DEBUG if smooth else logging.INFO
    if not _log.isEnabledFor(level):
        return
    model = outcome.model.reference if outcome.model is not None else "no model"
    why = f": {outcome.why}" if outcome.why else ""
    line = "%s %s: %s by %s, HTTP %s, %s ms, %s tried%s"
    path, tries = outcome.call.route.path, len(outcome.attempts)
    _log.log(level, line, outcome.call.client, path, outcome.end, model, outcome.status, outcome.whole_ms, tries, why)


def _no_answer(forward: Forward, call: Call, none: NoAnswer, now_ms: int) -> web.StreamResponse:
    error, refusal = none.error, none.refusal
    status = status_of(error) if refusal.kind == "local" else status_of_provider_error(refusal.kind, refusal.status)
    of_credential = refusal.rejects_token or refusal.kind == "auth"
    reply = refusal.reply.without_fields() if of_credential and refusal.reply is not None else refusal.reply
    headers = {**provider_error_headers(error.id, status, refusal, none.wait_ms), **forward.headers(None)}
    forward.failed(status, str(error))
    resets_at = -(-(now_ms + none.wait_ms) // 1000) if none.wait_ms is not None and is_long(none.wait_ms) else None
    body = error_body(call.route.api, status, error.id, told(error), reply, resets_at=resets_at)
    return access.answer(status, body, headers, keeps_open=True)
