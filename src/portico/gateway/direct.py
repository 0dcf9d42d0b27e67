"""The short way to a provider: aiohttp's protocol and parser without the session around them, most of what a small request costs.

Connections are kept for the next request to the same origin. A credential goes where `ModelHttp` would let it go, and no redirect
is followed.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http import StreamWriter
from aiohttp.http_exceptions import HttpProcessingError

from portico.errors import NetworkError
from portico.gateway.dialling import Origin, dial
from portico.gateway.headers import framed, is_framed
from portico.gateway.upstream import Slices
from portico.models.http import WAY_HOLDS_S, answer_cut, header_breaks, post_error
from portico.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http import RawResponseMessage
    from aiohttp.streams import StreamReader
    from multidict import CIMultiDictProxy

    from portico.gateway.body import Payload
    from portico.gateway.upstream import Upstream, UpstreamAnswer
    from portico.models.http import ModelHttp

_KEPT_S: Final = 15.0
_KEPT: Final = 256
_SWEEP_S: Final = 5.0
_BUFFER: Final = 1 << 16
_HEAD: Final = 16 << 10
_WAYS: Final = 256
_SURELY_SENT: Final = 64 << 10
_AGENT: Final = f"portico/{__version__}"
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)


class DirectUpstream:
    """`Upstream` over connections of its own; what goes to plain HTTP behind a proxy goes by `other`.

    `silence_s`: seconds that a provider may be silent before and within its answer.
    """

    def __init__(self, http: ModelHttp, other: Upstream, *, silence_s: float) -> None:
        self._http = http
        self._other = other
        self._silence_s = silence_s
        self._idle: dict[Origin, deque[tuple[float, ResponseHandler]]] = {}
        self._open: set[_Answer] = set()
        self._ways: dict[str, tuple[float, tuple[Origin | None, str, str]]] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.create_task(self._sweep(), name="provider connections")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeping
        for answer in [*self._open]:
            answer.close()
        for kept in self._idle.values():
            for _, connection in kept:
                connection.close()
        self._idle.clear()

    async def send(self, url: str, *, body: Payload, headers: Mapping[str, str]) -> UpstreamAnswer:
        """As `Upstream` has it. The request is sent once: over a kept connection that has not ended, else over a new one."""
        origin, line, host = await self._way(url)
        if origin is None:
            return await self._other.send(url, body=body, headers=headers)
        request = _request(line, {"host": host, "user-agent": _AGENT, **headers}, body)
        try:
            connection = self._kept(origin)
            if connection is None:
                connection = await dial(origin, url)
            return await self._asked(origin, connection, request, url)
        except _FAILURES as error:
            raise post_error(error, url) from None

    async def _way(self, url: str) -> tuple[Origin | None, str, str]:
        """Where the connection goes, None where `other` has to make it; the request's first line, and its host."""
        until, way = self._ways.get(url, (0.0, None))
        if way is not None and until > time.monotonic():
            return way
        proxy, trust, parts = await self._http.way(url), await self._http.trust_for(url), urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        port = parts.port or (443 if trust else 80)
        origin = Origin(parts.hostname or "", port, trust, proxy) if trust is not None or proxy is None else None
        if len(self._ways) >= _WAYS:
            self._ways.clear()
        way = origin, f"POST {target} HTTP/1.1", parts.netloc
        self._ways[url] = time.monotonic() + WAY_HOLDS_S, way
        return way

    async def _asked(self, origin: Origin, connection: ResponseHandler, request: _Request, url: str) -> UpstreamAnswer:
        answer = _Answer(self, origin, connection, url)
        self._open.add(answer)
        try:
            connection.set_response_params(
                read_until_eof=True, auto_decompress=False, read_bufsize=_BUFFER, max_line_size=_HEAD, max_field_size=_HEAD
            )
            await answer.begin(request)
        except BaseException:
            answer.close()
            raise
        return answer

    def _kept(self, origin: Origin) -> ResponseHandler | None:
        kept = self._idle.get(origin)
        while kept:
            until, connection = kept.pop()
            if until > time.monotonic() and not connection.should_close and _is_quiet(connection):
                return connection
            connection.close()
        return None

    def done(self, answer: _Answer, *, reusable: bool) -> None:
        """Keep the connection of an answer that was read to its end, or close it."""
        self._open.discard(answer)
        connection = answer.connection
        kept = self._idle.setdefault(answer.origin, deque())
        if reusable and len(kept) < _KEPT and connection.is_connected():
            kept.append((time.monotonic() + _KEPT_S, connection))
        elif connection.transport is not None:
            connection.abort()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._silence_s / 4))
            now = time.monotonic()
            for answer in [*self._open]:
                if answer.waiting_since is not None and now - answer.waiting_since > self._silence_s:
                    answer.give_up()
            for kept in self._idle.values():
                while kept and kept[0][0] <= now:
                    kept.popleft()[1].close()


class _Answer:
    """One answer on one connection. `waiting_since`: monotonic seconds, None while nothing is awaited."""

    def __init__(self, upstream: DirectUpstream, origin: Origin, connection: ResponseHandler, url: str) -> None:
        self._upstream = upstream
        self._url = url
        self._message: RawResponseMessage
        self._payload: StreamReader
        self._over = False
        self._size = 0
        self._pouring: asyncio.Task[None] | None = None
        self.origin = origin
        self.connection = connection
        self.waiting_since: float | None = None
        self.status = 0
        self.content_type = ""

    async def begin(self, request: _Request) -> None:
        """Send the request and wait for the answer's head; interim ones (RFC 9110 section 15.2) are passed over."""
        if not self.connection.is_connected() or self.connection.transport is None:
            raise NetworkError("network", "The server cannot be reached.", unsent=True, why="it hung up")
        self._size = request.size
        self.connection.transport.write(request.start)
        if request.rest is not None:
            self._pouring = asyncio.create_task(_pour(self.connection, request.rest), name="a large request")
        self.waiting_since = time.monotonic()
        while True:
            self._message, self._payload = await self.connection.read()
            if self._message.code >= 200:  # noqa: PLR2004 - the first code that is none of theirs
                break
        self.waiting_since = None
        self.status = self._message.code
        self.content_type = self._message.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        return self._message.headers

    def header_items(self) -> Iterable[tuple[str, str]]:
        return self._message.headers.items()

    async def read(self, limit: int) -> tuple[bytes, bool]:
        if self._payload.is_eof() and self._payload.exception() is None and not self._was_reset:
            return self._payload.read_nowait(), True
        parts, size = [], 0
        async for chunk in self.chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > limit:
                return b"".join(parts), False
        return parts[0] if len(parts) == 1 else b"".join(parts), True

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            self.waiting_since = time.monotonic()
            try:
                chunk = await self._payload.readany()
            except _FAILURES as error:
                raise answer_cut(error, self._url) from None
            finally:
                self.waiting_since = None
            if not chunk:
                if self._was_reset:
                    raise answer_cut(ConnectionResetError(), self._url)
                return
            yield chunk

    @property
    def _was_reset(self) -> bool:
        """Whether the connection broke, which aiohttp takes for the end of a body without a length (RFC 9112 section 6.3)."""
        return isinstance(self.connection.exception(), OSError) and not is_framed(self._message.headers)

    def close(self) -> None:
        if not self._over:
            self._over = True
            whole = self.status != 0 and self._payload.is_eof()
            reusable = whole and self._is_sent() and not self._message.should_close and not self.connection.should_close
            if self._pouring is not None:
                self._pouring.cancel()
            self._upstream.done(self, reusable=reusable)

    @property
    def has_body(self) -> bool:
        return self._pouring is None or self._pouring.done()

    def _is_sent(self) -> bool:
        """Whether the whole request has gone out: an answer may come before, and the rest would go out before the next request.

        How much waits below TLS cannot be asked; what is small is never held back.
        """
        if not self.has_body:
            return False
        transport = self.connection.transport
        if transport is None or transport.get_write_buffer_size() > 0:
            return False
        return self.origin.trust is None or self._size <= _SURELY_SENT

    def give_up(self) -> None:
        """End the wait for a provider that says nothing any more."""
        error = aiohttp.SocketTimeoutError("silent for too long")
        if self.status:
            self._payload.set_exception(error)
        else:
            self.connection.set_exception(error)


def _is_quiet(connection: ResponseHandler) -> bool:
    """Whether an idle connection is open and nothing waits to be read from it: its end, say, which the loop has not read yet."""
    if not connection.is_connected() or connection.transport is None:
        return False
    opened = connection.transport.get_extra_info("socket")
    if not hasattr(select, "poll"):  # Windows
        return not select.select([opened], [], [], 0)[0]
    looking = select.poll()
    looking.register(opened, select.POLLIN)
    return not looking.poll(0)


@dataclass(frozen=True, slots=True)
class _Request:
    """A request's bytes: those that are written at once, and of a large one the rest. `size` is that of all."""

    start: bytes
    rest: Slices | None
    size: int


async def _pour(connection: ResponseHandler, rest: Slices) -> None:
    """Write a large body as the provider takes it, so that it is in memory once. Its answer is awaited elsewhere meanwhile."""
    writer = StreamWriter(connection, asyncio.get_running_loop())
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        async for piece in rest:
            if connection.transport is None:
                return
            connection.transport.write(piece)
            await writer.drain()


def _request(line: str, headers: Mapping[str, str], body: Payload) -> _Request:
    """The request's bytes.

    Raises:
        NetworkError: `request-refused`: a header would break out of its line.
    """
    size = len(body) if isinstance(body, bytes) else sum(map(len, body))
    try:
        head = framed(line, {**headers, "content-length": str(size)})
        start, rest = (head + body, None) if isinstance(body, bytes) else (head, Slices(body))
        return _Request(start, rest, len(head) + size)
    except ValueError:
        raise header_breaks() from None
