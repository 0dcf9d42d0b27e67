"""The HTTP side of the callback server: what a request may look like, and answers that hold nothing it brought.

aiohttp's own defaults would name its version, echo a malformed request line and log the code: `RequestHandler.handle_error` and
the response class here replace them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from portico.oauth.authorization_response import UnfitResponse
from portico.oauth.pages import PAGES, SECURITY_HEADERS

if TYPE_CHECKING:
    from portico.oauth.pages import PageName

BODY_CAP: Final = 64 * 1024
_BODY_TIMEOUT_S: Final = 10.0
_IDLE_TIMEOUT_S: Final = 10.0
_LINE_CAP: Final = 16 * 1024
_FORM: Final = "application/x-www-form-urlencoded"
_log = logging.getLogger(__name__)


class Answer(web.Response):
    """A response with the security headers and without the name of the server software."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(status=status, body=body, headers={**SECURITY_HEADERS, **headers})
        if body:
            self.content_type, self.charset = "text/html", "utf-8"
        self.force_close()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


def page(name: PageName, status: int | None = None, **headers: str) -> Answer:
    """One of the fixed pages, with its own status or another."""
    shown = PAGES[name]
    if shown.refresh_s is not None:
        headers["Refresh"] = str(shown.refresh_s)
    return Answer(status or shown.status, shown.html(), **headers)


class _Handler(web.RequestHandler):
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was received
    ) -> web.StreamResponse:
        _log.debug("a request could not be handled: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        return page("refused", status)


class QuietServer(web.Server):
    """aiohttp's low-level server with bounded requests, no access log and the handler above."""

    def __call__(self) -> web.RequestHandler:
        limits: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": _IDLE_TIMEOUT_S,
            "lingering_time": 0,
            "max_line_size": _LINE_CAP,
            "max_field_size": _LINE_CAP,
        }
        return _Handler(self, loop=asyncio.get_running_loop(), logger=_log, **limits)


def is_for(request: web.BaseRequest, hosts: frozenset[str]) -> bool:
    """Whether the request's own Host header is one of `hosts`, given once, and its target is in origin form.

    `request.host` will not do: aiohttp takes it from the target where that is a whole URL, and from the socket where there is no
    header at all.
    """
    given = request.headers.getall("Host", [])
    return len(given) == 1 and given[0].lower() in hosts and request.raw_path.startswith("/")


async def read_form(request: web.BaseRequest) -> str:
    """The form body, at most 64 KiB and ten seconds of it.

    Raises:
        UnfitResponse: it is longer, slower or not a form.
    """
    if request.content_type != _FORM:
        raise UnfitResponse("not-a-form")
    if (request.content_length or 0) > BODY_CAP:
        raise UnfitResponse("body-too-long")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            async for chunk in request.content.iter_chunked(BODY_CAP):
                body += chunk
                if len(body) > BODY_CAP:
                    raise UnfitResponse("body-too-long")
    except TimeoutError:
        raise UnfitResponse("body-too-slow") from None
    return body.decode("latin-1")
