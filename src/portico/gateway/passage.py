"""One request's passage: from candidate to candidate until one begins to answer, then that answer, piece by piece."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from portico.errors import NetworkError
from portico.gateway.headers import is_framed, to_client
from portico.gateway.metering import StreamMeter
from portico.gateway.outcome import Outcome, headers_of
from portico.gateway.trying import attempt
from portico.models.asking import Refused
from portico.models.failover import Round
from portico.models.protocols import PROTOCOLS, json_object
from portico.models.refusal import shown
from portico.models.refusal_errors import no_answer
from portico.net.errors import AnswerCut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.auth.broker import TokenBroker
    from portico.errors import PorticoError
    from portico.gateway.live_models import Candidates
    from portico.gateway.outcome import End
    from portico.gateway.trying import Begun, Call
    from portico.interfaces.basics import Clock
    from portico.models.callable import CallableModel
    from portico.models.cooldown import Cooldowns
    from portico.models.refusal import Refusal
    from portico.net.client import HttpClient

# Bytes of an answer in one piece that are kept for its counts, where it was passed on before its end.
_METERED: Final = 1 << 20
_log: Final = logging.getLogger("portico.gateway")


class Gone(Exception):
    """The client has hung up."""


class NoAnswer(Exception):
    """No candidate has begun to answer. `error` is for the client, `refusal` what it is about.

    `wait_ms` is after how many ms another try is worth it, None where nobody knows.
    """

    def __init__(self, error: PorticoError, refusal: Refusal, wait_ms: int | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.refusal = refusal
        self.wait_ms = wait_ms


class ClientSide(Protocol):
    """The way back to the client. Each method but the last raises `Gone` where nobody is there."""

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


@dataclass(frozen=True, slots=True)
class Parts:
    """What every passage needs. `cooldowns` is shared by all; `counting` by those that count tokens only."""

    upstream: HttpClient
    broker: TokenBroker
    cooldowns: Cooldowns
    counting: Cooldowns
    clock: Clock
    done: Callable[[Outcome], None]


class Passage:
    """`call` through `candidates`. `way` tells what has come of them so far."""

    def __init__(self, call: Call, candidates: Candidates, parts: Parts) -> None:
        self._call = call
        self._parts = parts
        self._candidates = candidates
        self._protocol = PROTOCOLS[call.route.api]
        self._meter = StreamMeter(self._protocol)
        self._piecewise = bytearray()
        self._began_at, self._began = parts.clock.wall_ms(), parts.clock.monotonic()
        self._first_byte: int | None = None
        self.way = Round(candidates.models, parts.counting if call.route.counts else parts.cooldowns, candidates.wanted)

    async def run(self, client: ClientSide) -> None:
        """Answer.

        Raises:
            NoAnswer: nobody did, and nothing was sent to the client.
        """
        model, begun = await self._first_answer()
        self._first_byte = self._since_it_began()
        if begun.answer.has_body:
            self._call.body.free()  # no other candidate will be asked
        try:
            end, why = await self._relayed(model, begun, client)
        except asyncio.CancelledError:
            self._tell("client-gone", begun.answer.status, model)
            raise
        told = begun.told if begun.whole or begun.streams else json_object(bytes(self._piecewise))
        if told is not None:
            self._meter.usage = self._protocol.usage(told)
        self._tell(end, begun.answer.status, model, why)

    def failed(self, status: int, why: str) -> None:
        """Tell that the client was sent an error of this status."""
        self._tell("refused", status, None, why)

    def headers(self, model: CallableModel | None) -> dict[str, str]:
        """Who answers, and why others did not."""
        if model is not None and len(self.way.attempts) == 1:
            return self._candidates.first_answers
        return headers_of(model, self.way.attempts, self._candidates.passed)

    async def _first_answer(self) -> tuple[CallableModel, Begun]:
        while (model := self.way.next()) is not None:
            try:
                begun = await attempt(model, self._call, self._parts.upstream, self._parts.broker, self._parts.clock)
            except Refused as refused:
                self.way.failed(model, refused.refusal, refused.error)
                tried, path = model.reference, self._call.route.path
                _log.info("%s %s: %s does not answer: %s", self._call.client, path, tried, refused.refusal)
            except BaseException:
                self.way.gave_up(model)
                raise
            else:
                self.way.answered(model)
                return model, begun
        reason = self.way.reason
        assert reason is not None  # noqa: S101 - as in `no_answer`
        assert reason.refusal is not None  # noqa: S101 - only an answer has none
        raise NoAnswer(no_answer(self.way), reason.refusal, self.way.wait_ms)

    async def _relayed(self, model: CallableModel, begun: Begun, client: ClientSide) -> tuple[End, str]:
        headers = {**to_client(begun.answer.headers.items()), **self.headers(model)}
        try:
            if begun.whole:
                await client.send(begun.answer.status, headers, begun.start)
            else:
                await client.begin(begun.answer.status, headers)
                await self._pass_on(begun.start, begun, client)
                async for chunk in begun.rest():
                    await self._pass_on(chunk, begun, client)
                if begun.streams and not is_framed(begun.answer.headers) and self._meter.broke_off():
                    raise AnswerCut("its connection closed before the last event")
                await client.end()
        except NetworkError as error:
            client.abort()
            return "cut", str(error)
        except Gone:
            return "client-gone", ""
        finally:
            begun.close()
        return ("cut", shown(self._meter.refused, begun.key)) if self._meter.refused is not None else ("answered", "")

    async def _pass_on(self, chunk: bytes, begun: Begun, client: ClientSide) -> None:
        await client.write(chunk)
        if begun.streams:
            self._meter.feed(chunk)
        elif len(self._piecewise) <= _METERED:
            self._piecewise += chunk

    def _tell(self, end: End, status: int, model: CallableModel | None, why: str = "") -> None:
        whole = self._since_it_began()
        attempts, usage = tuple(self.way.attempts), self._meter.usage
        told = Outcome(self._call, end, status, attempts, self._began_at, whole, self._first_byte, model, usage, why)
        self._parts.done(told)

    def _since_it_began(self) -> int:
        return round((self._parts.clock.monotonic() - self._began) * 1000)
