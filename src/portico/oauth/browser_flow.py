"""Signing in through the browser: authorization code with PKCE over a loopback redirect (RFC 8252, RFC 7636).

The authorization request (RFC 6749 section 4.1.1) is pushed to the server first where it requires that (RFC 9126).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

from portico.clock import SystemClock
from portico.errors import Denied, NoWayToSignIn, PorticoError, TimedOut
from portico.interfaces.authorization import Redirect, TokenGrant
from portico.oauth.authorization_response import ExpectedAnswer, UnfitResponse, read_pasted
from portico.oauth.callback import CallbackServer
from portico.oauth.deadline import Deadline
from portico.oauth.endpoints import check_endpoint_url
from portico.oauth.events import (
    AuthorizeUrl,
    BrowserNotOpened,
    BrowserNotSeen,
    Exchanging,
    Finished,
    RedirectCaught,
    StrayRequest,
)
from portico.oauth.id_token import OPENID, check_id_token
from portico.oauth.repeated import make_request, read_reply
from portico.oauth.standard import PKCE_METHOD, challenge_of, checked, form_request, one_time_value
from portico.oauth.tasks import first_of, helpers
from portico.oauth.token_response import invalid, read_json_object
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection

    from portico.interfaces.authorization import FormPoster, HttpReply, OAuthServer, TokenDialect
    from portico.interfaces.basics import Clock
    from portico.oauth.browser import BrowserOpener
    from portico.oauth.events import EventHandler
    from portico.oauth.start_address import StartAddress

Finish = Callable[[TokenGrant], Awaitable[None]]
Paste = Callable[[], Awaitable[str]]

DEFAULT_TIMEOUT_S: Final = 300.0
_OFFLINE_ACCESS: Final = "offline_access"
_LONGEST_REQUEST_URI: Final = 2048
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


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A sign-in that is under way: the URL for the browser, and what its answer, the exchange and the ID token will be held to.

    `nonce` is None unless `openid` is in the scope (OpenID Connect Core section 3.1.2.1).
    """

    url: str = field(repr=False)
    state: Secret
    verifier: Secret
    redirect_uri: str
    nonce: Secret | None = None


def new_authorization_request(server: OAuthServer, redirect_uri: str) -> AuthorizationRequest:
    """A fresh authorization request: own state, own verifier, S256 always (RFC 7636 section 4.3).

    For offline access the user is asked to agree: a server ignores the wish otherwise (OpenID Connect Core section 11). An
    endpoint whose query has a `prompt` keeps it.

    Raises:
        ConfigError: `endpoint-refused`: the authorization endpoint may not be opened.
    """
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    scopes = server.scope.split()
    state, verifier = one_time_value(), one_time_value()
    nonce = one_time_value() if OPENID in scopes else None
    asks_already = any(name == "prompt" for name, _ in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True))
    wanted = {
        "response_type": "code",
        "client_id": server.client_id,
        "redirect_uri": redirect_uri,
        "scope": server.scope or None,
        "state": state.reveal(),
        "audience": server.audience,
        "nonce": nonce.reveal() if nonce is not None else None,
        "prompt": "consent" if _OFFLINE_ACCESS in scopes and not asks_already else None,
        "response_mode": server.response_mode if server.response_mode != "query" else None,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": PKCE_METHOD,
    }
    parameters = {name: value for name, value in wanted.items() if value is not None}
    url = str(prepare_grant_uri(_without_parameters(endpoint, parameters), **parameters))
    return AuthorizationRequest(check_endpoint_url(url, "authorization URL"), state, verifier, redirect_uri, nonce)


async def begin_authorization(server: OAuthServer, redirect_uri: str, http: FormPoster) -> AuthorizationRequest:
    """A fresh authorization request, pushed if the server requires it (RFC 9126).

    Where a server only offers that, nothing is pushed: a pushed request lives for a minute or so, and the address that is printed
    for a browser on another machine would end with it. What the endpoint's own query holds is pushed too: a server reads the
    pushed parameters alone (RFC 9101 section 5).

    Raises:
        ConfigError: `endpoint-refused`.
        NoWayToSignIn: `no-flow-served`: it requires a push and names no endpoint for it.
        NetworkError, OAuthError: as the server had it.
    """
    request = new_authorization_request(server, redirect_uri)
    if not server.pushed_authorization_required:
        return request
    if server.pushed_authorization_request_endpoint is None:
        why = "its metadata names no pushed_authorization_request_endpoint (RFC 9126 section 5)"
        message = "This server wants authorization requests to be pushed, and does not say where to."
        hint = "Use `--flow device`." if server.device_authorization_endpoint else None
        raise NoWayToSignIn("no-flow-served", message, why=why, where=server.issuer, hint=hint)
    form = form_request(server.pushed_authorization_request_endpoint, urlsplit(request.url).query)
    reply = await http.post_form(form, relocated=server.relocated)
    request_uri = read_reply(server.dialect, reply, _request_uri, request.state, request.verifier)
    parameters = {"client_id": server.client_id, "request_uri": request_uri.reveal()}
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    url = add_params_to_uri(_without_parameters(endpoint, parameters), parameters)
    return replace(request, url=check_endpoint_url(url, "authorization URL"))


def _without_parameters(endpoint: str, names: Collection[str]) -> str:
    """`endpoint` without the parameters of its own query that a request has too: none may come twice (RFC 6749 section 3.1).

    Authlib's functions keep both.
    """
    parts = urlsplit(endpoint)
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return parts._replace(query=urlencode(kept)).geturl()


def _request_uri(reply: HttpReply) -> Secret:
    """The reference to a request that was pushed (RFC 9126 section 2.2)."""
    value = checked(reply, read_json_object(reply)).get("request_uri")
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_REQUEST_URI or not all("!" <= each <= "~" for each in value):
        raise invalid(reply, "request_uri is missing or unusable")
    return Secret(value)
