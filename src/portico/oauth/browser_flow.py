"""The browser flow: authorization code with PKCE and a loopback redirect (RFC 8252, RFC 7636).

If the server requires it, the authorization request (RFC 6749 section 4.1.1) is pushed first (RFC 9126).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri

from portico.errors import Denied, PorticoError
from portico.interfaces.authorization import Redirect
from portico.oauth.authorization_response import ExpectedResponse, UnrelatedResponse, read_pasted
from portico.oauth.callback import CallbackServer
from portico.oauth.flow import AuthorizeUrl, Exchanging, Finished, NoFlowServed, RedirectCaught, StrayRequest
from portico.oauth.standard import PKCE_METHOD, challenge_of, form_request, one_time_value, successful_fields
from portico.oauth.token_errors import SignInTimedOut, invalid
from portico.oauth.token_response import OPENID, read_json_object, read_token
from portico.urls import check_endpoint_url
from portico.util.tasks import Deadline, background_tasks, first_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from portico.interfaces.authorization import HttpReply, OAuthServer
    from portico.oauth.flow import EventHandler, FlowContext
    from portico.secret import Secret

Paste = Callable[[], Awaitable[str]]

_OFFLINE_ACCESS: Final = "offline_access"
_MAX_REQUEST_URI: Final = 2048
_TIMED_OUT_HINT: Final = (
    "Run the command again. If the browser is on another machine, use `--flow device`, or forward the port of "
    "`--callback-port` with `ssh -L`, or paste the address of the page that did not open."
)


async def browser_flow(context: FlowContext, *, paste: Paste | None = None) -> None:
    """Sign in and pass the token set to `context.finish`. The browser's page then shows the result of `finish`.

    `paste` returns the next line that the user pastes; None without prompts.

    Raises:
        Denied, OAuthError, NetworkError: the request failed, or the server or the user refused, or `start-address-used`.
        TimedOut: `sign-in-timed-out`.
        NoWayToSignIn: `callback-port-taken`.
        ConfigError: `endpoint-refused`.
    """
    server, on_event = context.server, context.on_event
    listener = CallbackServer(
        server.redirect or Redirect(),
        method="POST" if server.response_mode == "form_post" else "GET",
        on_stray=lambda reason: on_event(StrayRequest(reason)),
    )
    async with background_tasks() as start, listener as callback:
        request = await begin_authorization(context, callback.redirect_uri)
        callback.expect(ExpectedResponse.for_server(server, request.state))
        not_opened = await context.obstacle()
        on_event(AuthorizeUrl(request.url, not_opened is None, callback.redirect_uri, not_opened))
        if not_opened is None:
            callback.start.redirect_to(request.url)
            start(context.open_page(callback.start_url, callback.start))
        async with background_tasks() as start_reading:
            if paste is not None:
                start_reading(_read_pasted_lines(callback, paste, on_event))
            await _wait_for_response(callback, Deadline(context.clock, context.timeout_s))
        on_event(RedirectCaught())
        try:
            await _exchange_and_finish(context, callback, request)
        except BaseException as error:
            callback.settle("denied" if isinstance(error, Denied) else "failed")
            raise
        callback.settle("signed-in")
    on_event(Finished("browser"))


async def _wait_for_response(callback: CallbackServer, deadline: Deadline) -> None:
    first = await first_of(callback.wait_for_response(), deadline.passed(), callback.start.misused.wait())
    callback.start.raise_if_misused()
    if first == 1:
        raise SignInTimedOut("The sign-in was not finished in time.", hint=_TIMED_OUT_HINT)


async def _read_pasted_lines(callback: CallbackServer, paste: Paste, on_event: EventHandler) -> None:
    """Check each pasted line like a request to the callback server, until a line is accepted or the input ends."""
    while True:
        try:
            line = await paste()
        except (EOFError, OSError):
            return
        if not line.strip():
            continue
        try:
            callback.accept(read_pasted(line, callback.redirect_uri), pasted=True)
        except UnrelatedResponse as error:
            on_event(StrayRequest(error.reason))
        else:
            return


async def _exchange_and_finish(context: FlowContext, callback: CallbackServer, request: AuthorizationRequest) -> None:
    """Exchange the code of the response, and store the token set."""
    code = await callback.wait_for_response()
    if isinstance(code, PorticoError):
        raise code
    context.on_event(Exchanging())
    dialect = context.dialect
    build_request = partial(
        dialect.code_request, context.server, code=code, redirect_uri=request.redirect_uri, verifier=request.verifier
    )
    secrets = (request.state, request.verifier, request.nonce, code)
    token_set, reply = await context.exchange(build_request, dialect.read_token_reply, *secrets)
    await context.check_id_token(token_set, reply, request.nonce)
    await context.check_start(token_set, callback.start)
    await context.finish(token_set)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """An authorization request: the URL for the browser, and the values that the response and the ID token must match.

    `nonce` is None unless `openid` is in the scope (OpenID Connect Core section 3.1.2.1).
    """

    url: str = field(repr=False)
    state: Secret
    verifier: Secret
    redirect_uri: str
    nonce: Secret | None = None


def new_authorization_request(server: OAuthServer, redirect_uri: str) -> AuthorizationRequest:
    """Return a new authorization request with its own state and verifier, always with S256 (RFC 7636 section 4.3).

    With `offline_access`, the request asks for the user's consent, because otherwise a server ignores this scope (OpenID
    Connect Core section 11). A `prompt` in the endpoint's own query stays.

    Raises:
        ConfigError: `endpoint-refused`: the authorization endpoint is not safe to open.
    """
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    scopes = server.scope.split()
    state, verifier = one_time_value(), one_time_value()
    nonce = one_time_value() if OPENID in scopes else None
    has_prompt = any(name == "prompt" for name, _ in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True))
    possible_parameters = {
        "response_type": "code",
        "client_id": server.client_id,
        "redirect_uri": redirect_uri,
        "scope": server.scope or None,
        "state": state.reveal(),
        "audience": server.audience,
        "nonce": nonce.reveal() if nonce is not None else None,
        "prompt": "consent" if _OFFLINE_ACCESS in scopes and not has_prompt else None,
        "response_mode": server.response_mode if server.response_mode != "query" else None,
        "code_challenge": challenge_of(verifier),
        "code_challenge_method": PKCE_METHOD,
    }
    parameters = {name: value for name, value in possible_parameters.items() if value is not None}
    url = str(prepare_grant_uri(_without_parameters(endpoint, parameters), **parameters))
    return AuthorizationRequest(check_endpoint_url(url, "authorization URL"), state, verifier, redirect_uri, nonce)


async def begin_authorization(context: FlowContext, redirect_uri: str) -> AuthorizationRequest:
    """Return a new authorization request, pushed if the server requires it (RFC 9126).

    If pushing is optional, the request is not pushed. A pushed request expires after about a minute; then the printed URL no
    longer works in a browser on another machine. The parameters in the endpoint's own query are pushed too, because a server
    reads only the pushed parameters (RFC 9101 section 5).

    Raises:
        ConfigError: `endpoint-refused`.
        NoWayToSignIn: `no-flow-served`: the server requires pushed requests but names no endpoint for them.
        NetworkError, OAuthError: the request failed, or the server refused.
    """
    server = context.server
    request = new_authorization_request(server, redirect_uri)
    if not server.pushed_authorization_required:
        return request
    if server.pushed_authorization_request_endpoint is None:
        why = "its metadata names no pushed_authorization_request_endpoint (RFC 9126 section 5)"
        message = "This server requires pushed authorization requests, but names no endpoint for them."
        hint = "Use `--flow device`." if server.device_authorization_endpoint else None
        raise NoFlowServed(message, why=why, where=server.issuer, hint=hint)
    form = form_request(server.pushed_authorization_request_endpoint, urlsplit(request.url).query)
    request_uri, _ = await context.exchange(lambda: form, _read_request_uri, request.state, request.verifier)
    parameters = {"client_id": server.client_id, "request_uri": request_uri.reveal()}
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    url = add_params_to_uri(_without_parameters(endpoint, parameters), parameters)
    return replace(request, url=check_endpoint_url(url, "authorization URL"))


def _without_parameters(endpoint: str, names: Collection[str]) -> str:
    """Remove `names` from the endpoint's own query, because a parameter must not appear twice (RFC 6749 section 3.1).

    Authlib's functions would send both.
    """
    parts = urlsplit(endpoint)
    remaining = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in names]
    return parts._replace(query=urlencode(remaining)).geturl()


def _read_request_uri(reply: HttpReply) -> Secret:
    """Read the `request_uri` of a pushed request (RFC 9126 section 2.2)."""
    try:
        value = read_token(successful_fields(reply, read_json_object(reply)), "request_uri")
    except ValueError:
        value = None
    if value is None or len(value.reveal()) > _MAX_REQUEST_URI:
        raise invalid(reply, "request_uri is missing or unusable")
    return value
