"""The context of the sign-in flows, and the events that they report.

No event contains a secret, or text from an unverified sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from portico.errors import NotRevoked, NoWayToSignIn
from portico.interfaces.authorization import TokenSet
from portico.oauth.dialects import make_request, read_reply
from portico.oauth.revocation import revoke
from portico.oauth.token_response import OPENID, id_token_problem, id_token_refused
from portico.util.clock import SystemClock

if TYPE_CHECKING:
    from portico.interfaces.authorization import (
        DeviceAuthorization,
        FormPoster,
        FormRequest,
        HttpReply,
        OAuthServer,
        TokenDialect,
    )
    from portico.interfaces.basics import Clock
    from portico.oauth.browser import BrowserOpener
    from portico.oauth.start_address import StartAddress
    from portico.secret import Secret

T = TypeVar("T")
Finish = Callable[[TokenSet], Awaitable[None]]

DEFAULT_TIMEOUT_S: Final = 300.0
_REQUEST_TIMEOUT_S: Final = 30.0
_REVOKE_TIMEOUT_S: Final = 5.0
# Enough for a browser to start and load the page.
_BROWSER_TIMEOUT_S: Final = 15.0


class NoFlowServed(NoWayToSignIn):
    """The provider offers no usable flow."""

    id = "no-flow-served"


@dataclass(frozen=True, slots=True)
class AuthorizeUrl:
    """The page where the user signs in. `opened`: a browser is being started. `not_opened`: why no browser is started.

    `redirect_uri` is the callback server's address.
    """

    url: str = field(repr=False)
    opened: bool
    redirect_uri: str = ""
    not_opened: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The code to enter and its page (RFC 8628 section 3.3). `opened`: a browser is being started with the page."""

    device: DeviceAuthorization
    opened: bool
    not_opened: str | None = None


@dataclass(frozen=True, slots=True)
class BrowserNotOpened:
    """The browser could not be started, or the browser flow failed and the device flow continues."""

    reason: str


@dataclass(frozen=True, slots=True)
class BrowserNotSeen:
    """The browser was started but has not loaded the page. It may be slow, or unable to reach this machine."""


@dataclass(frozen=True, slots=True)
class StrayRequest:
    """A request was refused, and the sign-in continues. `reason` is one of a fixed set.

    `other-user`: the request came from another user of this machine. `gone`: the connection closed before its user was known.
    `start-address-used`: the start address was requested again.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class RedirectCaught:
    """The authorization response arrived and its state is valid."""


@dataclass(frozen=True, slots=True)
class Exchanging:
    """The code is being exchanged for tokens."""


@dataclass(frozen=True, slots=True)
class PollSlowed:
    """The server asked to poll more slowly; `interval` is the new interval in seconds."""

    interval: float


@dataclass(frozen=True, slots=True)
class PollRetry:
    """A poll failed; the next poll follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceUnavailable:
    """The device flow failed; the browser flow continues."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The token set is stored. `flow` is `browser` or `device`."""

    flow: str = ""


Event = (
    AuthorizeUrl
    | DeviceCode
    | BrowserNotOpened
    | BrowserNotSeen
    | StrayRequest
    | RedirectCaught
    | Exchanging
    | PollSlowed
    | PollRetry
    | DeviceUnavailable
    | Finished
)
EventHandler = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class FlowContext:
    """One sign-in at one server.

    Attributes:
        server: the authorization server.
        dialect: the server's form of requests and replies.
        http: sends requests.
        finish: stores the token set; an exception ends the sign-in.
        on_event: is called with each event.
        opener: opens the browser; None: do not open a browser.
        timeout_s: how long the user may take, in seconds.
        clock: the time.
    """

    server: OAuthServer
    dialect: TokenDialect
    http: FormPoster
    finish: Finish
    on_event: EventHandler
    opener: BrowserOpener | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    clock: Clock = field(default_factory=SystemClock)

    async def exchange(
        self,
        build_request: Callable[[], FormRequest],
        read: Callable[[HttpReply], T],
        *secrets: Secret | None,
        timeout_s: float = _REQUEST_TIMEOUT_S,
    ) -> tuple[T, HttpReply]:
        """Send the request and return the result of `read` with the reply.

        The sign-in's `secrets` are removed from errors and from the reply's texts.

        Raises:
            NetworkError, OAuthError, Denied, TimedOut: the request failed, or the server or the user refused.
        """
        request = make_request(self.server.dialect, build_request, *secrets)
        reply = await self.http.post_form(request, relocated=self.server.relocated, timeout_s=timeout_s)
        return read_reply(self.server.dialect, reply, read, *secrets), reply

    async def check_id_token(self, token_set: TokenSet, reply: HttpReply, nonce: Secret | None = None) -> None:
        """Revoke the token set if its ID token belongs to another sign-in. Checks nothing unless the scope has `openid`.

        `nonce` is the request's nonce; None for a flow without a nonce (RFC 8628).

        Raises:
            OAuthError: `callback-invalid`.
        """
        if token_set.id_token is None or OPENID not in self.server.scope.split():
            return
        # On a thread, because Authlib's modules take a while to load.
        why = await asyncio.to_thread(id_token_problem, token_set.id_token, reply, self.server, nonce)
        if why is not None:
            raise id_token_refused(why, await self.revoke(token_set), reply.url)

    async def revoke(self, token_set: TokenSet, *, timeout_s: float = _REVOKE_TIMEOUT_S) -> NotRevoked | None:
        """Revoke an unused token set within `timeout_s` seconds. Return the error, or None on success."""
        try:
            await revoke(
                self.server, self.dialect, self.http, refresh=token_set.refresh, access=token_set.access, timeout_s=timeout_s
            )
        except NotRevoked as error:
            return error
        return None

    async def obstacle(self) -> str | None:
        """Why no browser can be opened; None if a browser can be opened or is not wanted."""
        return await asyncio.to_thread(self.opener.obstacle) if self.opener is not None else None

    async def check_start(self, token_set: TokenSet, start_address: StartAddress) -> None:
        """Revoke the token set if another user may have seen the target of `start_address`.

        Raises:
            Denied: `start-address-used`.
        """
        if start_address.misused.is_set():
            await self.revoke(token_set)
        start_address.raise_if_misused()

    async def open_page(self, url: str, start_address: StartAddress) -> None:
        """Open `url`, the URL of `start_address`. Report it if the browser does not start or does not load the page."""
        if self.opener is None or not await self.opener.open(url, is_shown=start_address.used.is_set):
            self.on_event(BrowserNotOpened("the browser could not be started"))
            return
        try:
            async with asyncio.timeout(_BROWSER_TIMEOUT_S):
                await start_address.used.wait()
        except TimeoutError:
            self.on_event(BrowserNotSeen())
