"""The ID token of a sign-in whose scope has `openid` (OpenID Connect Core section 3.1.3.7).

Its signature is not checked: it comes from the token endpoint itself, over TLS (item 6). Its issuer, audience, end and nonce are:
a code that was slipped in from another sign-in brings the tokens of another account, and the nonce tells (section 3.1.2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from portico.errors import OAuthError
from portico.oauth.token_response import decode_jwt, server_clock
from portico.urls import without_query

if TYPE_CHECKING:
    from portico.errors import NotRevoked
    from portico.interfaces.authorization import HttpReply, OAuthServer
    from portico.secret import Secret

OPENID: Final = "openid"
# Seconds that the clocks of two machines may differ by.
_LEEWAY_S: Final = 60
# Authlib refuses odd types of other claims too, such as an `amr` that is text; nothing here uses those.
_CHECKED_CLAIMS: Final = ("nonce", "azp", "aud", "iss", "exp", "nbf", "iat", "sub")
# Claims that are wrong each time if a setting is.
_CONFIGURED_CLAIMS: Final = ("iss", "aud", "azp")
_SETTINGS_HINT: Final = (
    "Correct `issuer` and `clientId` in the provider's settings: `{prog} config edit`. Then run the command again."
)


class IdTokenRefused(OAuthError):
    """The ID token is not of this sign-in."""

    id = "callback-invalid"


def id_token_refused(why: str, failure: NotRevoked | None, where: str) -> OAuthError:
    """The error for an ID token of another sign-in, once its tokens were revoked, or were not because of `failure`."""
    revocation = "the tokens were revoked"
    if failure is not None:
        revocation = f"the tokens have not been revoked ({failure.why or failure.id})"
    return IdTokenRefused(
        f"The server's ID token does not belong to this sign-in; {revocation}.",
        why=why,
        where=without_query(where),
        hint=_SETTINGS_HINT
        if why.endswith(_CONFIGURED_CLAIMS)
        else "Run the command again, and follow no sign-in link that you did not ask for.",
    )


def id_token_problem(token: Secret, reply: HttpReply, server: OAuthServer, nonce: Secret | None) -> str | None:
    """Which claim of an ID token is wrong; None if none is. Blocking: it loads modules."""
    from authlib.oidc.core import CodeIDToken

    decoded = decode_jwt(token.reveal())
    if decoded is None:
        return "it is not a JSON Web Token"
    header, claims = decoded
    options: dict[str, Any] = {"aud": {"essential": True, "value": server.client_id}}
    if server.issuer:
        options["iss"] = {"essential": True, "value": server.issuer}
    params = {"client_id": server.client_id, "nonce": nonce.reveal() if nonce is not None else None}
    clock_ms = server_clock(reply)
    now = (reply.sent_at_ms if clock_ms is None else clock_ms) // 1000
    try:
        checked_claims = {name: claims[name] for name in _CHECKED_CLAIMS if name in claims}
        CodeIDToken(checked_claims, header, options, params).validate(now, _LEEWAY_S)
    except Exception as error:  # noqa: BLE001 - Authlib's classes differ between its versions, and odd claims raise others
        return f"its claims are not those of this sign-in: {_claim_named_in(str(error))}"
    return None


def _claim_named_in(text: str) -> str:
    """The claim that an error speaks of; its text may repeat the claim's value."""
    claim = next((name for name in _CHECKED_CLAIMS if f"'{name}'" in text), None)
    return claim or ("exp" if "expired" in text else "another")
