"""The pages that the browser shows during a sign-in, and the HTTP server that sends them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from aiohttp import web

from portico.net.server import Bounds, QuietAnswer, QuietServer
from portico.oauth.authorization_response import UnrelatedResponse

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

CSS: Final = """
:root{color-scheme:light dark;--bg:#f4f5f7;--card:#fff;--text:#1b1f24;--soft:#4a5260;--line:#dfe3e8;--good:#0b6b3a;
--good-bg:#e3f5ea;--bad:#a3201b;--bad-bg:#fdebea;--plain:#274690;--plain-bg:#e8edfb}
@media (prefers-color-scheme:dark){:root{--bg:#101318;--card:#191e25;--text:#eef1f5;--soft:#b4bdc9;--line:#2b323c;
--good:#6fdb9f;--good-bg:#12301f;--bad:#ff9d97;--bad-bg:#3a1716;--plain:#a9c1ff;--plain-bg:#1b2643}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;min-height:100dvh;display:flex;flex-direction:column;align-items:center;justify-content:center;
padding:1.5rem;background:var(--bg);color:var(--text);
font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{width:100%;max-width:28rem;background:var(--card);border:1px solid var(--line);border-radius:1rem;padding:2.5rem 2rem;
text-align:center;box-shadow:0 1px 2px rgb(0 0 0/.05),0 12px 32px rgb(0 0 0/.07)}
svg{width:4rem;height:4rem;padding:1rem;border-radius:50%;fill:none;stroke:currentColor;stroke-width:2.5;
stroke-linecap:round;stroke-linejoin:round}
.good svg{color:var(--good);background:var(--good-bg)}
.bad svg{color:var(--bad);background:var(--bad-bg)}
.plain svg{color:var(--plain);background:var(--plain-bg)}
h1{margin:1.25rem 0 .5rem;font-size:1.5rem;line-height:1.25;text-wrap:balance}
p{margin:0;overflow-wrap:anywhere}
.next{margin-top:1.25rem;padding-top:1.25rem;border-top:1px solid var(--line);color:var(--soft)}
footer{margin-top:1.25rem;color:var(--soft);font-size:.875rem;letter-spacing:.04em}
@media (max-width:30rem){main{padding:2rem 1.25rem;border-radius:.75rem}h1{font-size:1.3rem}}
@media (forced-colors:active){svg{border:2px solid}}
"""

_SVG: Final = '<svg viewBox="0 0 24 24" aria-hidden="true">{}</svg>'
SYMBOLS: Final[Mapping[str, str]] = {
    "good": _SVG.format('<path d="M4 12.5l5.5 5.5L20 6.5"/>'),
    "bad": _SVG.format('<path d="M6 6l12 12M18 6L6 18"/>'),
    "plain": _SVG.format('<path d="M12 11v6M12 7h.01"/>'),
}

PageName = Literal["signed-in", "denied", "failed", "pending", "refused", "other-user", "used"]


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `status` is the HTTP status. The browser reloads the page after `refresh_s` seconds."""

    status: int
    tone: Literal["good", "bad", "plain"]
    title: str
    text: str
    next_step: str
    refresh_s: int | None = None

    def html(self) -> bytes:
        """The HTML document in UTF-8."""
        role = "alert" if self.tone == "bad" else "status"
        return _DOCUMENT.format(
            css=CSS,
            symbol=SYMBOLS[self.tone],
            tone=self.tone,
            role=role,
            title=self.title,
            text=self.text,
            next_step=self.next_step,
        ).encode()


_DOCUMENT: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>{title} - Portico</title>
<link rel="icon" href="data:,">
<style>{css}</style>
</head>
<body>
<main class="{tone}">
{symbol}
<div role="{role}">
<h1>{title}</h1>
<p>{text}</p>
</div>
<p class="next">{next_step}</p>
</main>
<footer>Portico</footer>
</body>
</html>
"""

PAGES: Final[Mapping[PageName, Page]] = {
    "signed-in": Page(
        200,
        "good",
        "You are signed in",
        "Your tokens are stored on this computer.",
        "You can close this tab and continue in the terminal.",
    ),
    "denied": Page(
        403,
        "bad",
        "The sign-in was denied",
        "Nothing was stored on this computer.",
        "You can close this tab. To try again, run the command again in the terminal.",
    ),
    "failed": Page(
        502,
        "bad",
        "The sign-in failed",
        "The terminal shows the reason and what to do next.",
        "You can close this tab and return to the terminal.",
    ),
    "pending": Page(
        200,
        "plain",
        "Almost there",
        "Portico is completing your sign-in.",
        "This page reloads automatically. The terminal shows the progress too.",
        refresh_s=2,
    ),
    "refused": Page(
        400,
        "plain",
        "Nothing to see here",
        "This page is only used during sign-in.",
        "If you are signing in, return to the tab of the sign-in or to the terminal.",
    ),
    "other-user": Page(
        403,
        "bad",
        "This sign-in belongs to another user",
        "This browser runs as a different user of this computer, so Portico did not accept its request.",
        "If both users are you, open the address shown in the terminal. If this page appears again, paste its address there.",
    ),
    "used": Page(
        410,
        "plain",
        "This address was already used",
        "It opens the sign-in page only once.",
        "Continue in the tab that it opened. If you cannot find the tab, the terminal shows what to do.",
    ),
}

_CSS_HASH: Final = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Connection": "close",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_CSS_HASH}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


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
    """Serve `handle` on `sockets`. The runner's `cleanup` stops the server within a quarter of a second."""
    runner = web.ServerRunner(QuietServer(handle, refuse, bounds or Bounds()), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    for listener in sockets:
        await web.SockSite(runner, listener).start()
    return runner


def host_names(host: str, port: int) -> frozenset[str]:
    """The valid Host headers for a listener at `host` and `port`."""
    address = f"[{host}]" if ":" in host else host
    return frozenset({f"{address}:{port}"} | ({address} if port == _HTTP_PORT else set()))


class PageResponse(QuietAnswer):
    """An HTML response with security headers."""

    def __init__(self, status: int, body: bytes = b"", **headers: str) -> None:
        super().__init__(status, body, content_type="text/html", headers={**SECURITY_HEADERS, **headers})


def page(name: PageName, status: int | None = None, **headers: str) -> PageResponse:
    """The response with page `name`. `status` overrides the page's own status."""
    content = PAGES[name]
    if content.refresh_s is not None:
        headers["Refresh"] = str(content.refresh_s)
    return PageResponse(status or content.status, content.html(), **headers)


def refuse(status: int) -> PageResponse:
    """The page for an invalid request."""
    return page("refused", status)


async def read_form(request: web.BaseRequest) -> str:
    """Read a form body: at most 64 KiB, within ten seconds.

    Raises:
        UnrelatedResponse: the body is longer, slower or not a form.
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
