"""Forward one request: to one candidate after the other until one answers, then pass that answer on as it comes.

What an attempt is, and which response is an answer, is in `portico.models.client` and `portico.models.acceptance`. The gateway's
own are the bytes that pass, how long a client is kept waiting, the counts read from what has passed, and a client that leaves.
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
"""Seconds that comments alone are held: a provider has time to say that it is overloaded, and no client gives up."""
HEAD_ALONE_S: Final = 15.0
"""Seconds that a head is held behind which nothing comes: less than the 30 s that the strictest clients wait for one."""
ERROR_BODY_S: Final = 30.0
"""Seconds for the body of an error: the client gets all of the provider's message."""
# Bytes of an answer in one piece that are kept for its counts, if it was passed on before its end.
_METERED: Final = 1 << 20
# An event that tells counts is small.
_LONGEST_EVENT: Final = 1 << 20
# What is in every event that tells counts, an error or the end.
_TELLING: Final = (
    *(b'usage":{', b'usage": {', b'"error"', b"[DONE]", b"message_stop"),
    *(b"response.completed", b"response.incomplete", b"response.failed"),
)
_log: Final = logging.getLogger("portico.gateway")


@dataclass(slots=True)
class Call:
    """A client's request. `client` is the name of its gateway key, `query` is as it was sent.

    `headers` are those that the provider gets too, their names in lower case.
    """

    route: Route
    body: Body
    client: str
    query: str
    headers: Mapping[str, str]


class NoAnswer(Exception):
    """No candidate has begun to answer. `error` is for the client, `refusal` what it is about.

    `wait_ms` is after how many ms another try is worth it, None if nobody knows.
    """

    def __init__(self, error: PorticoError, refusal: ProviderError, wait_ms: int | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.refusal = refusal
        self.wait_ms = wait_ms


class ClientSide(Protocol):
    """The way back to the client. Each method but the last raises `OSError` if nobody is there."""

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the head of an answer whose length is not known."""
        ...

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """An answer in one piece: what `begin` and `end` do with one that is passed on."""
        ...

    async def write(self, chunk: bytes) -> None:
        """Send a piece, and wait while the client has not taken what went before."""
        ...

    async def end(self) -> None:
        """The answer is whole."""
        ...

    def abort(self) -> None:
        """Break the connection off, so that nobody takes what was sent for the whole."""
        ...


@dataclass(frozen=True)
class Parts:
    """What every request needs. `cooldowns` is shared by all; `counting` by those that count tokens only."""

    upstream: HttpClient
    broker: TokenBroker
    cooldowns: Cooldowns
    counting: Cooldowns
    clock: Clock
    done: Callable[[Outcome], None]

    @cached_property
    def patience(self) -> Patience:
        """How long a client is kept waiting for what may still turn out to be an error."""
        return Patience(ERROR_BODY_S, ERROR_BODY_S, None, HEAD_ALONE_S, COMMENTS_S, self.clock)


class Forward:
    """`call`, forwarded to the first of `candidates` that answers. `failover` has what came of them so far."""

    def __init__(self, call: Call, candidates: Candidates, parts: Parts) -> None:
        self._call = call
        self._parts = parts
        self._candidates = candidates
        self._protocol = PROTOCOLS[call.route.api]
        self._meter: StreamMeter | None = None
        self._usage: Usage | None = None
        self._piecewise = bytearray()
        self._began_at, self._began = parts.clock.wall_ms(), parts.clock.monotonic()
        self._first_byte: int | None = None
        cooldowns = parts.counting if call.route.counts else parts.cooldowns
        self.failover = Failover(candidates.models, cooldowns, candidates.wanted)

    async def run(self, client: ClientSide) -> None:
        """Answer.

        Raises:
            NoAnswer: nobody did, and nothing was sent to the client.
        """
        accepted = await first_answer(self.failover, self._attempt, on_failed=self._log_failed)
        if accepted is None:
            raise self._no_answer()
        self._first_byte = self._since_it_began()
        if accepted.response.has_body:
            self._call.body.free()  # no other candidate will be asked
        try:
            end, why = await self._passed_on(accepted, client)
        except asyncio.CancelledError:
            self._tell("client-gone", accepted.response.status, accepted.model)
            raise
        fields = accepted.fields if accepted.complete or accepted.streams else json_object(bytes(self._piecewise))
        if fields is not None:
            self._usage = self._protocol.usage(fields)
        self._tell(end, accepted.response.status, accepted.model, why)

    def failed(self, status: int, why: str) -> None:
        """Tell that the client was sent an error of this status."""
        self._tell("refused", status, None, why)

    def headers(self, model: CallableModel | None) -> dict[str, str]:
        """Who answers, and why others did not."""
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

    async def _passed_on(self, accepted: Accepted, client: ClientSide) -> tuple[End, str]:
        response = accepted.response
        headers = to_client(response.headers.items()) | self.headers(accepted.model)
        meter = self._meter = StreamMeter(self._protocol) if accepted.streams else None
        try:
            if accepted.complete:
                await client.send(response.status, headers, accepted.start)
            else:
                await client.begin(response.status, headers)
                await self._pass_on(accepted.start, client)
                async for chunk in accepted.rest():
                    await self._pass_on(chunk, client)
                if meter is not None and not response.is_framed and meter.broke_off():
                    raise AnswerCut("its connection closed before the last event")
                await client.end()
        except NetworkError as error:
            client.abort()
            return "cut", str(error)
        except OSError:  # the client has hung up: what fails at the provider is a `NetworkError`
            return "client-gone", ""
        finally:
            accepted.close()
        refused = meter.refused if meter is not None else None
        return ("cut", shown(refused, accepted.key)) if refused is not None else ("answered", "")

    async def _pass_on(self, chunk: bytes, client: ClientSide) -> None:
        await client.write(chunk)
        if self._meter is not None:
            self._meter.feed(chunk)
        elif len(self._piecewise) <= _METERED:
            self._piecewise += chunk

    def _tell(self, end: End, status: int, model: CallableModel | None, why: str = "") -> None:
        whole = self._since_it_began()
        attempts, usage = tuple(self.failover.attempts), self._usage if self._meter is None else self._meter.usage
        outcome = Outcome(self._call, end, status, attempts, self._began_at, whole, self._first_byte, model, usage, why)
        self._parts.done(outcome)

    def _since_it_began(self) -> int:
        return round((self._parts.clock.monotonic() - self._began) * 1000)


async def attempt_call(
    model: CallableModel, call: Call, upstream: HttpClient, broker: TokenBroker, patience: Patience
) -> Accepted:
    """Forward `call` to `model`, byte for byte but for the model's name and the credential.

    Raises:
        AttemptFailed: as `attempt`; also if a bug here or in a plugin is why.
    """
    api, body = call.route.api, call.body.naming(model.reference.model)

    def send(key: Secret | None) -> Awaitable[Response]:
        own = {**model.headers, **credential_header(model, key)}
        headers = {**PROTOCOLS[api].headers(), **call.headers, **{name.lower(): value for name, value in own.items()}}
        url = call.route.url(model.bases.get(api, model.base_url), call.query)
        return upstream.send(url, body=body, headers=headers)

    try:
        return await attempt(model, broker, send, api=api, patience=patience)
    except AttemptFailed:
        raise
    except Exception as error:  # noqa: BLE001 - one candidate's bug must not keep the others from answering
        failed, place, frames = _of_bug(error), error_location(error), frames_of(error)
    # Not while it is handled: a log that cannot be written would show it, and its text may quote a token.
    _log.error("%s could not be asked: %s\n%s", model.reference, place, frames)
    raise failed


def _of_bug(error: Exception) -> AttemptFailed:
    """A bug, by its kind and place: its text may quote a token."""
    why = error_location(error)
    failure = InternalError("The gateway has a bug.", why=why, hint="Please report it, with what {prog} gateway logs shows.")
    return AttemptFailed(local_error(failure), failure)


class StreamMeter:
    """The counts of a stream of events. `whole`: its own end was seen; `refused`: the provider's words where it broke off.

    They are read from what has passed: nothing waits for the reading, and no text of an answer is kept.
    """

    def __init__(self, protocol: ApiProtocol) -> None:
        self._protocol = protocol
        self._events = EventParser(_LONGEST_EVENT)
        self.usage: Usage | None = None
        self.whole = False
        self.refused: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Read what has just passed."""
        blocks = self._events.blocks(chunk)
        if _tells(blocks):
            for data in self._events.events(blocks):
                if _tells(data) and (piece := read_event(self._protocol, data)) is not None:
                    self._read(piece)

    def broke_off(self) -> bool:
        """After the last piece of a stream that ends with its connection: whether that was in the middle.

        Its own end may lack the empty line after it. Not every server of completions sends `[DONE]`: such a stream may also end
        between two events.
        """
        within_event = self._events.is_within_event and not is_json(self._events.rest or b"")
        self.feed(b"\n\n")
        return not self.whole and (within_event or self._protocol.api != "openai-completions")

    def _read(self, piece: Piece) -> None:
        if piece.usage is not None:
            self.usage = (self.usage or Usage()).updated(piece.usage)
        self.whole = self.whole or piece.end
        self.refused = piece.error or self.refused


def _tells(data: bytes) -> bool:
    return any(word in data for word in _TELLING)
