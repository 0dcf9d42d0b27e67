"""The proxy that the environment names for a URL.

aiohttp's `trust_env` would do this too, but it also sends the credentials of `~/.netrc` to whatever host they fit, and a
`default` entry there fits an authorization server; and it goes around a proxy that it cannot use, in silence.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from portico.errors import NetworkError
from portico.oauth.urls import is_loopback
from portico.secret import Secret

if TYPE_CHECKING:
    from urllib.parse import SplitResult


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy: its URL without credentials, and the credentials."""

    url: str
    user: str | None = None
    password: Secret | None = None

    def headers(self) -> dict[str, str]:
        """What the proxy alone is sent (RFC 9110 section 11.7.2)."""
        if self.user is None:
            return {}
        pair = f"{self.user}:{self.password.reveal() if self.password else ''}"
        return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def proxy_for(url: str) -> Proxy | None:
    """The proxy for `url` by `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, else by the system's settings where a platform has some.

    None goes direct; a server on this machine always does, whatever `NO_PROXY` forgets to say.

    Raises:
        NetworkError: `proxy-unusable`: it is not an HTTP proxy.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    named = getproxies().get(parts.scheme)
    return _read(urlsplit(named if "://" in named else f"http://{named}")) if named else None


def _read(parts: SplitResult) -> Proxy:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme != "http" or not parts.hostname or port == 0:
        raise NetworkError(
            "proxy-unusable",
            "The proxy that the environment names cannot be used.",
            why="only plain HTTP proxies, such as http://proxy.example:3128, are supported",
            unsent=True,
            hint="Set HTTPS_PROXY to an http:// proxy, or list the host in NO_PROXY to go there directly.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Proxy(
        url=f"http://{host}:{port or 80}",
        user=unquote(parts.username) if parts.username is not None else None,
        password=Secret(unquote(parts.password)) if parts.password is not None else None,
    )
