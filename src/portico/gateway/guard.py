"""Who may talk to the gateway: programs of this machine that address it as what it is.

A page in a browser reaches loopback too, by a host name that was pointed at it (DNS rebinding, CVE-2025-66416) or by a plain
cross-site request. Either shows in a header that the browser sets and the page cannot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from portico.oauth.callback_http import is_for

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

_SAME_SITE = frozenset({"same-origin", "none"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def local_hosts(port: int) -> frozenset[str]:
    """The values of `Host` that mean the gateway on `port`."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def guard(hosts: frozenset[str]) -> Middleware:
    """A middleware that refuses, on every path, a foreign Host (421) and whatever a web page sends (403)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_for(request, hosts):
            return _refused(421, "wrong-host")
        site = request.headers.get("Sec-Fetch-Site", "none")
        if "Origin" in request.headers or site not in _SAME_SITE:
            return _refused(403, "wrong-origin")
        return await handler(request)

    return check


async def harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Signal handler for every answer: security headers, and no name of the server software."""
    response.headers.update(_HEADERS)
    response.headers["Server"] = "portico"


def _refused(status: int, id: str) -> web.Response:
    return web.json_response({"error": {"id": id}}, status=status)
