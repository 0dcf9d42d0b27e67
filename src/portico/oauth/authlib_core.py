"""Authlib's client as the maker of URLs and request bodies, without its ways of sending, guessing and remembering.

Authlib's `OAuth2Client` calls `_fetch_token`, `_refresh_token` and `_http_post` with a finished body; here they hand that body
back as a `FormRequest` and send nothing. So RFC 6749's wording is Authlib's, and what this program must decide itself stays
outside: state and `iss` are checked by `authorization_response`, replies by `token_response`, refresh by the broker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.common.urls import add_params_to_uri
from authlib.oauth2 import OAuth2Client

from portico.interfaces.authorization import FormRequest
from portico.oauth import pkce
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.interfaces.authorization import OAuthServer

ACCEPT_JSON: Final = {"Accept": "application/json"}
OFFLINE_ACCESS: Final = "offline_access"
_SECRET_FIELDS: Final = frozenset({"code", "code_verifier", "refresh_token", "token", "device_code", "state", "nonce"})


class PublicClient(OAuth2Client):
    """One public client at one authorization server: makes requests, sends none.

    The PKCE method is always set, since without it Authlib drops the challenge and says nothing; every grant type is named, since
    Authlib otherwise guesses one; and whatever would parse or keep a reply is closed.
    """

    def __init__(self, server: OAuthServer) -> None:
        super().__init__(
            None,
            client_id=server.client_id,
            scope=server.scope or None,
            code_challenge_method=pkce.METHOD,
            token_endpoint_auth_method="none",  # noqa: S106 - the method of a public client (RFC 7591 section 2)
            revocation_endpoint_auth_method="none",
        )
        self._server = server

    def authorization_url(
        self, endpoint: str, *, redirect_uri: str, state: Secret, verifier: Secret, nonce: Secret | None = None
    ) -> str:
        """The URL the browser opens (RFC 6749 section 4.1.1, RFC 7636 section 4.3).

        For offline access the user is asked to agree: a server ignores the wish otherwise (OpenID Connect Core section 11). An
        endpoint whose query has a `prompt` keeps it; any other parameter of the request replaces one of its query, for none may
        come twice (RFC 6749 section 3.1).
        """
        if not state or not verifier:
            raise ValueError("an authorization request needs a state and a verifier")
        asks_already = any(name == "prompt" for name, _ in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True))
        url, _ = self.create_authorization_url(
            _without_query(endpoint),
            state=state.reveal(),
            code_verifier=verifier.reveal(),
            redirect_uri=redirect_uri,
            audience=self._server.audience,
            nonce=nonce.reveal() if nonce is not None else None,
            prompt="consent" if OFFLINE_ACCESS in self._server.scope.split() and not asks_already else None,
            response_mode=self._server.response_mode if self._server.response_mode != "query" else None,
        )
        return _with_query_of(endpoint, url)

    def pushed_form(self, url: str, authorization_url: str) -> FormRequest:
        """The request of `authorization_url` for the pushed authorization request endpoint (RFC 9126 section 2.1).

        What the endpoint's own query holds is pushed too: a server reads the pushed parameters alone (RFC 9101 section 5).
        """
        pairs = parse_qsl(urlsplit(authorization_url).query, keep_blank_values=True)
        return FormRequest(url=url, form=_wrapped(pairs), headers=ACCEPT_JSON)

    def url_of_pushed(self, endpoint: str, request_uri: Secret) -> str:
        """The URL the browser opens for a request that was pushed (RFC 9126 section 4)."""
        own = [("client_id", self._server.client_id), ("request_uri", request_uri.reveal())]
        return _with_query_of(endpoint, str(add_params_to_uri(_without_query(endpoint), own)))

    def code_form(self, code: Secret, *, redirect_uri: str, verifier: Secret) -> FormRequest:
        """The exchange of a code (RFC 6749 section 4.1.3)."""
        return self._made(
            self.fetch_token(
                self._server.token_endpoint,
                grant_type="authorization_code",
                code=code.reveal(),
                redirect_uri=redirect_uri,
                code_verifier=verifier.reveal(),
            )
        )

    def grant_form(self, url: str, grant_type: str, **fields: str) -> FormRequest:
        """A request of an extension grant (RFC 6749 section 4.5), such as the device grant's poll."""
        return self._made(self.fetch_token(url, "", "POST", None, None, grant_type, None, scope=None, **fields))

    def refresh_form(self, refresh: Secret) -> FormRequest:
        """A refresh with the scope of the original grant, which is asked for by naming none (RFC 6749 section 6)."""
        return self._made(
            self.refresh_token(
                self._server.token_endpoint, refresh_token=refresh.reveal(), scope=None, audience=self._server.audience
            )
        )

    def revoke_form(self, url: str, token: Secret, hint: Literal["refresh_token", "access_token"]) -> FormRequest:
        """A revocation (RFC 7009 section 2.1)."""
        revoke: Any = self.revoke_token
        return self._made(revoke(url, token=token.reveal(), token_type_hint=hint))

    def parse_response_token(self, _resp: object) -> NoReturn:
        """Closed: Authlib takes `{}` and an error page's JSON for a token."""
        raise TypeError("replies are read by portico.oauth.token_response")

    def ensure_active_token(self, _token: object = None) -> NoReturn:
        """Closed: Authlib sends a refresh token that another task has already spent."""
        raise TypeError("tokens are refreshed by portico.auth.broker")

    @staticmethod
    def _made(request: object) -> FormRequest:
        return cast("FormRequest", request)

    def _fetch_token(self, url: str, body: str = "", auth: Any = None, **_unused: object) -> FormRequest:
        return _form_request(url, body, auth)

    def _refresh_token(self, url: str, body: str = "", auth: Any = None, **_unused: object) -> FormRequest:
        return _form_request(url, body, auth)

    def _http_post(self, url: str, body: str = "", auth: Any = None, **_unused: object) -> FormRequest:
        return _form_request(url, body, auth)


def _without_query(endpoint: str) -> str:
    return urlsplit(endpoint)._replace(query="").geturl()


def _with_query_of(endpoint: str, url: str) -> str:
    """`url` of a request, and before its parameters those of the endpoint's own query that it has not."""
    names = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    kept = [pair for pair in parse_qsl(urlsplit(endpoint).query, keep_blank_values=True) if pair[0] not in names]
    query = "&".join(filter(None, (urlencode(kept), urlsplit(url).query)))
    return urlsplit(url)._replace(query=query).geturl()


def _form_request(url: str, body: str, auth: Any) -> FormRequest:
    """The body that Authlib made, with the client's own authentication put in and its secrets wrapped again."""
    url, headers, body = auth.prepare("POST", url, dict(ACCEPT_JSON), body)
    return FormRequest(url=url, form=_wrapped(parse_qsl(body, keep_blank_values=True)), headers=headers)


def _wrapped(pairs: Iterable[tuple[str, str]]) -> dict[str, str | Secret]:
    return {name: Secret(value) if name in _SECRET_FIELDS else value for name, value in pairs}
