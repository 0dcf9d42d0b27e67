"""Signing in through the browser: authorization code with PKCE over a loopback redirect (RFC 8252, RFC 7636)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.clock import SystemClock
from portico.errors import Denied, PorticoError, TimedOut
from portico.interfaces.authorization import Redirect, TokenGrant
from portico.oauth.authorization_request import begin_authorization
from portico.oauth.authorization_response import ExpectedAnswer, UnfitResponse, read_pasted
from portico.oauth.callback import CallbackServer
from portico.oauth.deadline import Deadline
from portico.oauth.events import (
    AuthorizeUrl,
    BrowserNotOpened,
    BrowserNotSeen,
    Exchanging,
    Finished,
    RedirectCaught,
    StrayRequest,
)
from portico.oauth.id_token import check_id_token
from portico.oauth.repeated import make_request, read_reply
from portico.oauth.tasks import first_of, helpers

if TYPE_CHECKING:
    from portico.interfaces.authorization import FormPoster, OAuthServer, TokenDialect
    from portico.interfaces.basics import Clock
    from portico.oauth.authorization_request import AuthorizationRequest
    from portico.oauth.browser import BrowserOpener
    from portico.oauth.events import EventHandler
    from portico.oauth.start_address import StartAddress
    from portico.secret import Secret

Finish = Callable[[TokenGrant], Awaitable[None]]
Paste = Callable[[], Awaitable[str]]

DEFAULT_TIMEOUT_S: Final = 300.0
# A browser that starts cold asks for its page within this, in seconds.
_ASKS_WITHIN_S: Final = 15.0
_TIMED_OUT_HINT: Final = (
    "Run the command again. If the browser is on another machine, use `--flow device`, or forward the port that "
    "`--callback-port` names with `ssh -L`, or paste the address of the page that could not be opened."
)


async def browser_flow(
    server: OAuthServer,
    dialect: TokenDialect,
    http: FormPoster,
    *,
    finish: Finish,
    on_event: EventHandler,
    opener: BrowserOpener,
    paste: Paste | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    clock: Clock | None = None,
) -> None:
    """Sign in and hand the grant to `finish`; the browser's page shows the outcome after `finish` has returned or raised.

    Args:
        server: the authorization server.
        dialect: how it words requests and replies.
        http: sends the exchange.
        finish: stores the grant; what it raises ends the sign-in.
        on_event: told what happens.
        opener: opens the browser.
        paste: returns the next line that the user pasted; None where there is no terminal.
        timeout_s: how long the user may take, in seconds.
        clock: the time.

    Raises:
        Denied, OAuthError, NetworkError: as the user or the server had it; `start-address-used`.
        TimedOut: `sign-in-timed-out`.
        NoWayToSignIn: `callback-port-taken`.
        ConfigError: `endpoint-refused`, `redirect-not-loopback`.
    """
    listener = CallbackServer(
        server.redirect or Redirect(),
        method="POST" if server.response_mode == "form_post" else "GET",
        on_stray=lambda reason: on_event(StrayRequest(reason)),
    )
    async with helpers() as start, listener as callback:
        request = await begin_authorization(server, callback.redirect_uri, http)
        callback.expect(ExpectedAnswer.for_server(server, request.state))
        not_opened = await asyncio.to_thread(opener.obstacle)
        on_event(AuthorizeUrl(request.url, not_opened is None, callback.redirect_uri, not_opened))
        if not_opened is None:
            callback.start.lead_to(request.url)
            start(open_page(opener, callback.start_url, callback.start, on_event))
        async with helpers() as start_reading:
            if paste is not None:
                start_reading(_take_pasted(callback, paste, on_event))
            await _answered(callback, Deadline(clock or SystemClock(), timeout_s))
        on_event(RedirectCaught())
        await _Completion(server, dialect, http, finish, on_event).run(callback, request)
    on_event(Finished("browser"))


async def _answered(callback: CallbackServer, deadline: Deadline) -> None:
    first = await first_of(callback.answer(), deadline.passed(), callback.start.misused.wait())
    callback.start.check()
    if first == 1:
        raise TimedOut("sign-in-timed-out", "Nobody finished the sign-in in time.", hint=_TIMED_OUT_HINT)


async def open_page(opener: BrowserOpener, url: str, start: StartAddress, on_event: EventHandler) -> None:
    """Open `url`, which is that of `start`, and say so if the browser is not there after all, or does not ask for the page."""
    if not await opener.open(url, is_shown=start.used.is_set):
        on_event(BrowserNotOpened("the browser could not be started"))
        return
    try:
        async with asyncio.timeout(_ASKS_WITHIN_S):
            await start.used.wait()
    except TimeoutError:
        on_event(BrowserNotSeen())


async def _take_pasted(callback: CallbackServer, paste: Paste, on_event: EventHandler) -> None:
    """Hold every pasted line to the same checks as a request, until one ends the sign-in or the input ends."""
    while True:
        try:
            line = await paste()
        except (EOFError, OSError):
            return
        if not line.strip():
            continue
        try:
            callback.take(read_pasted(line, callback.redirect_uri), pasted=True)
        except UnfitResponse as unfit:
            on_event(StrayRequest(unfit.reason))
        else:
            return


@dataclass(frozen=True, slots=True)
class _Completion:
    """From a genuine answer to a stored grant, with the waiting browser told how it went."""

    server: OAuthServer
    dialect: TokenDialect
    http: FormPoster
    finish: Finish
    on_event: EventHandler

    async def run(self, callback: CallbackServer, request: AuthorizationRequest) -> None:
        try:
            grant = await self._exchange(await callback.answer(), request)
            await callback.start.check_grant(grant, self.server, self.dialect, self.http)
            await self.finish(grant)
        except BaseException as error:
            callback.settle("denied" if isinstance(error, Denied) else "failed")
            raise
        callback.settle("signed-in")

    async def _exchange(self, answer: Secret | PorticoError, request: AuthorizationRequest) -> TokenGrant:
        if isinstance(answer, PorticoError):
            raise answer
        self.on_event(Exchanging())
        own = (request.state, request.verifier, request.nonce, answer)
        make = partial(self.dialect.code_request, self.server, code=answer, redirect_uri=request.redirect_uri)
        form = make_request(self.server.dialect, partial(make, verifier=request.verifier), *own)
        reply = await self.http.post_form(form, relocated=self.server.relocated)
        grant = read_reply(self.server.dialect, reply, self.dialect.read_token_reply, *own)
        return await check_id_token(grant, reply, self.server, self.dialect, self.http, nonce=request.nonce)
