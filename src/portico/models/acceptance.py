"""Decide if a provider's response is an answer: one rule for `ask`, the library, probes and the gateway.

HTTP 200 alone does not mean an answer: MiniMax reports errors in the body of a 200, and a stream may begin with an error. Until
a part of the answer was passed on, failover can still try another candidate.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError
from portico.models.protocols import PROTOCOLS, STREAM_END
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
# How many bytes are read at most before a response is accepted: of a body that is not streamed, and of a stream before its
# first event.
_MAX_WHOLE: Final = 8 << 20
_MAX_BEFORE_EVENT: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds one attempt waits, measured by `clock`. None means no limit.

    `error_s` is for the body of an error, `forbidden_s` for the body of a 403, which shows if a refresh would help. `whole_s`
    is for a body that is not streamed. `head_s` and `comments_s` limit how long the start of a response is buffered: `head_s`
    if nothing arrives, `comments_s` if only comments and blanks arrive. A client that receives no byte may give up.
    """

    error_s: float = 2.0
    forbidden_s: float = FORBIDDEN_BODY_S
    whole_s: float | None = 30.0
    head_s: float | None = None
    comments_s: float | None = None
    clock: Clock | None = None


@dataclass(slots=True)
class Exchange:
    """One request: the model, the protocol and the credential."""

    model: CallableModel
    api: ApiKind
    key: Secret | None
    patience: Patience

    def failed(self, response: Response, body: bytes) -> AttemptFailed:
        return AttemptFailed(read_provider_error(response.status, response.headers, body, self.model.error_codes, self.key))


@dataclass(slots=True)
class Accepted:
    """A response accepted as an answer. The caller closes it.

    `start` has the bytes read so far (the whole body if `complete`). `fields` is the parsed JSON object of a complete body.
    `rest` reads the bytes after `start`.
    """

    model: CallableModel
    response: Response
    key: Secret | None
    start: bytes
    complete: bool
    fields: Mapping[str, object] | None = None
    body: BodyReader | None = None

    @property
    def streams(self) -> bool:
        return self.response.content_type == EVENT_STREAM

    def rest(self) -> AsyncIterator[bytes]:
        """Yield the bytes after `start`.

        Raises:
            NetworkError: the body broke off.
        """
        return self.response.chunks() if self.body is None else self.body.rest()

    def close(self) -> None:
        """Close the response without waiting for unread bytes."""
        if self.body is not None:
            self.body.close()
        self.response.close()


async def accepted(exchange: Exchange, response: Response) -> Accepted:
    """Accept the response as an answer, unless its status, its body or its first event is an error.

    The body may be an error even with HTTP 200. So a body that is not streamed is buffered until it is known to be an answer,
    and a stream is buffered until its first event arrives.

    Raises:
        AttemptFailed: the response is an error.
        AnswerUnknown: the response broke off before any part was passed on.
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
        why = "the provider redirects, and Portico follows no redirect with a credential"
        return AttemptFailed(ProviderError("server", why, status=response.status))
    patience = exchange.patience
    body = await response.read_error(forbidden_s=patience.forbidden_s, other_s=patience.error_s)
    return exchange.failed(response, body)


async def _of_stream(exchange: Exchange, response: Response) -> Accepted:
    parser, first = EventParser(), None

    def is_before_first_event(start: bytes, piece: bytes) -> bool:
        nonlocal first
        first = next(parser.events(parser.blocks(piece)), None)
        return first is None and len(start) < _MAX_BEFORE_EVENT

    body = BodyReader(response, exchange.patience)
    start, ended = await body.start(is_before_first_event)
    if ended:
        raise AnswerCut("its stream ended before its first event")
    if first is not None and _is_error(exchange, first):
        raise exchange.failed(response, first)
    return Accepted(exchange.model, response, exchange.key, start, complete=False, body=body)


def read_event(protocol: ApiProtocol, data: bytes | str) -> Piece | None:
    """Read the data of one event. None if the data is neither a JSON object nor the end of a stream of completions."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    if text.strip() == "[DONE]":
        return protocol.read(STREAM_END)
    event = json_object(text)
    return None if event is None else protocol.read(event)


def _is_error(exchange: Exchange, event: bytes) -> bool:
    """Whether a stream's first event is an error, in MiniMax's form or in the protocol's."""
    if is_error_body(event, exchange.model.error_codes):
        return True
    piece = read_event(PROTOCOLS[exchange.api], event)
    return (piece is None or piece.error is not None) and b'"error"' in event


async def _of_whole(exchange: Exchange, response: Response) -> Accepted:
    # A body with a Content-Length is passed on as a whole, so only a body without this header needs a reader.
    body = None if "Content-Length" in response.headers else BodyReader(response, exchange.patience)
    reading, whole_s = response.read(_MAX_WHOLE) if body is None else _read_whole(body), exchange.patience.whole_s
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


async def _read_whole(body: BodyReader) -> tuple[bytes, bool]:
    """Read up to `_MAX_WHOLE` bytes, as `Response.read`. If only blanks arrive in time, return the blanks."""
    start, complete = await body.start(lambda start, _piece: not start.strip())
    if complete or not start.strip():
        return start, complete
    parts, size = [start], len(start)
    async for piece in body.rest():
        parts.append(piece)
        size += len(piece)
        if size > _MAX_WHOLE:
            return b"".join(parts), False
    return b"".join(parts), True


class BodyReader:
    """Reads the body of a response, and can stop waiting for the next piece without losing that piece.

    A provider may send comments so that the client keeps waiting (HTML Standard, section 9.2.7;
    https://openrouter.ai/docs/api-reference/streaming), or empty lines before an answer that is not streamed
    (https://api-docs.deepseek.com/quick_start/rate_limit). These must reach the client in time. Otherwise the client gives up,
    and the answer is lost but billed.
    """

    def __init__(self, response: Response, patience: Patience) -> None:
        self._chunks = response.chunks()
        self._patience = patience
        self._pending: asyncio.Task[bytes] | None = None

    async def start(self, needs_more: Callable[[bytes, bytes], bool]) -> tuple[bytes, bool]:
        """Read until `needs_more(start, last piece)` is false or the time is over.

        Return the start, and whether the body has ended.

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
                if not needs_more(start, piece):
                    return start, False
        except BaseException:
            self.close()
            raise

    async def rest(self) -> AsyncIterator[bytes]:
        """Yield the remaining pieces as they arrive.

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
        if self._pending is not None:
            self._pending.add_done_callback(_retrieve_exception)
            self._pending.cancel()

    async def _next(self, until: float | None) -> bytes | None:
        """Return the next piece; empty at the end of the body, None if no piece arrives before `until` (monotonic seconds)."""
        clock = self._patience.clock
        if clock is None or until is None:
            return await self._read()
        if self._pending is None:
            self._pending = asyncio.create_task(self._read(), name="read the next piece of a body")
        timer = asyncio.create_task(clock.sleep(max(0.0, until - clock.monotonic())), name="time limit of a piece")
        try:
            await asyncio.wait([self._pending, timer], return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
        if not self._pending.done():
            return None
        pending, self._pending = self._pending, None
        return pending.result()

    async def _read(self) -> bytes:
        return await anext(self._chunks, b"")


def _retrieve_exception(task: asyncio.Task[bytes]) -> None:
    """Keep asyncio from logging the exception of a task that is not awaited."""
    if not task.cancelled():
        task.exception()
