"""The HTTP side of the callback server: its pages as answers, and the form that an answer may come in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from portico.oauth.authorization_response import UnfitResponse
from portico.oauth.pages import PAGES, SECURITY_HEADERS
from portico.oauth.quiet_http import QuietAnswer

if TYPE_CHECKING:
    from aiohttp import web

    from portico.oauth.pages import PageName

BODY_CAP: Final = 64 * 1024
_BODY_TIMEOUT_S: Final = 10.0
_FORM: Final = "application/x-www-form-urlencoded"


class Answer(QuietAnswer):
    """An answer with the security headers of a page."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(status, body, content_type="text/html", headers={**SECURITY_HEADERS, **headers})


def page(name: PageName, status: int | None = None, **headers: str) -> Answer:
    """One of the fixed pages, with its own status or another."""
    shown = PAGES[name]
    if shown.refresh_s is not None:
        headers["Refresh"] = str(shown.refresh_s)
    return Answer(status or shown.status, shown.html(), **headers)


def refuse(status: int) -> Answer:
    """The page for a request that is none of ours."""
    return page("refused", status)


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
