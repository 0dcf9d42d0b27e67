"""HTTP for the servers of a sign-in: how they listen, their pages as answers, and the form that an answer may come in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import web

from portico.net.server import Bounds, QuietAnswer, QuietServer
from portico.oauth.authorization_response import UnrelatedResponse
from portico.oauth.pages import PAGES, SECURITY_HEADERS

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence

    from portico.oauth.pages import PageName

BODY_CAP: Final = 64 * 1024
_BODY_TIMEOUT_S: Final = 10.0
_FORM: Final = "application/x-www-form-urlencoded"
_SHUTDOWN_S: Final = 0.25
_HTTP_PORT: Final = 80


async def serve(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    sockets: Sequence[socket.socket],
    bounds: Bounds | None = None,
) -> web.ServerRunner:
    """Answer requests at `sockets` with `handle`; the runner's `cleanup` ends that, within a quarter of a second."""
    runner = web.ServerRunner(QuietServer(handle, refuse, bounds or Bounds()), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    for listener in sockets:
        await web.SockSite(runner, listener).start()
    return runner


def host_names(host: str, port: int) -> frozenset[str]:
    """The Host headers of requests that are meant for a listener at `host` and `port`."""
    address = f"[{host}]" if ":" in host else host
    return frozenset({f"{address}:{port}"} | ({address} if port == _HTTP_PORT else set()))


class PageResponse(QuietAnswer):
    """An answer with the security headers of a page."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(status, body, content_type="text/html", headers={**SECURITY_HEADERS, **headers})


def page(name: PageName, status: int | None = None, **headers: str) -> PageResponse:
    """One of the fixed pages, with its own status or another."""
    content = PAGES[name]
    if content.refresh_s is not None:
        headers["Refresh"] = str(content.refresh_s)
    return PageResponse(status or content.status, content.html(), **headers)


def refuse(status: int) -> PageResponse:
    """The page for a request that is none of ours."""
    return page("refused", status)


async def read_form(request: web.BaseRequest) -> str:
    """The form body, at most 64 KiB and ten seconds of it.

    Raises:
        UnrelatedResponse: it is longer, slower or not a form.
    """
    if request.content_type != _FORM:
        raise UnrelatedResponse("not-a-form")
    if (request.content_length or 0) > BODY_CAP:
        raise UnrelatedResponse("body-too-long")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.content.iter_chunked(BODY_CAP):
                body += chunk
                if len(body) > BODY_CAP:
                    raise UnrelatedResponse("body-too-long")
    except TimeoutError:
        raise UnrelatedResponse("body-too-slow") from None
    return body.decode("latin-1")
