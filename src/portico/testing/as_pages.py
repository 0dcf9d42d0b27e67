"""The authorization server's pages for a person: consent, device code, and what came of it."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem}}
button,input{{font:inherit;padding:.5rem 1rem}}.note{{opacity:.75;font-size:.9rem}}</style>
</head><body><main><h1>{title}</h1>{body}</main></body></html>
"""


def page(title: str, body: str, *, status: int = 200) -> web.Response:
    """A page. `title` is text, `body` is HTML."""
    return web.Response(
        status=status, text=_PAGE.format(title=escape(title), body=body), content_type="text/html", headers=_HEADERS
    )


def message(title: str, text: str, *, status: int = 200) -> web.Response:
    """A page that says one thing."""
    return page(title, f"<p>{escape(text)}</p>", status=status)


def consent(action: str, hidden: Mapping[str, str], *, client: str, scope: str) -> web.Response:
    """Ask whether `client` may have `scope`; the answer is `decision`, "approve" or "deny"."""
    asks = f"<p><strong>{escape(client)}</strong> asks for: {escape(scope or 'your account')}</p>"
    return page("Allow access?", asks + _form(action, hidden, _DECIDE))


def device_entry(action: str, user_code: str, note: str = "") -> web.Response:
    """Ask for a user code, filled in where it is known, and for the decision (RFC 8628 section 3.3)."""
    field = (
        f'<p><label>Code <input name="user_code" value="{escape(user_code)}" autocomplete="off" required></label></p>'
        '<p class="note">Go on only if you see this code on a device of your own.</p>'
    )
    return page("Connect a device", (f"<p>{escape(note)}</p>" if note else "") + _form(action, {}, field + _DECIDE))


def form_post(target: str, fields: Mapping[str, str]) -> web.Response:
    """Send `fields` to `target` as a form, by itself or at a click (OAuth 2.0 Form Post Response Mode)."""
    return page(
        "Going back",
        _form(target, fields, "<button>Continue</button>") + "<script>document.forms[0].submit()</script>",
    )


_DECIDE = (
    '<p><button name="decision" value="approve" id="approve">Allow</button> '
    '<button name="decision" value="deny" id="deny">Deny</button></p>'
)


def _form(action: str, hidden: Mapping[str, str], inner: str) -> str:
    fields = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items())
    return f'<form method="post" action="{escape(action)}">{fields}{inner}</form>'
