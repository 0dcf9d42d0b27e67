"""Whether a provider's response is an answer: one rule for `ask`, the library, probes and the gateway.

A 200 is no answer yet: MiniMax reports errors in the body of one, and a stream may begin with an error. Until something of an
answer has been passed on, another candidate can answer in its place.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError
from portico.models.protocols import DONE, PROTOCOLS
from portico.models.provider_errors import (
    AttemptFailed,
    ProviderError,
    is_error_body,
    is_error_object,
    is_json,
    json_object,
    read_provider_error,
)
from portico.net.errors import FORBIDDEN_BODY_S, AnswerCut, after_head
from portico.net.sse import EVENT_STREAM, EventParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from portico.interfaces.basics import Clock
    from portico.interfaces.plugins import ApiKind
    from portico.models.loader import CallableModel
    from portico.models.protocols import ApiProtocol, Piece
    from portico.net.client import Response
    from portico.secret import Secret

_OK: Final = range(200, 300)
_ERRORS: Final = 400
_JSON: Final = "application/json"
# Bytes of an answer in one piece that are held until it is known to be one, and of a stream before its first event.
_HELD: Final = 8 << 20
_FIRST_EVENT: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds one attempt waits, by `clock`.

    `error_s` for the body of an error, `forbidden_s` for that of a 403, which tells whether a refresh would help. `whole_s` for a
    body that is no stream, None: as long as it comes. `head_s` and `comments_s` are how long the start of an answer is held if
    nothing comes of it, or only comments and blanks: whoever waits for it may give up. None: as long as it takes.
    """

    error_s: float = 2.0
    forbidden_s: float = FORBIDDEN_BODY_S
    whole_s: float | None = 30.0
    head_s: float | None = None
    comments_s: float | None = None
    clock: Clock | None = None


@dataclass(slots=True)
class Exchange:
    """Which model was asked over which protocol, with which credential."""

    model: CallableModel
    api: ApiKind
    key: Secret | None
    patience: Patience

    def failed(self, response: Response, body: bytes) -> AttemptFailed:
        """The provider's error in `body`."""
        return AttemptFailed(read_provider_error(response.status, response.headers, body, self.model.error_codes, self.key))


@dataclass(slots=True)
class Accepted:
    """A response accepted as an answer. It is closed by whoever has it.

    `start` holds the bytes read so far, the whole body if `complete`; then `fields` is the JSON object that it is, None if it is
    none. What comes after `start` is in `body`, or without one in `response`.
    """

    model: CallableModel
    response: Response
    key: Secret | None
    start: bytes
    complete: bool
    fields: Mapping[str, object] | None = None
    body: HeldBody | None = None

    @property
    def streams(self) -> bool:
        return self.response.content_type == EVENT_STREAM

    def rest(self) -> AsyncIterator[bytes]:
        """What comes after `start`.

        Raises:
            NetworkError: it broke off.
        """
        return self.response.chunks() if self.body is None else self.body.rest()

    def close(self) -> None:
        """Let go of the response. What has not been read is not waited for."""
        if self.body is not None:
            self.body.close()
        self.response.close()


async def accepted(exchange: Exchange, response: Response) -> Accepted:
    """The answer, unless the response is an error: by its status, in the body of an HTTP 200, or in a stream's first event.

    Until something of an answer has been passed on, another candidate can answer in its place. So a body in one piece is held
    until it is known to be an answer, and a stream until its first event is there.

    Raises:
        AttemptFailed: it is an error.
        AnswerUnknown: it broke off before anything of it could be passed on.
    """
    try:
        if response.status in _OK:
            return await (_of_stream if response.content_type == EVENT_STREAM else _of_whole)(exchange, response)
        failed = await _error(exchange, response)
    except NetworkError as error:
        response.close()
        raise after_head(error) from error
    except BaseException:
        response.close()
        raise
    response.close()
    raise failed


async def _error(exchange: Exchange, response: Response) -> AttemptFailed:
    if response.status < _ERRORS:
        why = "it redirects, and a credential follows no redirect"
        return AttemptFailed(ProviderError("server", why, status=response.status))
    patience = exchange.patience
    body = await response.read_error(forbidden_s=patience.forbidden_s, other_s=patience.error_s)
    return exchange.failed(response, body)


async def _of_stream(exchange: Exchange, response: Response) -> Accepted:
    parser, first = EventParser(), None

    def is_before_first_event(start: bytes, piece: bytes) -> bool:
        nonlocal first
        first = next(parser.events(parser.blocks(piece)), None)
        return first is None and len(start) < _FIRST_EVENT

    body = HeldBody(response, exchange.patience)
    start, ended = await body.start(is_before_first_event)
    if ended:
        raise AnswerCut("its stream ended before its first event")
    if first is not None and _is_error(exchange, first):
        raise exchange.failed(response, first)
    return Accepted(exchange.model, response, exchange.key, start, complete=False, body=body)


def read_event(protocol: ApiProtocol, data: bytes | str) -> Piece | None:
    """What the data of one event says; None if it is neither a JSON object nor the end of a stream of completions."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    if text.strip() == "[DONE]":
        return protocol.read(DONE)
    event = json_object(text)
    return None if event is None else protocol.read(event)


def _is_error(exchange: Exchange, event: bytes) -> bool:
    """Whether a stream's first event is an error: MiniMax's own, which no protocol knows, or the protocol's."""
    if is_error_body(event, exchange.model.error_codes):
        return True
    piece = read_event(PROTOCOLS[exchange.api], event)
    return (piece is None or piece.error is not None) and b'"error"' in event


async def _of_whole(exchange: Exchange, response: Response) -> Accepted:
    # The start of a body of known length is not passed on before its end.
    body = None if "Content-Length" in response.headers else HeldBody(response, exchange.patience)
    reading, whole_s = response.read(_HELD) if body is None else _held(body), exchange.patience.whole_s
    try:
        if whole_s is None:
            start, complete = await reading
        else:
            async with asyncio.timeout(whole_s):
                start, complete = await reading
    except TimeoutError:
        raise AnswerCut("its body did not end in time", timed_out=True) from None
    fields = json_object(start) if complete else None
    if complete and fields is None and start and response.content_type == _JSON and not response.is_framed and not is_json(start):
        raise AnswerCut("its connection closed in the middle of the body")
    if fields is not None and is_error_object(fields, exchange.model.error_codes):
        raise exchange.failed(response, start)
    return Accepted(exchange.model, response, exchange.key, start, complete, fields, body)


async def _held(body: HeldBody) -> tuple[bytes, bool]:
    """As `Response.read`, up to `_HELD` bytes; of a body that begins with blanks, those alone if no more comes in time."""
    start, complete = await body.start(lambda start, _piece: not start.strip())
    if complete or not start.strip():
        return start, complete
    parts, size = [start], len(start)
    async for piece in body.rest():
        parts.append(piece)
        size += len(piece)
        if size > _HELD:
            return b"".join(parts), False
    return b"".join(parts), True


class HeldBody:
    """The body of a response as it comes, whose start may be held back until it is known what it is.

    A provider may send comments so that the client goes on waiting (HTML Standard, section 9.2.7;
    https://openrouter.ai/docs/api-reference/streaming), or empty lines before an answer in one piece
    (https://api-docs.deepseek.com/quick_start/rate_limit). A client that sees none of them gives up, and the answer is lost and
    paid. So whoever waits for the next piece can give up without losing it.
    """

    def __init__(self, response: Response, patience: Patience) -> None:
        self._chunks = response.chunks()
        self._patience = patience
        self._pending: asyncio.Task[bytes] | None = None

    async def start(self, holds: Callable[[bytes, bytes], bool]) -> tuple[bytes, bool]:
        """What has come of the body once `holds(what has come, its last piece)` is false, and whether its end has come.

        A start of which it is still true is returned if nothing else comes in time.

        Raises:
            NetworkError: the body broke off.
        """
        start, clock = b"", self._patience.clock
        until = None if clock is None or self._patience.head_s is None else clock.monotonic() + self._patience.head_s
        try:
            while True:
                piece = await self._next(until)
                if not piece:
                    return start, piece is not None
                if not start and clock is not None and until is not None and self._patience.comments_s is not None:
                    until = min(until, clock.monotonic() + self._patience.comments_s)
                start += piece
                if not holds(start, piece):
                    return start, False
        except BaseException:
            self.close()
            raise

    async def rest(self) -> AsyncIterator[bytes]:
        """Every further piece, as it comes.

        Raises:
            NetworkError: the body broke off.
        """
        if self._pending is not None:
            pending, self._pending = self._pending, None
            if chunk := await pending:
                yield chunk
        async for chunk in self._chunks:
            yield chunk

    def close(self) -> None:
        """Stop waiting for the next piece."""
        if self._pending is not None:
            self._pending.add_done_callback(_seen)
            self._pending.cancel()

    async def _next(self, until: float | None) -> bytes | None:
        """The next piece; empty at the end of the body, None if none has come until then (monotonic seconds)."""
        clock = self._patience.clock
        if clock is None or until is None:
            return await self._following()
        if self._pending is None:
            self._pending = asyncio.create_task(self._following(), name="the next piece of an answer")
        timer = asyncio.create_task(clock.sleep(max(0.0, until - clock.monotonic())), name="how long a piece is waited for")
        try:
            await asyncio.wait([self._pending, timer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not self._pending.done():
            return None
        pending, self._pending = self._pending, None
        return pending.result()

    async def _following(self) -> bytes:
        return await anext(self._chunks, b"")


def _seen(task: asyncio.Task[bytes]) -> None:
    if not task.cancelled():
        task.exception()
