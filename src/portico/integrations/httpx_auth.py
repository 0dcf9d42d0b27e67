"""An `httpx.Auth` that adds a model's credential to each request, for the SDKs and any other client that uses httpx.

Newer SDKs use httpx2, older ones httpx, which has the same interface.
"""

from __future__ import annotations

import json
import time
import zlib
from typing import TYPE_CHECKING, Final, Self

from portico.errors import UsageError

try:
    import httpx2 as httpx
except ModuleNotFoundError:
    import httpx  # type: ignore[import-not-found,no-redef]

from portico.net.errors import BODY_LIMIT, FORBIDDEN_BODY_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from portico.library.model import Credential, Model

_FORBIDDEN: Final = 403
_JSON: Final = "application/json"
_BODY_TIMEOUT_S: Final = FORBIDDEN_BODY_S
_ENVELOPE_START: Final = b'{"base_resp"'  # the start of MiniMax's error
_ENVELOPE_LIMIT: Final = 4096  # bytes; the error is shorter
_DIGITS: Final = 10
# zlib's window sizes for the encodings of RFC 9110 section 8.4.1. Some servers send `deflate` without the zlib header.
_ZLIB_WINDOWS: Final = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}
# Portico removes these from Accept-Encoding, because Python cannot decode them with a size limit.
_UNBOUNDED_ENCODINGS: Final = frozenset({"br", "zstd"})
# SDKs add these from the environment; they are for the servers of the company that makes the SDK.
_FOREIGN_HEADERS: Final = ("authorization", "x-api-key", "openai-organization", "openai-project")


class WrongHost(UsageError):
    """The SDK tried to send the provider's token to another host."""

    id = "wrong-host"


class PorticoAuth(httpx.Auth):
    """Adds the credential of `model` to every request to its API, and refuses every other host.

    Use it with a client that does not follow redirects. If the server rejects the token, the request is sent again once. To find
    out, Portico reads a short JSON response before the client gets it. If the response has no length, it reads only the first
    part; of a 403, what arrives within ten seconds. The client still gets all of it; only the body of a 403 that then stays
    silent for ten seconds ends there. Portico never accepts `br` or `zstd`.
    """

    requires_request_body = True

    def __init__(self, model: Model) -> None:
        self._model = model
        self._origins = {_origin(httpx.URL(base)) for base in model.bases.values()}

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._check(request)
        request.read()
        credential = self._model.credential()
        response = yield self._authorize(request, credential)
        if credential.generation is None or not self._rejects(
            response, _read_start(response) if _may_reject_token(response) else b""
        ):
            return
        fresh = self._model.credential(rejected=credential)
        if fresh.generation != credential.generation:
            stream = response.stream
            assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101 - a synchronous client's
            stream.close()
            _discard_body(response)
            yield self._authorize(request, fresh)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._check(request)
        await request.aread()
        credential = await self._model.acredential()
        response = yield self._authorize(request, credential)
        if credential.generation is None or not self._rejects(
            response, await _aread_start(response) if _may_reject_token(response) else b""
        ):
            return
        fresh = await self._model.acredential(rejected=credential)
        if fresh.generation != credential.generation:
            stream = response.stream
            assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous client's
            await stream.aclose()
            _discard_body(response)
            yield self._authorize(request, fresh)

    def _rejects(self, response: httpx.Response, body: bytes) -> bool:
        return self._model.rejects_token(response.status_code, response.headers, _decode(response, body))

    def _check(self, request: httpx.Request) -> None:
        if _origin(request.url) not in self._origins:
            hosts = ", ".join(sorted(str(origin.host) for origin in self._origins))
            raise WrongHost(f"{request.url.host} does not serve {self._model.reference}.", why=f"it is served by {hosts}")

    def _authorize(self, request: httpx.Request, credential: Credential) -> httpx.Request:
        for name in _FOREIGN_HEADERS:
            request.headers.pop(name, None)
        encodings = [encoding.strip() for encoding in request.headers.get("accept-encoding", "").split(",")]
        allowed = [encoding for encoding in encodings if encoding.partition(";")[0].strip().lower() not in _UNBOUNDED_ENCODINGS]
        if allowed != encodings:
            request.headers["accept-encoding"] = ", ".join(allowed) or "identity"
        request.headers.update(self._model.headers_with(credential))
        return request


def _may_reject_token(response: httpx.Response) -> bool:
    """Whether to look at the body: the body of a 403, or JSON whose stated length is not too long."""
    if "content-length" in response.headers and not _is_short(response):
        return False
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return response.status_code == _FORBIDDEN or (response.is_success and kind == _JSON)


def _is_short(response: httpx.Response) -> bool:
    length = response.headers.get("content-length", "")
    return length.isascii() and length.isdigit() and len(length) < _DIGITS and int(length) <= BODY_LIMIT


def _needs_more(response: httpx.Response, buffer: _Buffer) -> bool:
    """Whether to read another part before the client gets the response.

    JSON without a length may be a stream. Then the first part is enough, unless it starts MiniMax's error or compressed data.
    """
    if response.status_code == _FORBIDDEN or _is_short(response):
        return buffer.size <= BODY_LIMIT
    if not buffer.parts:
        return True
    if buffer.size > _ENVELOPE_LIMIT:
        return False
    decoded = _decode(response, buffer.start)
    return (_ENVELOPE_START.startswith(decoded) or decoded.startswith(_ENVELOPE_START)) and not _is_json(decoded)


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _decode(response: httpx.Response, body: bytes) -> bytes:
    """Decode `body`; empty if that is not possible, or if the result is longer than `BODY_LIMIT`.

    httpx would decode it without a limit, and a short body may decode to a very long one.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in {"", "identity"}:
        return body
    for window in _ZLIB_WINDOWS.get(encoding, ()):
        decompressor = zlib.decompressobj(window)
        try:
            decoded = decompressor.decompress(body, BODY_LIMIT + 1)
        except zlib.error:
            continue
        return decoded if len(decoded) <= BODY_LIMIT else b""
    return b""


def _discard_body(response: httpx.Response) -> None:
    """Empty the body of a rejected response: httpx would read all of it before it sends the request again."""
    response.stream = httpx.ByteStream(b"")
    response.headers.pop("content-encoding", None)


class _BodyTimeout:
    """Limits the wait for the body of a 403, because the client cannot see the status during that wait.

    A successful response keeps the client's own timeout, because an answer that is cut off would be lost.
    """

    def __init__(self, response: httpx.Response) -> None:
        self._deadline = time.monotonic() + _BODY_TIMEOUT_S
        # httpcore reads the timeouts of a request at the first read of the body.
        self._request_timeouts = response.request.extensions.get("timeout", {}) if response.status_code == _FORBIDDEN else {}
        self._read_timeout = self._request_timeouts.get("read")
        self.shortened = "read" in self._request_timeouts and (self._read_timeout is None or self._read_timeout > _BODY_TIMEOUT_S)

    def __enter__(self) -> Self:
        if self.shortened:
            self._request_timeouts["read"] = _BODY_TIMEOUT_S
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.shortened:
            self._request_timeouts["read"] = self._read_timeout  # for the request that is sent again

    @property
    def expired(self) -> bool:
        return time.monotonic() > self._deadline


def _read_start(response: httpx.Response) -> bytes:
    """Return the start of the body, up to `BODY_LIMIT` and the time limit; empty if it is longer.

    The reader of the response still gets every byte, and the error at the end, except this module's own timeout.
    """
    stream = response.stream
    assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101 - a synchronous client's
    buffered = _BufferedStream(stream)
    with _BodyTimeout(response) as body_timeout:
        buffered.timeout_ends_body = body_timeout.shortened
        while _needs_more(response, buffered) and not body_timeout.expired and buffered.read_part():
            pass
    response.stream = buffered
    return buffered.start


async def _aread_start(response: httpx.Response) -> bytes:
    """As `_read_start`."""
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous client's
    buffered = _AsyncBufferedStream(stream)
    with _BodyTimeout(response) as body_timeout:
        buffered.timeout_ends_body = body_timeout.shortened
        while _needs_more(response, buffered) and not body_timeout.expired and await buffered.read_part():
            pass
    response.stream = buffered
    return buffered.start


class _Buffer:
    """The parts of a body that have been read, and the error (`broken`) at its end.

    `timeout_ends_body`: this module has shortened the client's timeout, and a body that exceeds this timeout ends there.
    """

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.broken: Exception | None = None
        self.timeout_ends_body = False

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)

    def is_own_timeout(self, error: httpx.TransportError) -> bool:
        return self.timeout_ends_body and isinstance(error, httpx.ReadTimeout)

    @property
    def start(self) -> bytes:
        return b"".join(self.parts) if self.size <= BODY_LIMIT else b""


class _BufferedStream(_Buffer, httpx.SyncByteStream):
    """A body whose first parts have been read."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        super().__init__()
        self._stream = stream
        self._iterator = iter(stream)

    def read_part(self) -> bool:
        """Read another part; False at the end."""
        try:
            self.add(next(self._iterator))
        except StopIteration:
            return False
        except httpx.TransportError as error:
            self.broken = None if self.is_own_timeout(error) else error
            return False
        return True

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        if self.broken is not None:
            raise self.broken
        try:
            yield from self._iterator
        except httpx.TransportError as error:
            if not self.is_own_timeout(error):
                raise

    def close(self) -> None:
        self._stream.close()


class _AsyncBufferedStream(_Buffer, httpx.AsyncByteStream):
    """As `_BufferedStream`."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        super().__init__()
        self._stream = stream
        self._iterator = aiter(stream)

    async def read_part(self) -> bool:
        """As `_BufferedStream.read_part`."""
        try:
            self.add(await anext(self._iterator))
        except StopAsyncIteration:
            return False
        except httpx.TransportError as error:
            self.broken = None if self.is_own_timeout(error) else error
            return False
        return True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            yield part
        if self.broken is not None:
            raise self.broken
        try:
            async for part in self._iterator:
                yield part
        except httpx.TransportError as error:
            if not self.is_own_timeout(error):
                raise

    async def aclose(self) -> None:
        await self._stream.aclose()


def _origin(url: httpx.URL) -> httpx.URL:
    return httpx.URL(scheme=url.scheme, host=url.host, port=url.port)
