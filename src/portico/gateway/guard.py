"""Who may talk to the gateway: programs of this machine that address it as what it is, with a key of its own.

A page in a browser reaches loopback too, by a host name that was pointed at it (DNS rebinding, CVE-2025-66416) or by a plain
cross-site request. Either shows in a header that the browser sets and the page cannot.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from portico.oauth.quiet_http import QuietAnswer, is_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

_SAME_SITE: Final = frozenset({"same-origin", "none"})
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_BEARER: Final = "bearer "
_LONGEST_KEY: Final = 512


def local_hosts(port: int) -> frozenset[str]:
    """The values of `Host` that mean the gateway on `port`."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def refusal(request: web.BaseRequest, hosts: frozenset[str]) -> QuietAnswer | None:
    """The answer to a foreign Host (421) and to whatever a web page sends (403), on every path; None for all others."""
    if not is_for(request, hosts):
        return refused(421, "wrong-host")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if "Origin" in request.headers or site not in _SAME_SITE or "Upgrade" in request.headers:
        return refused(403, "wrong-origin")
    return None


def is_json(request: web.BaseRequest) -> bool:
    """Whether the body says that it is JSON, which no page can say without asking first (Fetch Standard, CORS-safelisted)."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"


def shown_keys(request: web.BaseRequest) -> list[str]:
    """The keys that a request shows: `Authorization: Bearer` and `x-api-key`, each at most once; none where one comes twice."""
    bearers, keys = request.headers.getall("Authorization", []), request.headers.getall("x-api-key", [])
    if len(bearers) > 1 or len(keys) > 1:
        return []
    tokens = [each[len(_BEARER) :].strip() for each in bearers if each[: len(_BEARER)].lower() == _BEARER]
    return [each for each in (*tokens, *keys) if len(each) <= _LONGEST_KEY]


def answer(status: int, value: object, headers: Mapping[str, str] = _NO_HEADERS, *, keeps_open: bool = False) -> QuietAnswer:
    """A JSON answer with the security headers."""
    body = json.dumps(value).encode()
    return QuietAnswer(status, body, content_type="application/json", headers={**_HEADERS, **headers}, keeps_open=keeps_open)


def text(status: int, value: str, content_type: str) -> QuietAnswer:
    """A plain answer with the security headers."""
    return QuietAnswer(status, value.encode(), content_type=content_type, headers=_HEADERS)


def refused(status: int, id: str = "bad-request", **headers: str) -> QuietAnswer:
    """An answer that says why not, and nothing that was received."""
    return answer(status, {"error": {"id": id}}, headers)
