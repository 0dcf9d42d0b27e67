"""A model's credential as an `httpx.Auth`: for the SDKs here, and for any client that is built on what they are built on.

Newer SDKs are built on httpx2, older ones on httpx, which has the same interface.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

try:
    import httpx2 as httpx
except ModuleNotFoundError:
    import httpx  # type: ignore[import-not-found,no-redef]

from portico.errors import UsageError
from portico.models.refusal import BODY_LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from portico.library.model import Credential, Model

_FORBIDDEN: Final = 403
_JSON: Final = "application/json"
# SDKs add what they find in the environment; what is meant for their maker's servers goes to no other.
_FOREIGN: Final = ("authorization", "x-api-key", "openai-organization", "openai-project")


class PorticoAuth(httpx.Auth):
    """Puts `model`'s credential into every request to its API, and refuses every other host.

    Use it with a client that follows no redirect.
    """

    requires_request_body = True

    def __init__(self, model: Model) -> None:
        self._model = model
        self._origins = {_origin(httpx.URL(base)) for base in model.bases.values()}

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._check(request)
        request.read()
        credential = self._model.credential()
        response = yield self._with(request, credential)
        if credential.generation is None or not self._rejects(response, _start(response) if _may_tell(response) else b""):
            return
        fresh = self._model.credential(rejected=credential)
        if fresh.generation != credential.generation:
            yield self._with(request, fresh)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        self._check(request)
        await request.aread()
        credential = await self._model.acredential()
        response = yield self._with(request, credential)
        if credential.generation is None or not self._rejects(response, await _astart(response) if _may_tell(response) else b""):
            return
        fresh = await self._model.acredential(rejected=credential)
        if fresh.generation != credential.generation:
            yield self._with(request, fresh)

    def _rejects(self, response: httpx.Response, body: bytes) -> bool:
        return self._model.rejects_token(response.status_code, response.headers, _decoded(response, body))

    def _check(self, request: httpx.Request) -> None:
        if _origin(request.url) not in self._origins:
            known = ", ".join(sorted(str(origin.host) for origin in self._origins))
            raise UsageError("wrong-host", f"{request.url.host} is not where {self._model.reference} is served.", why=known)

    def _with(self, request: httpx.Request, credential: Credential) -> httpx.Request:
        for name in _FOREIGN:
            request.headers.pop(name, None)
        request.headers.update(self._model.headers_with(credential))
        return request


def _may_tell(response: httpx.Response) -> bool:
    """Whether the body has to be looked at: an error's, or JSON that is short enough to be one. A stream is left alone."""
    if response.status_code == _FORBIDDEN:
        return True
    length = response.headers.get("content-length", "0")
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return response.is_success and kind == _JSON and length.isdecimal() and int(length) <= BODY_LIMIT


def _decoded(response: httpx.Response, body: bytes) -> bytes:
    """`body` without its content encoding; empty where that cannot be undone."""
    try:
        return httpx.Response(response.status_code, headers=response.headers, content=body).content
    except httpx.DecodingError:
        return b""


def _start(response: httpx.Response) -> bytes:
    """The body as it came, empty if it is longer than `BODY_LIMIT`; whoever reads the response gets every byte of it."""
    stream, parts, size = response.stream, [], 0
    assert isinstance(stream, httpx.SyncByteStream)  # noqa: S101 - a synchronous client's
    rest = iter(stream)
    for part in rest:
        parts.append(part)
        size += len(part)
        if size > BODY_LIMIT:
            break
    response.stream = _Begun(stream, parts, rest)
    return b"".join(parts) if size <= BODY_LIMIT else b""


async def _astart(response: httpx.Response) -> bytes:
    """As `_start`."""
    stream, parts, size = response.stream, [], 0
    assert isinstance(stream, httpx.AsyncByteStream)  # noqa: S101 - an asynchronous client's
    rest = aiter(stream)
    async for part in rest:
        parts.append(part)
        size += len(part)
        if size > BODY_LIMIT:
            break
    response.stream = _AsyncBegun(stream, parts, rest)
    return b"".join(parts) if size <= BODY_LIMIT else b""


class _Begun(httpx.SyncByteStream):
    """A body of which `parts` have been read."""

    def __init__(self, stream: httpx.SyncByteStream, parts: list[bytes], rest: Iterator[bytes]) -> None:
        self._stream = stream
        self._parts = parts
        self._rest = rest

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts
        yield from self._rest

    def close(self) -> None:
        self._stream.close()


class _AsyncBegun(httpx.AsyncByteStream):
    """As `_Begun`."""

    def __init__(self, stream: httpx.AsyncByteStream, parts: list[bytes], rest: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._parts = parts
        self._rest = rest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        async for part in self._rest:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _origin(url: httpx.URL) -> httpx.URL:
    return httpx.URL(scheme=url.scheme, host=url.host, port=url.port)
