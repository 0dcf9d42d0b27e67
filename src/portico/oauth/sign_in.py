"""Choose the flow of a sign-in. If both are possible, run the browser flow and the device flow at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

from portico.errors import Denied, NoWayToSignIn, PorticoError
from portico.interfaces.authorization import FormPoster
from portico.oauth.browser_flow import browser_flow
from portico.oauth.device_flow import device_flow
from portico.oauth.discovery import Getter, discover
from portico.oauth.flow import DEFAULT_TIMEOUT_S, BrowserNotOpened, DeviceUnavailable, FlowContext, NoFlowServed, RedirectCaught
from portico.util.clock import SystemClock
from portico.util.tasks import background_tasks, cancel_and_wait

if TYPE_CHECKING:
    from portico.interfaces.authorization import OAuthServer, TokenDialect, TokenSet
    from portico.interfaces.basics import Clock
    from portico.oauth.browser import BrowserOpener
    from portico.oauth.browser_flow import Paste
    from portico.oauth.flow import Event, EventHandler, Finish

Flow = Literal["auto", "browser", "device"]

_LAST_PAGE_S: Final = 2.0


class RedirectNotOffered(NoWayToSignIn):
    """No redirect URI is known for this client id."""

    id = "redirect-not-offered"


class SignInClient(FormPoster, Getter, Protocol):
    """The methods of `HttpClient` that a sign-in uses."""

    async def warm_up(self, url: str) -> None: ...


async def sign_in(
    server: OAuthServer,
    dialect: TokenDialect,
    http: SignInClient,
    *,
    finish: Finish,
    on_event: EventHandler,
    opener: BrowserOpener,
    flow: Flow = "auto",
    force: bool = False,
    paste: Paste | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    clock: Clock | None = None,
) -> None:
    """Sign in and pass the token set to `finish`, which is called once.

    `auto` means the browser flow if a redirect URI is known for this client, and at the same time the device flow if the server
    has it. If no redirect URI is known, `auto` means the device flow. The server's metadata supplies endpoints but does not
    decide the flow, because it does not describe this client's registration. `force` tries the browser flow without a known
    redirect URI. Other arguments: see `browser_flow`.

    Raises:
        NoWayToSignIn: `redirect-not-offered`, `no-flow-served`.
        PorticoError: as the flow raises it.
    """
    check_flow(server, flow, force=force)
    if server.needs_discovery:
        server = await discover(server, http)
    running = _SignIn(FlowContext(server, dialect, http, finish, on_event, opener, timeout_s, clock or SystemClock()), paste)
    async with background_tasks() as start:
        start(http.warm_up(server.token_endpoint))
        await running.flow(flow)


def check_flow(server: OAuthServer, flow: Flow, *, force: bool = False) -> None:
    """Refuse a flow that cannot work, before any request.

    Raises:
        NoWayToSignIn: `redirect-not-offered`: no redirect URI is known for this client.
    """
    if flow == "browser" and server.redirect is None and not force:
        raise RedirectNotOffered(
            "No redirect is known for this client id, so the browser flow cannot work.",
            where=server.issuer or None,
            hint=(
                "Use `--flow device`. If you have a client id with a registered redirect, set `clientId`, `redirect` and "
                "`authorizationEndpoint` under `plugins.entries.<plugin>.config.portals.<region>`. "
                "To try anyway, add `--force`."
            ),
        )


@dataclass(slots=True)
class _SignIn:
    context: FlowContext
    paste: Paste | None
    _finishing: asyncio.Task[None] | None = None
    _first_finished: asyncio.Task[None] | None = None
    _redirect_caught: bool = False

    async def flow(self, flow: Flow) -> None:
        server = self.context.server
        if flow == "device" or (flow == "auto" and server.redirect is None):
            await self.device(self.context.opener)
        elif flow == "auto" and server.device_authorization_endpoint:
            await self.side_by_side()
        else:
            await self.browser()

    async def browser(self) -> None:
        server = self.context.server
        if not server.authorization_endpoint:
            raise NoFlowServed("This server has no authorization endpoint.", where=server.issuer)
        await browser_flow(replace(self.context, finish=self._finish_once, on_event=self._on_event), paste=self.paste)

    async def device(self, opener: BrowserOpener | None) -> None:
        await device_flow(replace(self.context, finish=self._finish_once, opener=opener))

    async def side_by_side(self) -> None:
        """Run both flows until a token set arrives, the browser flow fails, or the user denies on the device page."""
        browser, device = asyncio.create_task(self.browser()), asyncio.create_task(self.device(None))
        try:
            await asyncio.wait({browser, device}, return_when=asyncio.FIRST_COMPLETED)
            deciding = self._first_finished or self._remaining_flow(browser, device)
            await asyncio.wait({deciding})
            if deciding is device and self._redirect_caught:
                # Time for the browser's page to show the result.
                await asyncio.wait({browser}, timeout=_LAST_PAGE_S)
            deciding.result()
        finally:
            await cancel_and_wait(browser, device)

    def _remaining_flow(self, browser: asyncio.Task[None], device: asyncio.Task[None]) -> asyncio.Task[None]:
        """Return the other flow if it can still succeed after a flow failed, else the failed flow."""
        if not browser.done():
            if _has_decided(device):
                return device
            self.context.on_event(DeviceUnavailable(_error_id(device)))
            return browser
        failure = browser.exception()
        if not isinstance(failure, NoWayToSignIn):
            return browser
        self.context.on_event(BrowserNotOpened(failure.message.rstrip(".")))
        return device

    def _on_event(self, event: Event) -> None:
        self._redirect_caught = self._redirect_caught or isinstance(event, RedirectCaught)
        self.context.on_event(event)

    async def _finish_once(self, token_set: TokenSet) -> None:
        """Finish with the first token set. A second set, from the other flow, is revoked after the first is stored."""
        if self._finishing is not None:
            await asyncio.shield(self._finishing)
            await self.context.revoke(token_set, timeout_s=_LAST_PAGE_S)
            return
        self._first_finished = asyncio.current_task()
        self._finishing = asyncio.ensure_future(self.context.finish(token_set))
        await self._finishing


def _has_decided(device: asyncio.Task[None]) -> bool:
    error = device.exception()
    return not isinstance(error, PorticoError) or isinstance(error, Denied)


def _error_id(device: asyncio.Task[None]) -> str:
    error = device.exception()
    return error.id if isinstance(error, PorticoError) else ""
