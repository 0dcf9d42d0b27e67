"""What a browser sign-in starts with (RFC 6749 section 4.1.1), pushed to the server first where it requires that (RFC 9126)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.errors import NoWayToSignIn
from portico.oauth import pkce
from portico.oauth.authlib_core import PublicClient
from portico.oauth.endpoints import check_endpoint_url
from portico.oauth.id_token import OPENID
from portico.oauth.repeated import read_reply
from portico.oauth.standard import checked
from portico.oauth.token_response import invalid, read_json_object
from portico.secret import Secret

if TYPE_CHECKING:
    from portico.interfaces.authorization import FormPoster, HttpReply, OAuthServer

_LONGEST_REQUEST_URI: Final = 2048


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
    """A fresh authorization request: own state, own verifier, S256 always.

    Raises:
        ConfigError: `endpoint-refused`: the authorization endpoint may not be opened.
    """
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    state, verifier = pkce.new_state(), pkce.new_verifier()
    nonce = pkce.new_nonce() if OPENID in server.scope.split() else None
    url = PublicClient(server).authorization_url(endpoint, redirect_uri=redirect_uri, state=state, verifier=verifier, nonce=nonce)
    return AuthorizationRequest(check_endpoint_url(url, "authorization URL"), state, verifier, redirect_uri, nonce)


async def begin_authorization(server: OAuthServer, redirect_uri: str, http: FormPoster) -> AuthorizationRequest:
    """A fresh authorization request, pushed if the server requires it.

    Where a server only offers that, nothing is pushed: a pushed request lives for a minute or so, and the address that is printed
    for a browser on another machine would end with it.

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
    client = PublicClient(server)
    form = client.pushed_form(server.pushed_authorization_request_endpoint, request.url)
    reply = await http.post_form(form, relocated=server.relocated)
    request_uri = read_reply(server.dialect, reply, _request_uri, request.state, request.verifier)
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    return replace(request, url=check_endpoint_url(client.url_of_pushed(endpoint, request_uri), "authorization URL"))


def _request_uri(reply: HttpReply) -> Secret:
    """The reference to a request that was pushed (RFC 9126 section 2.2)."""
    value = checked(reply, read_json_object(reply)).get("request_uri")
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_REQUEST_URI or not all("!" <= each <= "~" for each in value):
        raise invalid(reply, "request_uri is missing or unusable")
    return Secret(value)
