"""Revoke tokens (RFC 7009) at a sign-out, or if new tokens cannot be stored."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal, Protocol

from portico.errors import NotRevoked, OAuthError, PorticoError
from portico.oauth.dialects import make_request, redact_error
from portico.oauth.token_errors import ReplyUnreadable, may_pass, oauth_error, retry_after
from portico.oauth.token_response import HTTP_OK, read_json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portico.interfaces.authorization import FormPoster, FormRequest, HttpReply, OAuthServer, TokenDialect
    from portico.secret import Secret
    from portico.store.records import OAuthProfile, Tokens

DEFAULT_TIMEOUT_S: Final = 10.0
_UNREACHABLE: Final = "Could not reach the provider to revoke the tokens."
_CLIENT_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client"})
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403

TokenHint = Literal["refresh_token", "access_token"]
_log = logging.getLogger(__name__)


class BlockingPoster(Protocol):
    """Sends a form once and waits for the reply, on the thread of a refresh."""

    def post(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float) -> HttpReply: ...


async def revoke(
    server: OAuthServer,
    dialect: TokenDialect,
    http: FormPoster,
    *,
    refresh: Secret | None,
    access: Secret | None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> None:
    """Revoke the refresh token, then the access token, within `timeout_s` seconds in total.

    HTTP 200 means revoked or unknown (RFC 7009 section 2.2). If the first request fails, the second is sent too.

    Raises:
        NotRevoked: `not-revoked`: the server did not answer, or did not revoke the tokens.
    """
    revocation = _Revocation(server, dialect, refresh, access)
    try:
        async with asyncio.timeout(timeout_s):
            for hint, request in revocation.requests():
                try:
                    revocation.record_reply(hint, await http.post_form(request, relocated=server.relocated))
                except PorticoError as error:
                    revocation.record_error(error)
    except TimeoutError:
        revocation.failures.append(NotRevoked(_UNREACHABLE, why="no answer in time"))
    revocation.raise_failures()


def revoke_orphaned(
    profile: OAuthProfile, tokens: Tokens, dialects: Callable[[str], TokenDialect], poster: BlockingPoster
) -> None:
    """Revoke orphaned tokens of `profile` on the thread of a refresh. Logs a failure. Blocking."""
    server = profile.server()
    try:
        revocation = _Revocation(server, dialects(profile.dialect), tokens.refresh, tokens.access)
        for hint, request in revocation.requests():
            try:
                reply = poster.post(request, relocated=dict(profile.relocated), timeout_s=DEFAULT_TIMEOUT_S)
                revocation.record_reply(hint, reply)
            except PorticoError as error:
                revocation.record_error(error)
        revocation.raise_failures()
    except PorticoError as error:
        _log.warning("%s: could not revoke orphaned tokens: %s", profile.id, error)


class _Revocation:
    """Builds the requests that revoke tokens, and collects the failures. The caller sends the requests.

    Raises:
        NotRevoked: `not-revoked`: no revocation endpoint of the server is known.
    """

    def __init__(self, server: OAuthServer, dialect: TokenDialect, refresh: Secret | None, access: Secret | None) -> None:
        if not server.revocation_endpoint:
            raise NotRevoked("Portico knows no revocation endpoint of the provider.", where=server.issuer or None)
        self._server = server
        self._dialect = dialect
        tokens: tuple[tuple[TokenHint, Secret | None], ...] = (("refresh_token", refresh), ("access_token", access))
        self._tokens = {hint: token for hint, token in tokens if token}
        self._secrets = tuple(self._tokens.values())
        self.failures: list[NotRevoked] = []

    def requests(self) -> Iterator[tuple[TokenHint, FormRequest]]:
        """The requests. The refresh token comes first, because this may revoke both (RFC 7009 section 2.1)."""
        for hint, token in self._tokens.items():
            try:
                request = self._request(token, hint)
            except PorticoError as error:
                self.failures.append(NotRevoked(error.message, why=error.why))
            else:
                yield hint, request

    def _request(self, token: Secret, hint: TokenHint) -> FormRequest:
        return make_request(self._server.dialect, lambda: self._dialect.revoke_request(self._server, token, hint), *self._secrets)

    def record_reply(self, hint: TokenHint, reply: HttpReply) -> None:
        """Record the reply to the request for the token of type `hint`."""
        failure = read_revocation(reply, hint, *self._secrets)
        self.failures += [failure] if failure is not None else []

    def record_error(self, error: PorticoError) -> None:
        """Record a request without a reply."""
        redact_error(error, *self._secrets)
        self.failures.append(NotRevoked(_UNREACHABLE, why=error.why or error.message))

    def raise_failures(self) -> None:
        """Raise the first failure's message with the reasons of all failures.

        Raises:
            NotRevoked: `not-revoked`.
        """
        if self.failures:
            raise NotRevoked(
                self.failures[0].message,
                why="; ".join(dict.fromkeys(filter(None, (failure.why for failure in self.failures)))) or None,
                where=self._server.issuer or None,
            )


def read_revocation(reply: HttpReply, hint: TokenHint, *secrets: Secret) -> NotRevoked | None:
    """Return why the server did not revoke a token; None on success (RFC 7009 section 2.2). `secrets` are removed from the error.

    Section 2.2.1: `invalid_client` concerns the client, not the token. After a 503 the token is still valid, and `Retry-After`
    says when to try again.
    """
    if reply.status == HTTP_OK:
        return None
    reply = replace(reply, secrets=(*reply.secrets, *secrets))
    try:
        error: PorticoError = oauth_error(reply, read_json_object(reply))
    except PorticoError as unreadable:
        error = unreadable
    code = error.code if isinstance(error, OAuthError) else None
    # A server that does not revoke access tokens separately revokes them with the refresh token (RFC 7009 section 2.1).
    if hint == "access_token" and code == "unsupported_token_type":
        return None
    reasons = [f"HTTP {reply.status}"]
    reasons += [error.why] if error.why and not isinstance(error, ReplyUnreadable) else []
    wait = retry_after(reply)
    reasons += [f"try again in {round(wait)} s"] if wait else []
    return NotRevoked(_message(reply.status, code), why=", ".join(reasons))


def _message(status: int, code: str | None) -> str:
    if code in _CLIENT_ERRORS or (status == _UNAUTHORIZED and code is None):
        return "The provider does not accept this client, so it did not revoke the tokens."
    if status == _FORBIDDEN and code is None:
        return "The provider does not allow this client to revoke tokens."
    if code == "unsupported_token_type":
        return "The provider cannot revoke this kind of token."
    if may_pass(status, named=code is not None):
        return "The provider is busy or failing, and did not revoke the tokens."
    return "The provider refused to revoke the tokens."
