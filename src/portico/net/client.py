"""The HTTP client for all requests to servers: aiohttp's session under one policy.

A URL is checked before a request: https; plain http only to this machine, or for a model API to the local network. Proxies and
`SSL_CERT_FILE` of the environment are used. `.netrc` is not read, cookies are not kept, redirects are not followed, and nothing
is logged. Connecting may take at most eight seconds. A POST is sent only once: aiohttp retries only other methods. The body
records if any byte was written, so an error states whether the server may have handled the request.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode, urljoin

import aiohttp
from yarl import URL

from portico.interfaces.authorization import HttpReply
from portico.net.errors import (
    BODY_LIMIT,
    FORBIDDEN_BODY_S,
    RedirectRefused,
    ReplyTooLong,
    answer_cut,
    header_breaks,
    network_error,
    post_error,
)
from portico.net.proxy import ConnectedBody, Connections, proxy_off_loop, trusted_certificates
from portico.secret import SHORTEST, Secret
from portico.urls import check_endpoint_url, without_query
from portico.util.clock import SystemClock
from portico.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_proto import ResponseHandler

    from portico.errors import NetworkError
    from portico.interfaces.authorization import FormRequest
    from portico.interfaces.basics import Clock
    from portico.net.proxy import Proxy

    Buffer = bytes | bytearray | memoryview

CONNECT_TIMEOUT_S: Final = 8.0
SILENCE_TIMEOUT_S: Final = 120.0
ERROR_BODY_S: Final = 2.0
REPLY_LIMIT: Final = 1 << 20
"""Bytes of the longest reply of an authorization server."""

_ROUTE_HOLDS_S: Final = 30.0
_ROUTES: Final = 256
_BUFFER: Final = 1 << 16
_HEAD: Final = 16 << 10
_SLICE: Final = 64 << 10
_FORBIDDEN: Final = 403
_KEEPS_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = range(300, 400)
_NOT_MODIFIED: Final = 304
_FORM: Final = "application/x-www-form-urlencoded"
# The exceptions when a connection breaks or the server sends nothing.
_BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError)
# Form fields whose values are secret even if a dialect did not make a `Secret` of them. Some dialects poll with the user code.
_SECRET_FIELDS: Final = frozenset(
    {
        *("code", "code_verifier", "refresh_token", "access_token", "token", "id_token_hint", "device_code", "user_code"),
        *("client_secret", "client_assertion", "assertion", "password", "request_uri", "nonce"),
    }
)


class HttpClient:
    """Requests to authorization servers and model APIs, over one session that the first request opens.

    `silence_s`: how many seconds a server may send nothing before and within its response. `connections`: how many may be open
    (0: no limit). `unpacks`: decompress compressed bodies. `env` names the proxies and certificates; None means the process's
    environment.
    """

    def __init__(
        self,
        *,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        silence_s: float = SILENCE_TIMEOUT_S,
        connections: int = 100,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        unpacks: bool = True,
    ) -> None:
        self._env = os.environ if env is None else env
        self._clock: Clock = clock or SystemClock()
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s, sock_read=silence_s)
        self._unwatched = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s)
        self._silence = _Silence(silence_s)
        self._connections = connections
        self._unpacks = unpacks
        self._session: aiohttp.ClientSession | None = None
        self._trust: asyncio.Task[ssl.SSLContext] | None = None
        self._routes: dict[str, _Route] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the session and its connections."""
        self._silence.close()
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
        if self._trust is not None:
            trust, self._trust = self._trust, None
            trust.cancel()
            await asyncio.wait([trust])

    async def warm_up(self, url: str) -> None:
        """Load the trusted certificates now if `url` needs them. Loading takes tens of milliseconds."""
        await self._trusted(url)

    async def send(self, url: str, *, headers: Mapping[str, str], body: bytes | Iterable[Buffer] | None = None) -> Response:
        """POST `body` (GET if None), and return the response when its headers have arrived.

        The caller closes the response. The parts of a body are not joined, which would need the memory twice.

        Raises:
            AnswerUnknown: the request was sent and no response came.
            NetworkError: it could not be sent.
            ConfigError: `endpoint-refused`: the policy forbids the URL.
        """
        sent = None if body is None else _Body((body,) if isinstance(body, bytes) else tuple(body), self._silence)
        route = self._routes.get(url)
        if route is None or route.until < time.monotonic():
            route = await self._route(url)
        try:
            return Response(await self._request(route, headers, sent), url, sent)
        except _BROKEN as error:
            raise self._error(error, url, sent) from None
        finally:
            if sent is not None:
                self._silence.stop(sent)

    def _error(self, error: Exception, url: str, sent: _Body | None) -> NetworkError:
        if sent is None:
            return network_error(error, url, env=self._env)
        return post_error(error, url, written=sent.started, env=self._env)

    async def post(self, url: str, *, body: object, headers: Mapping[str, str]) -> Response:
        """As `send`, but encode `body` as JSON."""
        return await self.send(url, body=json.dumps(body).encode(), headers={"Content-Type": "application/json", **headers})

    async def post_form(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float = 30.0) -> HttpReply:
        """POST a form once.

        A 307 or 308 is followed only if `relocated` maps the request's URL to the URL of the redirect.

        Raises:
            NetworkError: `network`, `certificate-refused`, `reply-unreadable`.
            ConfigError: `endpoint-refused`: the policy forbids the URL.
        """
        url = check_endpoint_url(request.url, "endpoint")
        fields = {name: value.reveal() if isinstance(value, Secret) else value for name, value in request.form.items()}
        body, headers = urlencode(fields, errors="surrogatepass").encode(), {"Content-Type": _FORM, **request.headers}
        async with self._deadline(timeout_s, url):
            reply = await self._reply(url, headers, body)
            target = _redirect_target(reply)
            if target is not None and reply.status in _KEEPS_METHOD and relocated.get(url) == target:
                reply = await self._reply(check_endpoint_url(target, "endpoint"), headers, body)
        return replace(_reject_redirect(reply), secrets=secrets_of(request))

    async def get(self, url: str, *, timeout_s: float = 10.0) -> HttpReply:
        """Fetch a metadata document. Raises as `post_form` does."""
        url = check_endpoint_url(url, "metadata URL")
        async with self._deadline(timeout_s, url):
            return _reject_redirect(await self._reply(url, {"Accept": "application/json"}, None))

    async def _reply(self, url: str, headers: Mapping[str, str], body: bytes | None) -> HttpReply:
        sent = None if body is None else _Body((body,))
        route = await self._route_now(url)
        wall_start_ms, start = self._clock.wall_ms(), self._clock.monotonic()
        try:
            response = await self._request(route, headers, sent)
            async with response:
                parts: list[bytes] = []
                complete = await _read_into(parts, response.content.readany, REPLY_LIMIT)
        except _BROKEN as error:
            raise network_error(error, url, unsent=sent is not None and not sent.started, env=self._env) from None
        if not complete:
            raise ReplyTooLong("The server's response is too long.", why="over 1 MiB", where=without_query(url))
        took_ms = int((self._clock.monotonic() - start) * 1000)
        # The earlier time, because the wall clock may have been set back while the request ran.
        sent_at_ms = min(wall_start_ms, self._clock.wall_ms() - took_ms)
        names = {name.lower(): value for name, value in response.headers.items()}
        text = b"".join(parts).decode("utf-8", errors="surrogateescape")
        return HttpReply(response.status, names, Secret(text), url, sent_at_ms, took_ms)

    async def _request(self, route: _Route, headers: Mapping[str, str], body: _Body | None) -> aiohttp.ClientResponse:
        """Send the request by aiohttp, and return its response. aiohttp's exceptions pass through.

        Raises:
            NetworkError: `request-refused`: a header contains a line break.
        """
        proxy = route.proxy
        if proxy is not None and route.url.scheme == "http":  # aiohttp sends proxy headers only with CONNECT
            headers = {**headers, **proxy.headers()}
        try:
            return await self._opened().request(
                "GET" if body is None else "POST",
                route.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=self._timeout if body is None or body.silence is None else self._unwatched,
                ssl=route.trust,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=None if proxy is None or proxy.user is None else proxy.headers(),
            )
        except BaseException as error:
            if body is not None:
                body.abort()
            if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
                raise header_breaks() from None
            raise

    async def _route(self, url: str) -> _Route:
        """Check that a credential may go to the model API at `url`, and return how to reach it. Cached for half a minute.

        Raises:
            ConfigError: `endpoint-refused`.
            NetworkError: `proxy-unusable`, `certificate-refused`.
        """
        check_endpoint_url(url, "model API", nearby=True)
        route = await self._route_now(url)
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        self._routes[url] = route
        return route

    async def _route_now(self, url: str) -> _Route:
        proxy = await proxy_off_loop(url, self._env)
        return _Route(URL(url, encoded=True), proxy, await self._trusted(url), time.monotonic() + _ROUTE_HOLDS_S)

    async def _trusted(self, url: str) -> ssl.SSLContext | bool:
        # aiohttp makes its default context at import. SSL_CERT_FILE may be set later, so that context is not used.
        if not url.startswith("https:"):
            return True
        if self._trust is None or (self._trust.done() and self._trust.exception() is not None):
            self._trust = asyncio.create_task(asyncio.to_thread(trusted_certificates, self._env))
        return await asyncio.shield(self._trust)

    @asynccontextmanager
    async def _deadline(self, seconds: float, url: str) -> AsyncIterator[None]:
        """As `asyncio.timeout`, but raises a `NetworkError` that names the server."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError as error:
            raise network_error(error, url, env=self._env) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connections(limit=self._connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                headers={"User-Agent": f"portico/{__version__}"},
                auto_decompress=self._unpacks,
                read_bufsize=_BUFFER,
                max_line_size=_HEAD,
                max_field_size=_HEAD,
            )
        return self._session


@dataclass(frozen=True, slots=True)
class _Route:
    """How to reach a URL. `trust` has the certificate authorities. The route expires at `until` (monotonic seconds)."""

    url: URL
    proxy: Proxy | None
    trust: ssl.SSLContext | bool
    until: float


class Response:
    """A response of which only the headers were read. The caller of `HttpClient.send` closes the response."""

    def __init__(self, response: aiohttp.ClientResponse, url: str, body: _Body | None) -> None:
        connection = response.connection
        self._response = response
        self._url = url
        self._body = body
        self._protocol = body.protocol if body is not None else None if connection is None else connection.protocol
        self.status = response.status
        self.headers = response.headers
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self._closed = None if self._protocol is None or response.content.is_eof() else self._protocol.closed
        if self._closed is not None:
            self._closed.add_done_callback(self._on_closed)
        if body is not None:
            body.content = response.content

    def _on_closed(self, _closed: asyncio.Future[None]) -> None:
        """Fail the reader if the framing of the body is invalid: aiohttp closes such a connection without an exception."""
        content = self._response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the framing of the body broke"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self.close()

    @property
    def has_body(self) -> bool:
        """Whether the whole request was sent. A response may begin before that."""
        return self._body is None or self._body.written

    @property
    def is_framed(self) -> bool:
        """Whether the headers define the end of the body, and not the end of the connection (RFC 9112 section 6.3)."""
        return "Content-Length" in self.headers or "Transfer-Encoding" in self.headers

    async def read(self, limit: int, *, deadline_s: float | None = None) -> tuple[bytes, bool]:
        """Wait for the end of the body, and return the body and whether it is complete.

        If the body is longer than `limit` bytes, return the bytes that have arrived (more than `limit`) and False. The caller
        can still read the rest. `deadline_s` limits the seconds for the whole body; if it is None, only the time between two
        segments is limited.

        Raises:
            AnswerCut: the connection broke before the end of the body, or the deadline passed.
        """
        content, parts = self._response.content, list[bytes]()
        try:
            if content.is_eof() and content.total_bytes <= limit:  # the usual case
                parts.append(content.read_nowait())
                self._check_end()
                complete = True
            elif deadline_s is None:
                complete = await self._read_into(parts, limit)
            else:
                async with asyncio.timeout(deadline_s):
                    complete = await self._read_into(parts, limit)
        except _BROKEN as error:
            raise answer_cut(error, self._url) from None
        return parts[0] if len(parts) == 1 else b"".join(parts), complete

    async def read_error(self, *, forbidden_s: float | None = None, other_s: float | None = None) -> bytes:
        """Return the part of an error response's body that arrives in time; empty if the connection breaks. Raises nothing.

        The limit is `forbidden_s` seconds for a 403 (None: `FORBIDDEN_BODY_S`), and `other_s` seconds for other statuses (None:
        `ERROR_BODY_S`).
        """
        seconds, usual = (forbidden_s, FORBIDDEN_BODY_S) if self.status == _FORBIDDEN else (other_s, ERROR_BODY_S)
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(usual if seconds is None else seconds):
                await self._read_into(parts, BODY_LIMIT)
        except TimeoutError:
            pass  # a server may keep the connection open after a body without a length
        except _BROKEN:
            return b""
        return b"".join(parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The rest of the body, in chunks as they arrive.

        Raises:
            AnswerCut: the connection broke before the end of the body.
        """
        try:
            while chunk := await self._next():
                yield chunk
            self._check_end()
        except _BROKEN as error:
            raise answer_cut(error, self._url) from None

    async def _read_into(self, parts: list[bytes], limit: int) -> bool:
        complete = await _read_into(parts, self._next, limit)
        if complete:
            self._check_end()
        return complete

    async def _next(self) -> bytes:
        """The next chunk of the body, empty at its end."""
        body, content = self._body, self._response.content
        silence = None if body is None else body.silence
        if body is None or silence is None or content.is_eof():
            return await content.readany()
        silence.start(body)
        try:
            return await content.readany()
        finally:
            silence.stop(body)  # `body.silence` would be None after the response was closed

    def _check_end(self) -> None:
        """Check the end of a body without a length.

        aiohttp treats a broken connection as the end of such a body (RFC 9112 section 6.3).

        Raises:
            ConnectionResetError: the connection broke.
        """
        if not self.is_framed and self._protocol is not None and isinstance(self._protocol.exception(), OSError):
            raise ConnectionResetError

    def close(self) -> None:
        """Release the connection, or abort it if the body was not read to its end."""
        if self._closed is not None:
            self._closed.remove_done_callback(self._on_closed)
        if self._body is not None:
            self._body.unwatch()
        if self._response.content.at_eof():
            if not self._response.closed:
                self._response.release()
            if self._body is not None and not self._body.written:
                self._body.abort()
            return
        connection = self._response.connection
        if connection is not None and connection.protocol is not None:
            connection.protocol.abort()  # do not wait until the server has read the whole request
        self._response.close()


async def _read_into(parts: list[bytes], read_chunk: Callable[[], Awaitable[bytes]], limit: int) -> bool:
    """Append the chunks of the body to `parts`. Return False as soon as the body is longer than `limit` bytes."""
    size = 0
    while chunk := await read_chunk():
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            return False
    return True


class _Body(ConnectedBody):
    """A request's body, written once.

    A large body is written in slices; the next slice waits until the server has received the previous slice.

    `started`: the headers and the first byte were written to an open connection. `written`: the last byte was written too.
    `content` is the body of the response. Without `silence`, aiohttp's own timer limits how long the server sends nothing.
    """

    def __init__(self, parts: tuple[Buffer, ...], silence: _Silence | None = None) -> None:
        super().__init__(None)
        self.silence = silence
        self.content: aiohttp.StreamReader | None = None
        self._parts = parts
        self._size = sum(map(len, parts))
        self._transport: asyncio.Transport | None = None
        self.started = False
        self.written = False

    async def write_with_length(self, writer: AbstractStreamWriter, _length: int | None) -> None:
        """Write the body.

        Raises:
            ConnectionResetError: the connection had ended before the first byte.
            OSError: it ended later.
        """
        protocol = self.protocol
        if protocol is None or not protocol.is_connected():
            raise ConnectionResetError("ended before the request was sent")
        self.started, self._transport = True, protocol.transport
        for part in self._parts:
            for at in range(0, len(part), _SLICE):
                self._restart_timer(protocol)  # a server that stops receiving counts as silent
                await writer.write(bytes(part[at : at + _SLICE]))
        self._restart_timer(protocol)
        self.written, self._parts = True, ()

    def _restart_timer(self, protocol: ResponseHandler) -> None:
        if self.silence is None:
            protocol.start_timeout()
        # after the response's headers, only the reader of the response has a timer
        elif self.content is None or self.silence.watches(self):
            self.silence.start(self)

    def unwatch(self) -> None:
        """Stop the timer and never start it again. The body may still be unsent, and other requests may use its connection."""
        if self.silence is not None:
            self.silence.stop(self)
            self.silence = None

    def time_out(self) -> None:
        """Fail the request as aiohttp's own timer does."""
        error = aiohttp.SocketTimeoutError("the server is silent")
        if self.protocol is not None:
            self.protocol.set_exception(error)
        if self.content is not None:
            self.content.set_exception(error)

    def abort(self) -> None:
        """Abort the connection with its unsent data. aiohttp would first wait for the server to receive the data."""
        self.unwatch()
        if self._transport is not None:
            self._transport.abort()

    async def write(self, writer: AbstractStreamWriter) -> None:
        """As `write_with_length`, for other callers in aiohttp."""
        await self.write_with_length(writer, None)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text, for aiohttp's own debugging."""
        return b"".join(self._parts).decode(encoding, errors)


class _Silence:
    """Times out requests whose server sends nothing for `longest_s` seconds. All requests share one timer."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._since: dict[_Body, float] = {}  # the request that has waited longest comes first
        self._timer: asyncio.TimerHandle | None = None

    def start(self, body: _Body) -> None:
        """Start waiting for the server of a request."""
        self._since.pop(body, None)
        self._since[body] = time.monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._longest_s, self._check)

    def watches(self, body: _Body) -> bool:
        """Whether a request waits for its server."""
        return body in self._since

    def stop(self, body: _Body) -> None:
        """Stop waiting for the server of a request."""
        self._since.pop(body, None)

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer, now = None, time.monotonic()
        for body, since in [*self._since.items()]:
            left_s = since + self._longest_s - now
            if left_s > 0:
                self._timer = asyncio.get_running_loop().call_later(left_s, self._check)
                return
            del self._since[body]
            body.time_out()


def secrets_of(request: FormRequest) -> tuple[Secret, ...]:
    """The values in a form and its headers that no message may show."""
    values = [
        value if isinstance(value, Secret) else Secret(value)
        for name, value in request.form.items()
        if isinstance(value, Secret) or name in _SECRET_FIELDS
    ]
    values += [Secret(value.partition(" ")[2]) for name, value in request.headers.items() if name.lower() == "authorization"]
    return tuple(value for value in values if len(value.reveal()) >= SHORTEST)


def _redirect_target(reply: HttpReply) -> str | None:
    location = reply.headers.get("location")
    if reply.status not in _REDIRECTS or not location:
        return None
    try:
        return urljoin(reply.url, location)
    except ValueError:
        return None


def _reject_redirect(reply: HttpReply) -> HttpReply:
    if reply.status in _REDIRECTS and reply.status != _NOT_MODIFIED:
        raise RedirectRefused(
            "The server sends this request elsewhere, and a request with credentials is not sent on.",
            why=f"HTTP {reply.status}",
            where=without_query(reply.url),
            hint="A captive portal may be answering: open any page in a browser, then try again.",
        )
    return reply
