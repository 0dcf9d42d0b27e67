"""Telling the server that tokens are no longer wanted (RFC 7009)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import NotRevoked, OAuthError, PorticoError
from portico.oauth.repeated import hide_in, make_request
from portico.oauth.token_errors import may_pass, oauth_error, retry_after
from portico.oauth.token_response import HTTP_OK, read_json_object

if TYPE_CHECKING:
    from portico.interfaces.authorization import FormPoster, HttpReply, OAuthServer, TokenDialect
    from portico.secret import Secret

DEFAULT_TIMEOUT_S: Final = 10.0
_UNREACHABLE: Final = "The provider could not be reached to revoke the tokens."
_OF_THE_CLIENT: Final = frozenset({"invalid_client", "unauthorized_client"})
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = 403

TokenHint = Literal["refresh_token", "access_token"]


async def revoke(
    server: OAuthServer,
    dialect: TokenDialect,
    http: FormPoster,
    *,
    refresh: Secret | None,
    access: Secret | None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> None:
    """Revoke the refresh token, then the access token, in `timeout_s` seconds altogether.

    A 200 means revoked or unknown, which is the same to the caller (RFC 7009 section 2.2). Both are tried, whatever the first
    says.

    Raises:
        NotRevoked: `revocation-not-offered`, `not-revoked`: the server could not be asked, or why it has not revoked them.
    """
    if not server.revocation_endpoint:
        raise NotRevoked(
            "revocation-not-offered",
            "The provider has no known way of revoking tokens.",
            where=server.issuer or None,
        )
    failures: list[NotRevoked] = []
    known = tuple(token for token in (refresh, access) if token)
    tokens: list[tuple[Secret | None, TokenHint]] = [(refresh, "refresh_token"), (access, "access_token")]
    try:
        async with asyncio.timeout(timeout_s):
            for token, hint in tokens:
                failure = await _revoke_one(server, dialect, http, token, hint, known) if token else None
                failures += [failure] if failure is not None else []
    except TimeoutError:
        failures.append(NotRevoked("not-revoked", _UNREACHABLE, why="no answer in time"))
    if failures:
        raise NotRevoked(
            "not-revoked",
            failures[0].message,
            why="; ".join(dict.fromkeys(filter(None, (failure.why for failure in failures)))) or None,
            where=server.issuer or None,
        )


async def _revoke_one(
    server: OAuthServer, dialect: TokenDialect, http: FormPoster, token: Secret, hint: TokenHint, known: tuple[Secret, ...]
) -> NotRevoked | None:
    try:
        request = make_request(server.dialect, lambda: dialect.revoke_request(server, token, hint), *known)
    except PorticoError as error:
        return NotRevoked("not-revoked", error.message, why=error.why)
    try:
        reply = await http.post_form(request, relocated=server.relocated)
    except PorticoError as error:
        hide_in(error, *known)
        return NotRevoked("not-revoked", _UNREACHABLE, why=error.why or error.message)
    return read_revocation(reply, hint, *known)


def read_revocation(reply: HttpReply, hint: TokenHint, *known: Secret) -> NotRevoked | None:
    """Why a server has not revoked a token, None where it has (RFC 7009 section 2.2). `known` are secrets that it may repeat.

    Section 2.2.1: `invalid_client` and the like are of the client and not of the token; after a 503 the token is still good, and
    `Retry-After` says when the server can be asked again.
    """
    if reply.status == HTTP_OK:
        return None
    reply = replace(reply, secrets=(*reply.secrets, *known))
    try:
        error: PorticoError = oauth_error(reply, read_json_object(reply))
    except PorticoError as unreadable:
        error = unreadable
    code = error.code if isinstance(error, OAuthError) else None
    # An access token that cannot be revoked by itself falls with its refresh token (RFC 7009 section 2.1).
    if hint == "access_token" and code == "unsupported_token_type":
        return None
    said = [f"HTTP {reply.status}"]
    said += [error.why] if error.id != "reply-unreadable" and error.why else []
    wait = retry_after(reply)
    said += [f"it asks to try again in {round(wait)} s"] if wait else []
    return NotRevoked("not-revoked", _message(reply.status, code), why=", ".join(said))


def _message(status: int, code: str | None) -> str:
    if code in _OF_THE_CLIENT or (status == _UNAUTHORIZED and code is None):
        return "The provider does not accept this client, so it has not revoked the tokens."
    if status == _FORBIDDEN and code is None:
        return "The provider does not let this client revoke tokens."
    if code == "unsupported_token_type":
        return "The provider cannot revoke this kind of token."
    if may_pass(status, named=code is not None):
        return "The provider is too busy, or fails, and has not revoked the tokens."
    return "The provider refused to revoke the tokens."
