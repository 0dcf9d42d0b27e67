"""The pages that the callback server shows: fixed text, one inline style sheet, nothing received, no script, nothing external."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.oauth.pages.style import CSS, SYMBOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

PageName = Literal["signed-in", "denied", "failed", "pending", "refused", "other-user", "used"]


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `status` is its HTTP status; `refresh_s` makes the browser ask again after so many seconds."""

    status: int
    tone: Literal["good", "bad", "plain"]
    title: str
    text: str
    next_step: str
    refresh_s: int | None = None

    def html(self) -> bytes:
        """The document, UTF-8."""
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
        "Your tokens are stored on this computer, and the terminal has taken over.",
        "You can close this tab.",
    ),
    "denied": Page(
        403,
        "bad",
        "The sign-in was denied",
        "Nothing was stored on this computer.",
        "To try again, run the command in the terminal once more. You can close this tab.",
    ),
    "failed": Page(
        502,
        "bad",
        "The sign-in did not finish",
        "The terminal says what went wrong, and what to do next.",
        "You can close this tab and go back to the terminal.",
    ),
    "pending": Page(
        200,
        "plain",
        "Almost there",
        "The sign-in was received and is being completed.",
        "This page refreshes by itself. The terminal shows the same.",
        refresh_s=2,
    ),
    "refused": Page(
        400,
        "plain",
        "Nothing to do here",
        "This address waits for the answer to one sign-in, and this request is not it.",
        "If you were signing in, go back to the tab of the sign-in or to the terminal.",
    ),
    "other-user": Page(
        403,
        "bad",
        "This sign-in belongs to another user",
        "This browser runs as another user of this computer than the sign-in, so nothing was accepted from it.",
        "If both are you, open the address that the terminal shows. If that ends here too, paste this page's address there.",
    ),
    "used": Page(
        410,
        "plain",
        "This address was used already",
        "It leads to the sign-in page once.",
        "Go on in the tab that it opened. If there is none, the terminal says what to do.",
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
