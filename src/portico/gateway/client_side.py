"""The client's end of a request over aiohttp: its request read, its answer written."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time

from portico.gateway.body import LIMIT
from portico.gateway.forward import Gone
from portico.gateway.headers import framed
from portico.oauth.quiet_http import receiving

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.gateway.shares import Lease, ShareUsed

# A head is in memory as it came, as text, and as what is passed on of it.
_HEAD_COPIES: Final = 3
# Bytes that are counted at once for a body whose length is not known.
_GROWS_BY: Final = 256 << 10
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


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
    await lease.hold((length or 0) + _HEAD_COPIES * _head_size(request))
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        request.writer.output_size = 0
    if request.content.is_eof():
        data = request.content.read_nowait()
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


def _head_size(request: web.BaseRequest) -> int:
    return sum(len(name) + len(value) for name, value in request.raw_headers)


class AnswerStream(web.StreamResponse):
    """A response that names no server software, and whose head goes out with its first piece."""

    _send_headers_immediately = False

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


class SentAnswer(web.StreamResponse):
    """An answer that has gone out by the time the server hears of it."""

    def __init__(self, status: int, *, keeps_open: bool) -> None:
        super().__init__(status=status)
        self._keeps_open = keeps_open

    @property
    def keep_alive(self) -> bool:
        return self._keeps_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Nothing is left to be done."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to be done."""


class AiohttpClient:
    """`ClientSide` for one request."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response: web.StreamResponse | None = None

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        request = self._request
        keeps_open, version = request.keep_alive, request.version
        self.response = response = SentAnswer(status, keeps_open=keeps_open)
        own = {"cache-control": "no-store", "date": rfc822_formatted_time()}
        if keeps_open is not (version >= HttpVersion11):
            own["connection"] = "keep-alive" if keeps_open else "close"
        if status != HTTPStatus.NO_CONTENT:
            own["content-length"] = str(len(body))
        head = framed(f"HTTP/{version.major}.{version.minor} {status} {response.reason}", {**headers, **own})
        try:
            await request.writer.write(head + body)
        except OSError:
            raise Gone from None

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        response = AnswerStream(status=status, headers={**headers, "Cache-Control": "no-store"})
        if self._request.version >= (1, 1):
            response.enable_chunked_encoding()
        else:
            response.force_close()
        self.response = response
        try:
            await response.prepare(self._request)
        except OSError:
            raise Gone from None

    async def write(self, chunk: bytes) -> None:
        assert self.response is not None  # noqa: S101 - it was begun
        try:
            await self.response.write(chunk)
        except OSError:
            raise Gone from None

    async def end(self) -> None:
        assert self.response is not None  # noqa: S101 - it was begun
        try:
            await self.response.write_eof()
        except OSError:
            raise Gone from None

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
