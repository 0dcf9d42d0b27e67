"""Find an authorization server's endpoints in its metadata (RFC 8414).

Authlib builds the metadata's URL. Its `AuthorizationServerMetadata` is not used: it refuses a server on this machine and metadata
without fields that this client does not need, does not compare the issuer (RFC 8414 section 3.3), and checks only the start of
an endpoint.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

from authlib.oauth2.rfc8414 import get_well_known_url
from authlib.oidc.discovery import get_well_known_url as get_openid_url

from portico.errors import ConfigError, NetworkError, OAuthError
from portico.net.errors import RedirectRefused, ReplyTooLong
from portico.oauth.standard import PKCE_METHOD
from portico.oauth.token_response import HTTP_OK, read_json_object
from portico.urls import EndpointRefused, check_endpoint_url, usable, why_not_named_by, without_query

if TYPE_CHECKING:
    from portico.interfaces.authorization import HttpReply, OAuthServer
    from portico.oauth.token_response import Fields

_OPTIONAL_ENDPOINTS: Final = (
    "authorization_endpoint",
    "device_authorization_endpoint",
    "revocation_endpoint",
    "pushed_authorization_request_endpoint",
)
# After these errors the next metadata URL is tried.
_DOCUMENT_ERRORS: Final = (OAuthError, RedirectRefused, ReplyTooLong)


class DiscoveryFailed(OAuthError):
    """The server's metadata is missing or unusable."""

    id = "discovery-failed"


class PkceNotOffered(ConfigError):
    """The server's metadata does not list PKCE with S256."""

    id = "pkce-not-offered"


class Getter(Protocol):
    """Fetches a document; `HttpClient` is one."""

    async def get(self, url: str, *, timeout_s: float = 10.0) -> HttpReply: ...


async def discover(server: OAuthServer, http: Getter) -> OAuthServer:
    """Return `server` with its missing endpoints filled in from the metadata. Known values stay; if all are known, no request.

    RFC 8414 section 3 first, then OpenID Connect's `openid-configuration`.

    Raises:
        NetworkError: the server cannot be reached.
        OAuthError: `discovery-failed`: neither document is usable, or its issuer is another (RFC 8414 section 3.3).
        ConfigError: `endpoint-refused`, `pkce-not-offered`.
    """
    if not server.needs_discovery:
        return server
    metadata = await _fetch_metadata(server.issuer, http)
    methods = metadata.get("code_challenge_methods_supported")
    if isinstance(methods, list) and PKCE_METHOD not in methods:
        raise PkceNotOffered(
            "The server does not offer PKCE with S256, so the sign-in would not be safe.",
            where=server.issuer,
        )
    return _with_metadata(server, metadata)


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """The possible URLs of the metadata of `issuer` (RFC 8414 sections 3.1 and 5)."""
    check_endpoint_url(issuer, "issuer")
    if urlsplit(issuer).query:
        raise EndpointRefused("An issuer must not have a query (RFC 8414 section 2).", where=without_query(issuer))
    # RFC 8414 section 3.1 removes a trailing slash; Authlib does not.
    return get_well_known_url(issuer.rstrip("/"), external=True), get_openid_url(issuer, external=True)


async def _fetch_metadata(issuer: str, http: Getter) -> Fields:
    why = "the server has no metadata"
    for url in metadata_urls(issuer):
        try:
            reply = await http.get(url)
            if reply.status != HTTP_OK:
                continue
            fields = read_json_object(reply)
        except NetworkError as error:
            if not isinstance(error, _DOCUMENT_ERRORS):
                raise  # the network, a proxy or a certificate: the next URL would fail too
            why = error.message
            continue
        if fields.get("issuer") != issuer:
            why = "the metadata names another issuer"
            break
        return fields
    raise DiscoveryFailed(
        "Could not find the server's endpoints in its metadata.",
        why=why,
        where=without_query(issuer),
        hint="Correct `issuer` in the provider's settings, or set the endpoints there: `{prog} config edit`.",
    )


def _with_metadata(server: OAuthServer, metadata: Fields) -> OAuthServer:
    completed = replace(
        server,
        token_endpoint=server.token_endpoint or _named_endpoint(server, metadata, "token_endpoint"),
        iss_advertised=server.iss_advertised or metadata.get("authorization_response_iss_parameter_supported") is True,
        pushed_authorization_required=server.pushed_authorization_required
        or metadata.get("require_pushed_authorization_requests") is True,
    )
    endpoints: dict[str, str] = {}
    for name in _OPTIONAL_ENDPOINTS:
        if getattr(server, name) is None and metadata.get(name) is not None:
            endpoints[name] = _named_endpoint(server, metadata, name)
    return replace(completed, **endpoints)  # type: ignore[arg-type]  # the keys are the optional endpoints


def _named_endpoint(server: OAuthServer, metadata: Fields, name: str) -> str:
    return usable(metadata.get(name), why_not_named_by(server.issuer, metadata.get(name)), name.replace("_", " "))
