"""Forward one request: try the candidates until one answers, then pass its answer to the client as it arrives.

`portico.models.client` makes an attempt, and `portico.models.acceptance` decides which response is an answer. This module adds
the parts that only a gateway needs: it forwards bytes, handles a client that waits or disconnects, and reads token counts from
the forwarded stream.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

from portico.errors import InternalError, NetworkError, PorticoError, error_location, frames_of
from portico.gateway.metrics import Outcome, headers_of
from portico.gateway.replies import to_client
from portico.models.acceptance import Patience, read_event
from portico.models.client import attempt, credential_header
from portico.models.failover import Failover, first_answer
from portico.models.protocols import PROTOCOLS, Usage
from portico.models.provider_errors import AttemptFailed, is_json, json_object, local_error, no_answer_error, shown
from portico.net.errors import AnswerCut
from portico.net.sse import EventParser

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from portico.auth.broker import TokenBroker
    from portico.gateway.access import Route
    from portico.gateway.metrics import End
    from portico.gateway.request_body import Body
    from portico.gateway.router import Candidates
    from portico.interfaces.basics import Clock
    from portico.models.acceptance import Accepted
    from portico.models.failover import Attempt, Cooldowns
    from portico.models.loader import CallableModel
    from portico.models.protocols import ApiProtocol, Piece
    from portico.models.provider_errors import ProviderError
    from portico.net.client import HttpClient, Response
    from portico.secret import Secret

COMMENTS_S: Final = 2.0
"""Seconds to delay a stream that has only comments so far.

The provider can still report an error, and no client gives up so soon.
"""
HEAD_ALONE_S: Final = 15.0
"""Seconds to delay a response that has only headers so far. The most impatient clients wait 30 s for headers."""
ERROR_BODY_S: Final = 30.0
"""Seconds to wait for the body of an error, so that the client gets the provider's whole message."""
# How many bytes of an unstreamed answer stay in memory to read its token counts.
_METERED: Final = 1 << 20
# An event with token counts is small.
_LONGEST_EVENT: Final = 1 << 20
# Each event with token counts, an error or the end of the answer contains one of these.
_MARKERS: Final = (
    *(b'usage":{', b'usage": {', b'"error"', b"[DONE]", b"message_stop"),
    *(b"response.completed", b"response.incomplete", b"response.failed"),
)
_log: Final = logging.getLogger("portico.gateway")


@dataclass(slots=True)
class Call:
    """A client's request.

    `client` is the name of its gateway key, and `query` is the URL's unchanged query. `headers` are only the headers that the
    provider gets too, with names in lower case.
    """

    route: Route
    body: Body
    client: str
    query: str
    headers: Mapping[str, str]


class NoAnswer(Exception):
    """No candidate answered. `error` is for the client; `provider_error` is its cause.

    `wait_ms` is the time in ms after which a retry may succeed, None if unknown.
    """

    def __init__(self, error: PorticoError, provider_error: ProviderError, wait_ms: int | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.provider_error = provider_error
        self.wait_ms = wait_ms


class ClientSide(Protocol):
    """The connection to the client. Each method except `abort` raises `OSError` if the client has disconnected."""

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the headers of a response of unknown length."""
        ...

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Send a whole response."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Send a chunk. Wait first if the client is slow to receive earlier chunks."""
        ...

    async def end(self) -> None:
        """End a response that `begin` started."""
        ...

    def abort(self) -> None:
        """Reset the connection, so that the client notices that the response is incomplete."""
        ...


@dataclass(frozen=True)
class Parts:
    """The objects that all requests share.

    Requests that only count tokens have cooldowns of their own, in `counting`. All other requests use `cooldowns`.
    """

    upstream: HttpClient
    broker: TokenBroker
    cooldowns: Cooldowns
    counting: Cooldowns
    clock: Clock
    record: Callable[[Outcome], None]

    @cached_property
    def patience(self) -> Patience:
        """How long to delay the start of an answer, because it may still become an error."""
        return Patience(ERROR_BODY_S, ERROR_BODY_S, None, HEAD_ALONE_S, COMMENTS_S, self.clock)


class Forward:
    """Forwards `call` to the first of `candidates` that answers. `failover` has the attempts so far."""

    def __init__(self, call: Call, candidates: Candidates, parts: Parts) -> None:
        self._call = call
        self._parts = parts
        self._candidates = candidates
        self._protocol = PROTOCOLS[call.route.api]
        self._meter: StreamMeter | None = None
        self._usage: Usage | None = None
        self._forwarded = bytearray()
        self._started_at, self._start = parts.clock.wall_ms(), parts.clock.monotonic()
        self._first_byte_ms: int | None = None
        cooldowns = parts.counting if call.route.counts else parts.cooldowns
        self.failover = Failover(candidates.models, cooldowns, candidates.wanted)

    async def run(self, client: ClientSide) -> None:
        """Forward, and send the answer to `client`.

        Raises:
            NoAnswer: no candidate answered, and nothing was sent to the client.
        """
        accepted = await first_answer(self.failover, self._attempt, on_failed=self._log_failed)
        if accepted is None:
            raise self._no_answer()
        self._first_byte_ms = self._elapsed_ms()
        if accepted.response.has_body:
            self._call.body.free()  # the next candidates do not need the body
        try:
            end, why = await self._send_answer(accepted, client)
        except asyncio.CancelledError:
            self._record("client-gone", accepted.response.status, accepted.model)
            raise
        fields = accepted.fields if accepted.complete or accepted.streams else json_object(bytes(self._forwarded))
        if fields is not None:
            self._usage = self._protocol.usage(fields)
        self._record(end, accepted.response.status, accepted.model, why)

    def failed(self, status: int, why: str) -> None:
        """Record that the client got an error with this status."""
        self._record("refused", status, None, why)

    def headers(self, model: CallableModel | None) -> dict[str, str]:
        """The headers that name the model that answers, and why earlier candidates did not."""
        if model is not None and len(self.failover.attempts) == 1:
            return self._candidates.first_answers
        return headers_of(model, self.failover.attempts, self._candidates.passed)

    def _attempt(self, model: CallableModel) -> Awaitable[Accepted]:
        return attempt_call(model, self._call, self._parts.upstream, self._parts.broker, self._parts.patience)

    def _log_failed(self, failed: Attempt) -> None:
        model, path = failed.model.reference, self._call.route.path
        _log.info("%s %s: %s does not answer: %s", self._call.client, path, model, failed.provider_error)

    def _no_answer(self) -> NoAnswer:
        reason = self.failover.reason
        assert reason is not None  # noqa: S101 - as in `no_answer_error`
        assert reason.provider_error is not None  # noqa: S101 - only an answer has none
        return NoAnswer(no_answer_error(self.failover), reason.provider_error, self.failover.wait_ms)

    async def _send_answer(self, accepted: Accepted, client: ClientSide) -> tuple[End, str]:
        response = accepted.response
        headers = to_client(response.headers.items()) | self.headers(accepted.model)
        meter = self._meter = StreamMeter(self._protocol) if accepted.streams else None
        try:
            if accepted.complete:
                await client.send(response.status, headers, accepted.start)
            else:
                await client.begin(response.status, headers)
                await self._send_chunk(accepted.start, client)
                async for chunk in accepted.rest():
                    await self._send_chunk(chunk, client)
                if meter is not None and not response.is_framed and meter.broke_off():
                    raise AnswerCut("its connection closed before the last event")
                await client.end()
        except NetworkError as error:
            client.abort()
            return "cut", str(error)
        except OSError:  # from the client's connection; errors of the provider's connection are a `NetworkError`
            return "client-gone", ""
        finally:
            accepted.close()
        message = meter.error if meter is not None else None
        return ("cut", shown(message, accepted.key)) if message is not None else ("answered", "")

    async def _send_chunk(self, chunk: bytes, client: ClientSide) -> None:
        await client.write(chunk)
        if self._meter is not None:
            self._meter.feed(chunk)
        elif len(self._forwarded) <= _METERED:
            self._forwarded += chunk

    def _record(self, end: End, status: int, model: CallableModel | None, why: str = "") -> None:
        latency_ms = self._elapsed_ms()
        attempts, usage = tuple(self.failover.attempts), self._usage if self._meter is None else self._meter.usage
        outcome = Outcome(self._call, end, status, attempts, self._started_at, latency_ms, self._first_byte_ms, model, usage, why)
        self._parts.record(outcome)

    def _elapsed_ms(self) -> int:
        return round((self._parts.clock.monotonic() - self._start) * 1000)


async def attempt_call(
    model: CallableModel, call: Call, upstream: HttpClient, broker: TokenBroker, patience: Patience
) -> Accepted:
    """Forward `call` to `model` byte for byte, except for the model's name and the credential.

    Raises:
        AttemptFailed: as `attempt`; also after a bug in Portico or a plugin.
    """
    api, body = call.route.api, call.body.naming(model.reference.model)

    def send(key: Secret | None) -> Awaitable[Response]:
        # The credential is last, after the names are lower-case: no spelling of a configured header overrides it.
        layers = PROTOCOLS[api].headers(), call.headers, _lower(model.headers), _lower(credential_header(model, key))
        headers = {name: value for layer in layers for name, value in layer.items()}
        url = call.route.url(model.bases.get(api, model.base_url), call.query)
        return upstream.send(url, body=body, headers=headers)

    try:
        return await attempt(model, broker, send, api=api, patience=patience)
    except AttemptFailed:
        raise
    except Exception as error:  # noqa: BLE001 - after a bug the next candidate is tried
        failed, place, frames = _bug_failure(error), error_location(error), frames_of(error)
    # Outside the `except` block: if the log cannot be written, `logging` prints the handled exception, which may quote a token.
    _log.error("%s: could not send the request: %s\n%s", model.reference, place, frames)
    raise failed


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _bug_failure(error: Exception) -> AttemptFailed:
    """The failed attempt for a bug. It has only the error's type and place, because the error's text may quote a token."""
    why = error_location(error)
    failure = InternalError("The gateway has a bug.", why=why, hint="Please report it, with what {prog} gateway logs shows.")
    return AttemptFailed(local_error(failure), failure)


class StreamMeter:
    """Reads token counts from a stream of events. `complete`: the stream's end was seen; `error`: the provider's error message.

    It reads chunks after they were forwarded, so it delays nothing. It does not store the answer's text.
    """

    def __init__(self, protocol: ApiProtocol) -> None:
        self._protocol = protocol
        self._events = EventParser(_LONGEST_EVENT)
        self.usage: Usage | None = None
        self.complete = False
        self.error: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Read a chunk that was just forwarded."""
        blocks = self._events.blocks(chunk)
        if _has_marker(blocks):
            for data in self._events.events(blocks):
                if _has_marker(data) and (piece := read_event(self._protocol, data)) is not None:
                    self._read(piece)

    def broke_off(self) -> bool:
        """Whether the stream is incomplete. Call this after the connection has ended.

        The empty line after the last event may be missing. Not every server of Chat Completions sends `[DONE]`, so a stream of
        this protocol may also end between two events.
        """
        within_event = self._events.is_within_event and not is_json(self._events.rest or b"")
        self.feed(b"\n\n")
        return not self.complete and (within_event or self._protocol.api != "openai-completions")

    def _read(self, piece: Piece) -> None:
        if piece.usage is not None:
            self.usage = (self.usage or Usage()).updated(piece.usage)
        self.complete = self.complete or piece.end
        self.error = piece.error or self.error


def _has_marker(data: bytes) -> bool:
    return any(marker in data for marker in _MARKERS)
