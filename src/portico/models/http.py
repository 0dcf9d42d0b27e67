"""The HTTP client for model APIs: JSON out, a stream back, and the credential to no other place than the one named."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final, Self

import aiohttp

from portico import __version__
from portico.oauth.endpoints import check_endpoint_url
from portico.oauth.http_errors import network_error
from portico.oauth.proxy import proxy_for
from portico.oauth.resolver import DaemonResolver

if TYPE_CHECKING:
    from collections.abc import Mapping

CONNECT_TIMEOUT_S: Final = 8.0
SILENCE_TIMEOUT_S: Final = 120.0


class ModelHttp:
    """Requests to model APIs, over aiohttp.

    Proxies and `SSL_CERT_FILE` of the environment are honoured, `.netrc` is not read, cookies are not kept, and no redirect is
    followed. A server may think for two minutes between two pieces of its answer.
    """

    def __init__(self) -> None:
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
            NetworkError: no answer came.
            ConfigError: `endpoint-refused`: the URL may not be sent anything.
        """
        check_endpoint_url(url, "model API")
        proxy = proxy_for(url)
        try:
            return await self._opened().post(
                url,
                json=body,
                headers=headers,
                allow_redirects=False,
                ssl=await self._trust_for(url),
                proxy=proxy.url if proxy else None,
                proxy_headers=proxy.headers() if proxy else None,
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise network_error(error, url) from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=DaemonResolver()),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_TIMEOUT_S),
                headers={"User-Agent": f"portico/{__version__}"},
            )
        return self._session

    async def _trust_for(self, url: str) -> ssl.SSLContext | bool:
        if not url.startswith("https:"):
            return True
        if self._trust is None:
            self._trust = await asyncio.to_thread(ssl.create_default_context)
        return self._trust
