"""What the gateway does for a client that has shown a key: models asked and listed, counters shown."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from portico.errors import PorticoError, UsageError
from portico.gateway import guard
from portico.gateway.body import LONGEST_NAME, read_in_turn
from portico.gateway.client_side import AiohttpClient, BadRequest, delivered, received_body, turned_away
from portico.gateway.forward import Call, Forward, NoAnswer
from portico.gateway.headers import to_provider
from portico.gateway.keys import owner
from portico.gateway.metrics import CONTENT_TYPE
from portico.gateway.models_page import model_list, one_model
from portico.gateway.routes import METRICS, MODELS, ROUTES, meant_by
from portico.gateway.shares import ShareUsed
from portico.gateway.vendor_errors import error_body, is_long, refusal_headers, status_of, status_of_refusal, told

if TYPE_CHECKING:
    from aiohttp import web

    from portico.gateway.forward import Parts
    from portico.gateway.keys import KeyInfo
    from portico.gateway.live_models import Candidates, LiveModels
    from portico.gateway.metrics import Metrics
    from portico.gateway.outcome import Outcome
    from portico.gateway.reloading import Reloading
    from portico.gateway.routes import Route
    from portico.gateway.shares import Lease, Shares
    from portico.interfaces.provider_spec import ApiKind

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
        client = owner(await self.keys.now(), guard.shown_keys(request))
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
            return guard.text(200, self.metrics.text(started_at=self.started_at), CONTENT_TYPE)
        api = _api_of_list(request)
        try:
            models = await self._models_now()
            name = unquote(path[len(MODELS) + 1 :])
            shown = model_list(models) if path == MODELS else one_model(models, name) if len(name) <= LONGEST_NAME else None
        except PorticoError as error:
            return guard.answer(status_of(error), error_body(api, status_of(error), error.id, told(error)))
        if shown is None:
            return guard.answer(404, error_body(api, 404, "unknown-model", "There is no model of this name here."))
        return guard.answer(200, shown, keeps_open=True)

    def _not_found(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        origin = f"http://{request.headers['Host']}"  # one of the gateway's own, or the request would not be here
        meant = meant_by(path, origin)
        if meant is None:
            served = f"The gateway serves models at {origin}{MODELS}, {', '.join(ROUTES)}."
            return self._refused(None, 404, "not-found", f"There is nothing at this path. {served}")
        api = _api_of_list(request) if meant.route is None else meant.route.api
        return self._refused(api, 404, "not-found", f"There is nothing at this path: {meant.path} was meant. {meant.advice}")

    async def _asked(self, request: web.BaseRequest, route: Route, client: str, lease: Lease) -> web.StreamResponse:
        if not guard.is_json(request):
            raise BadRequest(415, "wrong-content-type", "Send the body as application/json.")
        if not guard.is_readable(request):
            raise BadRequest(415, "wrong-content-coding", guard.WRONG_CODING, **guard.READABLE)
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
            return guard.answer(status, error_body(route.api, status, error.id, told(error)), keeps_open=True)
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
            raise self.models.fault or UsageError("no-models", "The configuration cannot be read.")
        return models

    def _refused(self, api: ApiKind | None, status: int, id: str, message: str, **headers: str) -> web.StreamResponse:
        self.metrics.refused(id)
        return guard.answer(status, error_body(api, status, id, message), headers)


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
    status = status_of(error) if refusal.kind == "local" else status_of_refusal(refusal.kind, refusal.status)
    of_credential = refusal.of_token or refusal.kind == "auth"
    reply = refusal.reply.without_fields() if of_credential and refusal.reply is not None else refusal.reply
    headers = {**refusal_headers(error.id, status, refusal, none.wait_ms), **forward.headers(None)}
    forward.failed(status, str(error))
    resets_at = -(-(now_ms + none.wait_ms) // 1000) if none.wait_ms is not None and is_long(none.wait_ms) else None
    body = error_body(call.route.api, status, error.id, told(error), reply, resets_at=resets_at)
    return guard.answer(status, body, headers, keeps_open=True)
