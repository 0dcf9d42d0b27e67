"""Telling the server that tokens are no longer wanted (RFC 7009)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import NotRevoked, PorticoError
from portico.oauth.token_errors import oauth_error
from portico.oauth.token_response import HTTP_OK, read_json_object
from portico.secret import redact

if TYPE_CHECKING:
    from portico.contracts import FormPoster, HttpReply, OAuthServer, TokenDialect
    from portico.secret import Secret

DEFAULT_TIMEOUT_S: Final = 10.0

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
        NotRevoked: `revocation-not-offered`, `not-revoked`: the server was not told, or would not.
    """
    if not server.revocation_endpoint:
        raise NotRevoked(
            "revocation-not-offered",
            "The provider has no known way of revoking tokens.",
            where=server.issuer or None,
            hint="End the session on the provider's own account page; until then its tokens live on to their expiry.",
        )
    failures: list[str] = []
    try:
        async with asyncio.timeout(timeout_s):
            if refresh:
                failures += await _revoke_one(server, dialect, http, refresh, "refresh_token")
            if access:
                failures += await _revoke_one(server, dialect, http, access, "access_token")
    except TimeoutError:
        failures.append("no answer in time")
    if failures:
        raise NotRevoked(
            "not-revoked",
            "The provider could not be told that the tokens are no longer wanted.",
            why="; ".join(dict.fromkeys(failures)),
            where=server.issuer or None,
            hint="End the session on the provider's own account page; until then its tokens live on to their expiry.",
        )


async def _revoke_one(
    server: OAuthServer,
    dialect: TokenDialect,
    http: FormPoster,
    token: Secret,
    hint: TokenHint,
) -> list[str]:
    try:
        reply = await http.post_form(dialect.revoke_request(server, token, hint), relocated=server.relocated)
    except PorticoError as error:
        return [redact(error.why or error.message, token)]
    why = why_not_revoked(reply, hint)
    return [] if why is None else [redact(why, token)]


def why_not_revoked(reply: HttpReply, hint: TokenHint) -> str | None:
    """What a server says against revoking a token, None where it did (RFC 7009 section 2.2). The text may repeat the token."""
    if reply.status == HTTP_OK:
        return None
    try:
        error: PorticoError = oauth_error(reply, read_json_object(reply))
    except PorticoError as unreadable:
        error = unreadable
    # An access token that cannot be revoked by itself falls with its refresh token (RFC 7009 section 2.1).
    if hint == "access_token" and getattr(error, "code", None) == "unsupported_token_type":
        return None
    return error.why or error.message
