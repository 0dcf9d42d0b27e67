"""The HTTP client for authorization servers: one form or one metadata request at a time, over aiohttp."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urljoin

import aiohttp

from portico.clock import SystemClock
from portico.errors import NetworkError
from portico.interfaces.authorization import HttpReply
from portico.oauth.connections import Connections, trusted_certificates
from portico.oauth.http_errors import network_error
from portico.oauth.proxy import proxy_off_loop
from portico.oauth.repeated import secrets_of
from portico.oauth.standard import ACCEPT_JSON
from portico.oauth.tasks import let_go
from portico.oauth.urls import without_query
from portico.secret import Secret
from portico.urls import check_endpoint_url
from portico.version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

    from portico.interfaces.authorization import FormRequest
    from portico.interfaces.basics import Clock

BODY_CAP: Final = 1024 * 1024
CONNECT_TIMEOUT_S: Final = 8.0
_KEEPS_METHOD: Final = frozenset({307, 308})
_REDIRECTS: Final = range(300, 400)
_HTTP_NOT_MODIFIED: Final = 304


class OAuthClient:
    """`portico.interfaces.authorization.FormPoster` over aiohttp.

    A session is opened at the first request and closed with the context. Proxies and `SSL_CERT_FILE` of the environment are
    honoured; no redirect is ever followed but a 307 or 308 to the one place that `relocated` names; nothing is logged.
    """

    def __init__(self, *, clock: Clock | None = None, connect_timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        self._clock: Clock = clock or SystemClock()
        self._connect_timeout_s = connect_timeout_s
        self._session: aiohttp.ClientSession | None = None
        self._tls: asyncio.Task[ssl.SSLContext] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close what was opened."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()
        if self._tls is not None:
            await let_go(self._tls)
            self._tls = None

    async def warm_up(self, url: str) -> None:
        """Load the trusted certificates now, if a request to `url` will need them: it takes tens of milliseconds."""
        await self._trust_for(url)

    async def post_form(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float = 30.0) -> HttpReply:
        """Send `request` once.

        Raises:
            NetworkError: `network`, `certificate-refused`, `redirect-refused`, `reply-too-long`.
            ConfigError: `endpoint-refused`: the URL may not be sent anything.
        """
        url = check_endpoint_url(request.url, "endpoint")
        data = {name: value.reveal() if isinstance(value, Secret) else value for name, value in request.form.items()}
        headers = dict(request.headers)
        async with _deadline(timeout_s, url):
            reply = await self._send("POST", url, headers, data)
            place = _moved_to(reply)
            if place is not None and reply.status in _KEEPS_METHOD and relocated.get(url) == place:
                reply = await self._send("POST", check_endpoint_url(place, "endpoint"), headers, data)
        return replace(_not_elsewhere(reply), secrets=secrets_of(request))

    async def get(self, url: str, *, timeout_s: float = 10.0) -> HttpReply:
        """Fetch a metadata document. Raises as `post_form` does."""
        url = check_endpoint_url(url, "metadata URL")
        async with _deadline(timeout_s, url):
            return _not_elsewhere(await self._send("GET", url, ACCEPT_JSON, None))

    async def _send(self, method: str, url: str, headers: Mapping[str, str], data: Mapping[str, str] | None) -> HttpReply:
        trust = await self._trust_for(url)
        proxy = await proxy_off_loop(url)
        left_at_ms, left = self._clock.wall_ms(), self._clock.monotonic()
        try:
            async with self._opened().request(
                method,
                url,
                headers=headers,
                data=data,
                allow_redirects=False,
                ssl=trust,
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers() if proxy else None,
            ) as response:
                body = await _capped(response, url)
                names = {name.lower(): value for name, value in response.headers.items()}
                took_ms = int((self._clock.monotonic() - left) * 1000)
                # A clock that was set back meanwhile must not make the reply younger; one that slept has let it grow older.
                sent_at_ms = min(left_at_ms, self._clock.wall_ms() - took_ms)
                return HttpReply(response.status, names, Secret(body), url, sent_at_ms, took_ms)
        except (aiohttp.ClientError, ConnectionError, TimeoutError, OSError, ValueError) as error:
            raise network_error(error, url) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connections(limit=16),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout_s),
                headers={"User-Agent": f"portico/{__version__}"},
            )
        return self._session

    async def _trust_for(self, url: str) -> ssl.SSLContext | bool:
        # A context of our own: aiohttp makes its default one when it is imported, before SSL_CERT_FILE may be set.
        if not url.startswith("https:"):
            return True
        if self._tls is None:
            self._tls = asyncio.create_task(asyncio.to_thread(trusted_certificates))
        return await asyncio.shield(self._tls)


@asynccontextmanager
async def _deadline(seconds: float, url: str) -> AsyncIterator[None]:
    """`asyncio.timeout` that ends as a `NetworkError` naming the server."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise network_error(error, url) from None


async def _capped(response: aiohttp.ClientResponse, url: str) -> str:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > BODY_CAP:
            response.close()
            raise NetworkError(
                "reply-too-long", "The server's answer is too long to be one.", why="over 1 MiB", where=without_query(url)
            )
    return body.decode("utf-8", errors="surrogateescape")


def _moved_to(reply: HttpReply) -> str | None:
    location = reply.headers.get("location")
    if reply.status not in _REDIRECTS or not location:
        return None
    try:
        return urljoin(reply.url, location)
    except ValueError:
        return None


def _not_elsewhere(reply: HttpReply) -> HttpReply:
    if reply.status in _REDIRECTS and reply.status != _HTTP_NOT_MODIFIED:
        raise NetworkError(
            "redirect-refused",
            "The server sends this request elsewhere, and a request with credentials is not sent on.",
            why=f"HTTP {reply.status}",
            where=without_query(reply.url),
            hint="A captive portal may be answering: open any page in a browser, then try again.",
        )
    return reply
