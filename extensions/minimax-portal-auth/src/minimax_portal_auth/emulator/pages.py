"""The emulator's HTML pages. Each page says that it is not MiniMax's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from portico.testing.authorization_server import device_page, message_page
from portico.testing.grants import read_form

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from minimax_portal_auth.emulator.accounts import AccountSpace
    from minimax_portal_auth.emulator.hosts import EmulatedHost

BANNER: Final = "This is Portico's emulator, not MiniMax. It uses no real account and asks for no password."
REDIRECT_BANNER: Final = (
    "MiniMax has no such page for third parties: the sign-in with a redirect is an extension of the emulator."
)
_MAIN: Final = "<main>"


def approval_path(user_code: str) -> str:
    """The path and query of the approval page for `user_code`."""
    return f"/oauth-authorize?user_code={user_code}"


class ApprovalPages:
    """`/oauth-authorize`: fills in the code from the URL; the user allows or denies the sign-in.

    The page accepts the codes of both regions, so that one URL can approve any code.
    """

    def __init__(self, own: AccountSpace, others: list[AccountSpace]) -> None:
        self._spaces = [own, *others]

    async def show(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        return device_page("/oauth-authorize", request.query.get("user_code", ""))

    async def decide(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        form = await read_form(request)
        code, approved = form.get("user_code", ""), form.get("decision") == "approve"
        if not any(space.devices.decide(code, approved=approved) for space in self._spaces):
            return device_page("/oauth-authorize", "", note="This code is unknown or has expired.")
        return message_page("Signed in" if approved else "Denied", "You can close this page and return to the terminal.")


@web.middleware
async def add_banner(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Add the banner to every HTML page."""
    response = await handler(request)
    if isinstance(response, web.Response) and response.content_type == "text/html" and response.text:
        note = REDIRECT_BANNER if request.path == "/oauth2/authorize" else ""
        response.text = response.text.replace(_MAIN, f'{_MAIN}<p class="note" role="note">{BANNER} {note}</p>', 1)
    return response


async def homepage(_request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
    """The target of the old www address: a page without an approval form."""
    return message_page("Home", "There is nothing to approve on this page.")
