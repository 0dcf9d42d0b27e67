"""Who may talk to the gateway: programs of this machine that address it as what it is, with a key of its own.

A page in a browser reaches loopback too, by a host name that was pointed at it (DNS rebinding, CVE-2025-66416) or by a plain
cross-site request. Either shows in a header that the browser sets and the page cannot.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from portico.gateway.routes import ROUTES
from portico.gateway.vendor_errors import error_body
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
# The codings of a body that the server undoes itself.
_CODINGS: Final = ("gzip", "deflate")
READABLE: Final[Mapping[str, str]] = MappingProxyType({"Accept-Encoding": ", ".join(_CODINGS)})
"""Where a client reads which codings it may use (RFC 9110 section 15.5.16)."""
WRONG_CODING: Final = (
    f"The Content-Encoding of the body is not understood. Send the body without one, or packed by {' or '.join(_CODINGS)}."
)


def local_hosts(port: int) -> frozenset[str]:
    """The values of `Host` that mean the gateway on `port`."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def refusal(request: web.BaseRequest, hosts: frozenset[str]) -> QuietAnswer | None:
    """The answer to a foreign Host (421) and to whatever a web page sends (403), on every path; None for all others."""
    if not is_for(request, hosts):
        why = f"The request is not addressed to this gateway: its base URL is http://{min(hosts)}"
        return refused(421, "wrong-host", why, request)
    site = request.headers.get("Sec-Fetch-Site", "none")
    header = "Origin" if "Origin" in request.headers else "Sec-Fetch-Site" if site not in _SAME_SITE else None
    if header is not None:
        why = f"The request has the {header} header of a web page, and no web page may use the gateway: send it from a program"
        return refused(403, "wrong-origin", f"{why}, without that header.", request)
    return None


def is_json(request: web.BaseRequest) -> bool:
    """Whether the body says that it is JSON, which no page can say without asking first (Fetch Standard, CORS-safelisted)."""
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"


def is_readable(request: web.BaseRequest) -> bool:
    """Whether the body comes as it is, or in a coding that the server undoes."""
    return request.headers.get("Content-Encoding", "").strip().lower() in {"", "identity", *_CODINGS}


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


def refused(status: int, id: str, message: str, request: web.BaseRequest | None = None, **headers: str) -> QuietAnswer:
    """An answer that says why not, in the shape of the protocol of the request's path, and nothing that was received."""
    route = ROUTES.get(request.raw_path.partition("?")[0]) if request is not None else None
    body = error_body(None if route is None else route.api, status, id, message)
    return answer(status, {**body, "error": {**body["error"], "id": id}}, headers)


def not_understood(status: int) -> QuietAnswer:
    """The answer to what reaches no handler, whose path is unknown: both protocols' clients find the message in it."""
    id, message, headers = "bad-request", f"{HTTPStatus(status).phrase}.", _NO_HEADERS
    if status == HTTPStatus.BAD_REQUEST:
        message = "The request is not valid HTTP."
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        id, message, headers = "wrong-content-coding", WRONG_CODING, READABLE
    error = error_body(None, status, id, message)["error"]
    return answer(status, {"type": "error", "error": {**error, "id": id}}, headers)
