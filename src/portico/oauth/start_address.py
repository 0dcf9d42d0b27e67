"""The start address: a local URL for the browser that redirects to the sign-in page once.

Every user of the machine can read a program's arguments (proc_pid_cmdline(5), ps(1)). The authorization URL contains the state,
and a device page's URL may contain the user code. With the state or the user code, another user could finish the sign-in with
their own account (RFC 6749 section 10.12). So the browser gets a start address: it redirects only once. If the system shows the
user of the browser's process, it redirects only for this user. The printed URL and the QR code contain the provider's own URL.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, Self

from portico.errors import Denied
from portico.interfaces.authorization import Redirect
from portico.net import peer
from portico.net.server import bind_loopback, is_for
from portico.oauth.authorization_response import UnrelatedResponse
from portico.oauth.pages import PageResponse, page, serve
from portico.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from portico.oauth.pages import PageName

_TOKEN_BYTES: Final = 32
_PREFETCH_HEADERS: Final = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
_PREFETCHES: Final = ("prefetch", "prerender", "preview")
# For each reason of a refusal: the page, and the status if it differs from the page's own.
REJECTIONS: Final[dict[str, tuple[PageName, int | None]]] = {
    "host": ("refused", 421),
    "path": ("refused", 404),
    "method": ("refused", 405),
    "body-too-long": ("refused", 413),
    "prefetch": ("refused", 503),
    "other-user": ("other-user", None),
    "start-address-used": ("used", None),
}


class StartAddressUsed(Denied):
    """The start address was opened twice, perhaps by another user."""

    id = "start-address-used"


def rejection_page(reason: str, **headers: str) -> PageResponse:
    """The response to a request that was refused for `reason`."""
    name, status = REJECTIONS.get(reason, ("refused", None))
    return page(name, status, **headers)


async def check_sender(request: web.BaseRequest) -> peer.Peer:
    """Return the user who sent `request`: `this-user` or `unknown`.

    Raises:
        UnrelatedResponse: `other-user`, or `gone`: the connection closed before its user was known.
    """
    connection: Any = request.transport and request.transport.get_extra_info("socket")
    sender: peer.Peer = await asyncio.to_thread(peer.peer_of, connection) if connection else "gone"
    if sender in {"other-user", "gone"}:
        raise UnrelatedResponse(sender)
    return sender


class StartAddress:
    """One start address: its path, its target, and whether it has been used.

    If the user of the first request is unknown and a second request arrives, another user may have seen the sign-in's URL, so
    the sign-in must end.

    Args:
        on_stray: called with the reason of each refused request.

    Attributes:
        used: set when a browser was redirected.
        misused: set when another user may have seen the target.
    """

    def __init__(self, on_stray: Callable[[str], None]) -> None:
        self.path = f"/start/{secrets.token_urlsafe(_TOKEN_BYTES)}"
        self.misused = asyncio.Event()
        self.used = asyncio.Event()
        self._on_stray = on_stray
        self._target: str | None = None
        self._first_sender: peer.Peer | None = None

    def redirect_to(self, url: str) -> None:
        """From now on, redirect the first request to `url`."""
        self._target = url

    def matches(self, request: web.BaseRequest) -> bool:
        """Whether `request` is for this address and the target is set.

        Accepts any local host name and port, because an editor that forwards the port to the browser's machine may change both.
        A page of another site whose name was rebound to 127.0.0.1 does not know the path.
        """
        path = request.raw_path.partition("?")[0]
        if self._target is None or not hmac.compare_digest(path.encode(), self.path.encode()):
            return False
        return _is_for_this_machine(request)

    async def answer(self, request: web.BaseRequest) -> PageResponse:
        """Redirect the first GET. Refuse a HEAD, a prefetch, another user's request, and every further GET."""
        if request.method != "GET":
            return self._reject("method", Allow="GET")
        if _is_prefetch(request):
            return self._reject("prefetch")
        try:
            sender = await check_sender(request)
        except UnrelatedResponse as error:
            return self._reject(error.reason)
        if self._first_sender is not None:
            if self._first_sender != "this-user":
                self.misused.set()
            return self._reject("start-address-used")
        self._first_sender = sender
        self.used.set()
        return PageResponse(303, Location=self._target or "")

    def raise_if_misused(self) -> None:
        """Raise if another user may have seen the target.

        Raises:
            Denied: `start-address-used`.
        """
        if self.misused.is_set():
            raise StartAddressUsed(
                "The sign-in was stopped, because the address for the browser was opened twice.",
                why="another user of this machine may have opened it first, to sign you in to their own account",
                hint="Run the command again. If it happens again, add `--no-browser` and open the printed address yourself.",
            )

    def _reject(self, reason: str, **headers: str) -> PageResponse:
        self._on_stray(reason)
        return rejection_page(reason, **headers)


class StartServer:
    """A server only for a start address, if the sign-in has no callback server. An async context manager.

    Args:
        target: the page to redirect to.
        on_stray: called with the reason of each refused request.

    Raises:
        NoWayToSignIn: `callback-port-taken`, on entering: no port is free.
    """

    def __init__(self, target: str, on_stray: Callable[[str], None]) -> None:
        self.address = StartAddress(on_stray)
        self.address.redirect_to(target)
        self._on_stray = on_stray
        self._port = 0

    @property
    def url(self) -> str:
        """The URL for the browser."""
        return f"http://127.0.0.1:{self._port}{self.address.path}"

    async def __aenter__(self) -> Self:
        sockets = bind_loopback(Redirect())
        self._port = sockets[0].getsockname()[1]
        self._runner = await serve(self._handle, sockets)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.address.matches(request):
            return await self.address.answer(request)
        return self._reject("path" if _is_for_this_machine(request) else "host")

    def _reject(self, reason: str) -> PageResponse:
        self._on_stray(reason)
        return rejection_page(reason)


def _is_for_this_machine(request: web.BaseRequest) -> bool:
    return is_for(request, {host.lower() for host in request.headers.getall("Host", []) if _is_local(host)})


def _is_local(host: str) -> bool:
    """Whether a Host header names this machine, with any port."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return is_loopback(name.lower().removeprefix("[").removesuffix("]"))


def _is_prefetch(request: web.BaseRequest) -> bool:
    """Whether the request is only a prefetch by a browser or scanner (Sec-Purpose of the Fetch standard, and older headers)."""
    purposes = ";".join(value.lower() for name in _PREFETCH_HEADERS for value in request.headers.getall(name, []))
    return any(purpose in purposes for purpose in _PREFETCHES)
