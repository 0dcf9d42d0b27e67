"""One candidate's try at a request: its credential, the provider's answer, and whether that is one."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError, PorticoError, frames_of, place_of
from portico.gateway.headers import is_framed
from portico.gateway.incoming import Incoming
from portico.models.asking import Refused, attempted, request_headers
from portico.models.protocols import PROTOCOLS, is_json, json_object, read_event
from portico.models.refusal import Refusal, local_trouble, read_refusal, refused_in, refused_inside
from portico.net.errors import BODY_LIMIT, AnswerCut, after_head
from portico.net.sse import EVENT_STREAM, EventParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from portico.auth.broker import TokenBroker
    from portico.gateway.body import Body, Payload
    from portico.gateway.routes import Route
    from portico.interfaces.basics import Clock
    from portico.models.callable import CallableModel
    from portico.net.client import HttpClient, Response
    from portico.secret import Secret

_OK: Final = range(200, 300)
_ERRORS: Final = 400
_JSON: Final = "application/json"
# An answer in one piece is held until it is known to be one; of a longer one only this much is.
_HELD: Final = 8 << 20
_FIRST_EVENT: Final = 64 << 10
# Seconds for the body of an error.
_REFUSAL_S: Final = 30.0
_log: Final = logging.getLogger("portico.gateway")


@dataclass(frozen=True, slots=True)
class Call:
    """A client's request, understood. `client` is the name of its key, `query` as it was written; `headers` may be passed on."""

    route: Route
    body: Body
    client: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that is one. `start` has been read of it already, all of it where `whole`; `told` is the object that it is.

    `incoming` has what comes after `start`, where that was waited for; otherwise `answer` has it.
    """

    answer: Response
    start: bytes
    whole: bool
    key: Secret | None
    told: Mapping[str, object] | None = None
    incoming: Incoming | None = None

    @property
    def streams(self) -> bool:
        return self.answer.content_type == EVENT_STREAM

    def rest(self) -> AsyncIterator[bytes]:
        """What comes after `start`.

        Raises:
            NetworkError: it broke off.
        """
        return self.answer.chunks() if self.incoming is None else self.incoming.rest()

    def close(self) -> None:
        """Let go of the answer. What has not been read is not waited for."""
        if self.incoming is not None:
            self.incoming.close()
        self.answer.close()


async def attempt(model: CallableModel, call: Call, upstream: HttpClient, broker: TokenBroker, clock: Clock) -> Begun:
    """Ask `model`. A token that the provider rejects is replaced by one refresh for all that hold it, and the request sent again.

    Raises:
        Refused: no answer began, or what began is an error whatever its status; also where a bug here or in a plugin is why.
    """
    body = call.body.naming(model.reference.model)

    async def send(key: Secret | None) -> Begun:
        return await _judged(_Asked(model, call, key, clock), await _sent(model, call, body, key, upstream))

    try:
        return await attempted(model, broker, send)
    except Refused:
        raise
    except Exception as error:  # noqa: BLE001 - one candidate's bug must not keep the others from answering
        failed, place, frames = _of_bug(error), place_of(error), frames_of(error)
    # Not while it is handled: a log that cannot be written would show it, and its text may quote a token.
    _log.error("%s could not be asked: %s\n%s", model.reference, place, frames)
    raise failed


def _of_bug(error: Exception) -> Refused:
    """A bug, by its kind and place: its text may quote a token."""
    why = place_of(error)
    failure = PorticoError(
        "internal-error", "The gateway has a bug.", why=why, hint="Please report it, with what {prog} gateway logs shows."
    )
    return Refused(local_trouble(failure), failure)


async def _sent(model: CallableModel, call: Call, body: Payload, key: Secret | None, upstream: HttpClient) -> Response:
    api = call.route.api
    base = model.bases.get(api, model.base_url)
    headers = {name.lower(): value for name, value in request_headers(model, key, PROTOCOLS[api].headers(), call.headers).items()}
    return await upstream.send(call.route.url(base, call.query), body=body, headers=headers)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who was asked what, with which credential."""

    model: CallableModel
    call: Call
    key: Secret | None
    clock: Clock


async def _judged(asked: _Asked, answer: Response) -> Begun:
    """The answer, unless it is a refusal: by its status, in the body of an HTTP 200, or in a stream's first event."""
    judge = _of_status if answer.status not in _OK else _of_stream if answer.content_type == EVENT_STREAM else _of_whole
    try:
        return await judge(asked, answer)
    except NetworkError as error:
        answer.close()
        raise after_head(error) from error
    except BaseException:
        answer.close()
        raise


async def _of_whole(asked: _Asked, answer: Response) -> Begun:
    incoming = None if "Content-Length" in answer.headers else Incoming(answer)  # a body of known length is not begun too early
    if incoming is None:
        start, whole = await answer.read(_HELD)
    else:
        start, whole = await _held(incoming, asked.clock)
    if incoming is not None and not whole and not start.strip():
        return Begun(answer, start, whole=False, key=asked.key, incoming=incoming)
    codes = asked.model.error_codes
    told = json_object(start) if whole else None
    if told is None and whole and start and answer.content_type == _JSON and not is_framed(answer.headers) and not is_json(start):
        raise AnswerCut("its connection closed in the middle of the body")
    if told is not None and refused_in(told, codes):
        raise Refused(read_refusal(answer.status, answer.headers, start, codes, asked.key))
    return Begun(answer, start, whole, asked.key, told, incoming)


async def _held(incoming: Incoming, clock: Clock) -> tuple[bytes, bool]:
    """As `Response.read`, up to `_HELD` bytes; of a body that begins with blanks, those alone if no more comes in time."""
    start, whole = await incoming.start(clock, lambda data: not data.strip())
    if whole or not start.strip():
        return start, whole
    parts, size = [start], len(start)
    async for piece in incoming.rest():
        parts.append(piece)
        size += len(piece)
        if size > _HELD:
            return b"".join(parts), False
    return b"".join(parts), True


async def _of_stream(asked: _Asked, answer: Response) -> Begun:
    incoming = Incoming(answer)
    start, ended = await incoming.start(asked.clock, _is_before_its_first_event)
    event = _first_event(start)
    if ended:
        raise AnswerCut("its stream ended before its first event")
    if event is not None and _is_error(event, asked.call, asked.model):
        raise Refused(read_refusal(answer.status, answer.headers, event, asked.model.error_codes, asked.key))
    return Begun(answer, start, whole=False, key=asked.key, incoming=incoming)


def _is_error(event: bytes, call: Call, model: CallableModel) -> bool:
    """Whether a stream's first event is an error: MiniMax's own, which no protocol knows, or the protocol's."""
    if refused_inside(event, model.error_codes):
        return True
    piece = read_event(PROTOCOLS[call.route.api], event)
    return (piece is None or piece.refused is not None) and b'"error"' in event


def _is_before_its_first_event(start: bytes) -> bool:
    return len(start) < _FIRST_EVENT and _first_event(start) is None


def _first_event(data: bytes) -> bytes | None:
    return next(iter(EventParser().feed(data)), None)


async def _of_status(asked: _Asked, answer: Response) -> Begun:
    if answer.status < _ERRORS:
        raise Refused(Refusal("server", "it redirects, and a credential follows no redirect", status=answer.status))
    body = b""
    try:  # its status is an answer, even if its body breaks off, and so is what came of a body that does not end
        async with asyncio.timeout(_REFUSAL_S):
            async for part in answer.chunks():
                body += part
                if len(body) > BODY_LIMIT:
                    break
    except NetworkError:
        body = b""
    except TimeoutError:
        pass
    raise Refused(read_refusal(answer.status, answer.headers, body, asked.model.error_codes, asked.key))
