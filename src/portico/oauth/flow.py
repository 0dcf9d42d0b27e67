"""What the flows of a sign-in share: the parts they are given, and the events that they report as they happen.

No event holds a secret or text that a stranger sent.
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
# A browser that starts cold asks for its page within this, in seconds.
_BROWSER_TIMEOUT_S: Final = 15.0


class NoFlowServed(NoWayToSignIn):
    """The provider offers no flow that can be used here."""

    id = "no-flow-served"


@dataclass(frozen=True, slots=True)
class AuthorizeUrl:
    """The page on which the user signs in. `opened`: a browser is being started on it; `not_opened` says why none is.

    `redirect_uri` is where the answer will be caught on this machine.
    """

    url: str = field(repr=False)
    opened: bool
    redirect_uri: str = ""
    not_opened: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceCode:
    """The code the user types, and where (RFC 8628 section 3.3). `opened`: a browser is being started on that page."""

    device: DeviceAuthorization
    opened: bool
    not_opened: str | None = None


@dataclass(frozen=True, slots=True)
class BrowserNotOpened:
    """The browser that was started is not there after all, or its flow cannot run and the device flow goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class BrowserNotSeen:
    """The browser was started a while ago and has not asked for the page: it may be slow, or not reach this machine."""


@dataclass(frozen=True, slots=True)
class StrayRequest:
    """Something other than the answer arrived, was refused, and the sign-in goes on. `reason` is one of a fixed few.

    `other-user`: a process of another user of this machine sent it. `gone`: its sender closed the connection before it was known
    whose process it was. `start-address-used`: the address that the browser is started on was asked for again.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class RedirectCaught:
    """The authorization server's answer arrived and is genuine."""


@dataclass(frozen=True, slots=True)
class Exchanging:
    """The code is on its way to the token endpoint."""


@dataclass(frozen=True, slots=True)
class PollSlowed:
    """The server asked for a slower pace; `interval` is the new one in seconds."""

    interval: float


@dataclass(frozen=True, slots=True)
class PollRetry:
    """One poll was lost; the next one follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeviceUnavailable:
    """The device flow beside the browser flow ended without a result; the browser flow goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The grant is stored. `flow` is the one that brought it: `browser` or `device`."""

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
        dialect: how it words requests and replies.
        http: sends requests.
        finish: stores the grant; what it raises ends the sign-in.
        on_event: is called with each event.
        opener: opens the browser; None opens none.
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
        """Send the request of `build_request`; return what `read` makes of the reply, and the reply.

        `secrets` are the sign-in's own: they stand in no error and in no text that is read.

        Raises:
            NetworkError, OAuthError, Denied, TimedOut: as the server or the user had it.
        """
        request = make_request(self.server.dialect, build_request, *secrets)
        reply = await self.http.post_form(request, relocated=self.server.relocated, timeout_s=timeout_s)
        return read_reply(self.server.dialect, reply, read, *secrets), reply

    async def check_id_token(self, token_set: TokenSet, reply: HttpReply, nonce: Secret | None = None) -> None:
        """Revoke a token set whose ID token is of another sign-in. Nothing is checked unless `openid` was asked for.

        `nonce` is what was sent, None where the flow has none (RFC 8628).

        Raises:
            OAuthError: `callback-invalid`.
        """
        if token_set.id_token is None or OPENID not in self.server.scope.split():
            return
        # On a thread: what Authlib needs for it takes a while to load.
        why = await asyncio.to_thread(id_token_problem, token_set.id_token, reply, self.server, nonce)
        if why is not None:
            raise id_token_refused(why, await self.revoke(token_set), reply.url)

    async def revoke(self, token_set: TokenSet, *, timeout_s: float = _REVOKE_TIMEOUT_S) -> NotRevoked | None:
        """Revoke a token set that nothing keeps, in `timeout_s` seconds; why it is not revoked, None where it is."""
        try:
            await revoke(
                self.server, self.dialect, self.http, refresh=token_set.refresh, access=token_set.access, timeout_s=timeout_s
            )
        except NotRevoked as error:
            return error
        return None

    async def obstacle(self) -> str | None:
        """Why no browser can be opened; None where one can, or none is to be."""
        return await asyncio.to_thread(self.opener.obstacle) if self.opener is not None else None

    async def check_start(self, token_set: TokenSet, start_address: StartAddress) -> None:
        """Revoke a token set if somebody else may have seen where `start_address` leads.

        Raises:
            Denied: `start-address-used`.
        """
        if start_address.misused.is_set():
            await self.revoke(token_set)
        start_address.raise_if_misused()

    async def open_page(self, url: str, start_address: StartAddress) -> None:
        """Open `url`, the URL of `start_address`. Report a browser that cannot be started, or that does not ask for the page."""
        if self.opener is None or not await self.opener.open(url, is_shown=start_address.used.is_set):
            self.on_event(BrowserNotOpened("the browser could not be started"))
            return
        try:
            async with asyncio.timeout(_BROWSER_TIMEOUT_S):
                await start_address.used.wait()
        except TimeoutError:
            self.on_event(BrowserNotSeen())
