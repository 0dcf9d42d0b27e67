"""Who may talk to the gateway: programs of this machine that address it as what it is.

A page in a browser reaches loopback too, by a host name that was pointed at it (DNS rebinding, CVE-2025-66416) or by a plain
cross-site request. Either shows in a header that the browser sets and the page cannot.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from portico.oauth.quiet_http import QuietAnswer, is_for

if TYPE_CHECKING:
    from aiohttp import web

_SAME_SITE: Final = frozenset({"same-origin", "none"})
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def local_hosts(port: int) -> frozenset[str]:
    """The values of `Host` that mean the gateway on `port`."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def refusal(request: web.BaseRequest, hosts: frozenset[str]) -> QuietAnswer | None:
    """The answer to a foreign Host (421) and to whatever a web page sends (403), on every path; None for all others."""
    if not is_for(request, hosts):
        return refused(421, "wrong-host")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if "Origin" in request.headers or site not in _SAME_SITE:
        return refused(403, "wrong-origin")
    return None


def answer(status: int, value: object, **headers: str) -> QuietAnswer:
    """A JSON answer with the security headers."""
    return QuietAnswer(status, json.dumps(value).encode(), content_type="application/json", headers={**_HEADERS, **headers})


def refused(status: int, id: str = "bad-request", **headers: str) -> QuietAnswer:
    """An answer that says why not, and nothing that was received."""
    return answer(status, {"error": {"id": id}}, **headers)
