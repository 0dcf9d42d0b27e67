"""What a browser sign-in starts with (RFC 6749 section 4.1.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.oauth import pkce
from portico.oauth.authlib_core import PublicClient
from portico.oauth.endpoints import check_endpoint_url

if TYPE_CHECKING:
    from portico.contracts import OAuthServer
    from portico.secret import Secret


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A sign-in that is under way: the URL for the browser, and what its answer and the exchange will be held to."""

    url: str = field(repr=False)
    state: Secret
    verifier: Secret
    redirect_uri: str


def new_authorization_request(server: OAuthServer, redirect_uri: str) -> AuthorizationRequest:
    """A fresh authorization request: own state, own verifier, S256 always.

    Raises:
        ConfigError: `endpoint-refused`: the authorization endpoint may not be opened.
    """
    endpoint = check_endpoint_url(server.authorization_endpoint, "authorization endpoint")
    state, verifier = pkce.new_state(), pkce.new_verifier()
    url = PublicClient(server).authorization_url(endpoint, redirect_uri=redirect_uri, state=state, verifier=verifier)
    return AuthorizationRequest(check_endpoint_url(url, "authorization URL"), state, verifier, redirect_uri)
