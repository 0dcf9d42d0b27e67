"""The HTTP client for model APIs: JSON out, a stream back, and the credential to no other place than the one named."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from portico.errors import NetworkError
from portico.net.errors import BODY_LIMIT, FORBIDDEN_BODY_S, AnswerCut, AnswerUnknown
from portico.oauth.connections import Connections, trusted_certificates
from portico.oauth.http_errors import network_error
from portico.oauth.proxy import proxy_off_loop
from portico.urls import check_endpoint_url
from portico.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Mapping

    from portico.oauth.proxy import Proxy

CONNECT_TIMEOUT_S: Final = 8.0
SILENCE_TIMEOUT_S: Final = 120.0
WAY_HOLDS_S: Final = 30.0
ERROR_BODY_S: Final = 2.0
_FORBIDDEN: Final = 403
_WAYS: Final = 256
_BREAK: Final = frozenset("\r\n\0")
# What reading a body raises when the connection breaks or the server falls silent.
BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError)


class ModelHttp:
    """Requests to model APIs, over aiohttp.

    Proxies and `SSL_CERT_FILE` of the environment are honoured, `.netrc` is not read, cookies are not kept, and no redirect is
    followed. A server may think for `silence_s` seconds between two pieces of its answer; at most `connections` are open (0: any
    number). Without `keeps_connections` each request has a new one, which cannot have ended unseen before it.
    """

    def __init__(self, *, silence_s: float = SILENCE_TIMEOUT_S, connections: int = 100, keeps_connections: bool = True) -> None:
        self._ways: dict[str, tuple[float, Proxy | None]] = {}
        self._silence_s = silence_s
        self._connections = connections
        self._keeps_connections = keeps_connections
        self._session: aiohttp.ClientSession | None = None
        self._trust: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def post(self, url: str, *, body: object, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The answer to `body`, its content unread: the caller closes it.

        Raises:
            AnswerUnknown: the request was sent and no answer came.
            NetworkError: it could not be sent.
            ConfigError: `endpoint-refused`: the URL may not be sent anything.
        """
        return await self._send("POST", url, headers, json=body)

    async def send(self, url: str, *, body: object, headers: Mapping[str, str]) -> HttpResponse:
        """As `post`."""
        return HttpResponse(self, await self.post(url, body=body, headers=headers))

    async def post_bytes(
        self, url: str, *, body: bytes | AsyncIterable[bytes], headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        """As `post`, with a body that is ready; its type is among `headers`, and so is the length of one in pieces.

        The answer is not unpacked.
        """
        return await self._send("POST", url, headers, data=body, auto_decompress=False)

    async def get(self, url: str, *, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """What is at `url`, as `post`."""
        return await self._send("GET", url, headers)

    async def _send(self, method: str, url: str, headers: Mapping[str, str], **content: object) -> aiohttp.ClientResponse:
        proxy = await self.way(url)
        if any(not _BREAK.isdisjoint(value) for value in headers.values()):
            raise header_breaks()
        try:
            return await self._opened().request(
                method,
                url,
                headers=headers,
                allow_redirects=False,
                ssl=await self.trust_for(url) or True,
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers() if proxy else None,
                **content,  # type: ignore[arg-type]  # what aiohttp takes
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise (post_error if method == "POST" else network_error)(error, url) from None

    async def way(self, url: str) -> Proxy | None:
        """The proxy to `url`, once it has been seen that a credential may go there; both hold for half a minute.

        Raises:
            ConfigError: `endpoint-refused`.
            NetworkError: `proxy-unusable`.
        """
        base, now = url.partition("?")[0], time.monotonic()
        until, proxy = self._ways.get(base, (0.0, None))
        if now >= until:
            check_endpoint_url(url, "model API", nearby=True)
            proxy = await proxy_off_loop(url)
            if len(self._ways) >= _WAYS:
                self._ways.clear()
            self._ways[base] = (now + WAY_HOLDS_S, proxy)
        return proxy

    @staticmethod
    async def read(response: aiohttp.ClientResponse, limit: int, *, deadline_s: float | None = None) -> tuple[bytes, bool]:
        """The body of `response`, and whether it is complete.

        Waits for the end of the body, however many TCP segments it takes. Of a body that is longer than `limit` bytes, what has
        come so far is returned (more than `limit` bytes) with False, and the rest can still be read from `response`.

        `deadline_s` is the time in seconds for all of it; without one, only the time between two segments is limited.

        Raises:
            NetworkError: `answer-cut`: the connection broke before the end of the body, or the deadline passed.
        """
        parts: list[bytes] = []
        complete = await _read_into(parts, response, limit, deadline_s)
        return b"".join(parts), complete

    async def read_error(self, response: aiohttp.ClientResponse, *, forbidden_s: float | None = None) -> bytes:
        """The body of an error, or what has come of it in time; empty if the connection breaks. The status is an answer too.

        A 403 has `forbidden_s` seconds for it (`FORBIDDEN_BODY_S` if None), any other status `ERROR_BODY_S`.
        """
        longest = FORBIDDEN_BODY_S if forbidden_s is None else forbidden_s
        parts: list[bytes] = []
        try:
            await _read_into(parts, response, BODY_LIMIT, longest if response.status == _FORBIDDEN else ERROR_BODY_S)
        except AnswerCut as error:
            # A server may keep the connection open after a body that has no length.
            return b"".join(parts) if error.timed_out else b""
        return b"".join(parts)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connections(limit=self._connections, force_close=not self._keeps_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=self._silence_s),
                headers={"User-Agent": f"portico/{__version__}"},
            )
        return self._session

    async def trust_for(self, url: str) -> ssl.SSLContext | None:
        """Whose certificates count at `url`; None where none is shown."""
        if not url.startswith("https:"):
            return None
        if self._trust is None:
            self._trust = await asyncio.to_thread(trusted_certificates)
        return self._trust


class HttpResponse:
    """`portico.models.acceptance.Response` over `ModelHttp`."""

    def __init__(self, http: ModelHttp, response: aiohttp.ClientResponse) -> None:
        self._http = http
        self._response = response
        self.status = response.status
        self.content_type = response.content_type

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def read(self, limit: int) -> tuple[bytes, bool]:
        return await self._http.read(self._response, limit)

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while chunk := await self._response.content.readany():
                yield chunk
        except BROKEN as error:
            raise answer_cut(error, str(self._response.url)) from None

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


async def _read_into(parts: list[bytes], response: aiohttp.ClientResponse, limit: int, deadline_s: float | None) -> bool:
    """Add the body to `parts` as it comes, as `ModelHttp.read`; whether that is all of it."""
    size = 0
    try:
        async with asyncio.timeout(deadline_s):
            # Not `content.read(limit)`: that returns as soon as any bytes are there.
            while chunk := await response.content.readany():
                parts.append(chunk)
                size += len(chunk)
                if size > limit:
                    return False
    except BROKEN as error:
        raise answer_cut(error, str(response.url)) from None
    return True


def header_breaks() -> NetworkError:
    """The error for a request with a header that would break out of its line."""
    why = "it comes from the provider's key or from its headers in the configuration"
    return NetworkError("request-refused", "A header of the request holds a line break.", why=why, unsent=True)


def post_error(error: Exception, url: str) -> NetworkError:
    """What the failure of a POST means: `AnswerUnknown` unless it is certain that nothing of it was sent."""
    failed = network_error(error, url)
    if failed.unsent or not isinstance(error, (aiohttp.ClientError, HttpProcessingError, TimeoutError, OSError)):
        return failed
    return AnswerUnknown(failed.why, timed_out=isinstance(error, TimeoutError))


def answer_cut(error: Exception, url: str) -> AnswerCut:
    """The error for a body that ended early because of `error`, one of `BROKEN`."""
    known = isinstance(error, aiohttp.ClientError | TimeoutError | OSError)
    why = network_error(error, url).why if known else type(error).__name__
    return AnswerCut(why, timed_out=isinstance(error, TimeoutError))
