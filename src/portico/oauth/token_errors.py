"""Turn an authorization server's error replies into errors of Portico (RFC 6749 sections 4.1.2.1, 5.2; RFC 8628 section 3.5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import ENDS_A_GRANT, Denied, OAuthError, PorticoError, TimedOut
from portico.net.reply_values import plain_text, seconds_to_wait
from portico.secret import hide, redact
from portico.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.interfaces.authorization import HttpReply
    from portico.interfaces.basics import JsonValue
    from portico.secret import Secret


class SignInTimedOut(TimedOut):
    """The sign-in was not finished in time."""

    id = "sign-in-timed-out"


class ReplyInvalid(OAuthError):
    """A token reply has a missing or invalid field."""

    id = "reply-invalid"


class AccessDenied(Denied):
    """The user or the server denied the access."""

    id = "access-denied"


class SignInEnded(OAuthError):
    """The server no longer accepts the code or token, or requires the user to sign in again."""

    id = "sign-in-ended"


class ClientRefused(OAuthError):
    """The server refuses the client, its registration, or its request."""

    id = "client-refused"


class ServerError(OAuthError):
    """The server failed, is busy, or refuses with an unknown error code."""

    id = "server-error"


class ReplyUnreadable(OAuthError):
    """The response is not a token reply. A later request may succeed."""

    id = "reply-unreadable"


class NoAnswer(ReplyUnreadable):
    """The response is not from an authorization server, so the server has probably not received the request."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[OAuthError]
    message: str
    hint: str | None = None
    transient: bool = False


_RUN_AGAIN: Final = "Run the command again."
_REGISTRATION: Final = (
    "The client id or its registration does not match this server. If your config sets `clientId`, correct or remove it: "
    "`{prog} config edit`. Otherwise the provider has changed its registrations: upgrade Portico."
)
SERVER_CHANGED_HINT: Final = "Run the command again. If it happens again, the server has changed: upgrade Portico."
_NEW_CODE: Final = "Run the command again to get a new code."
_RETRY: Final = "Try again in a moment."

_MEANINGS: Final[Mapping[str, _Meaning]] = {
    "invalid_request": _Meaning(ClientRefused, "The server reports an invalid request.", _REGISTRATION),
    "invalid_client": _Meaning(ClientRefused, "The server does not know this client.", _REGISTRATION),
    "invalid_grant": _Meaning(SignInEnded, "The server no longer accepts this code or token.", _RUN_AGAIN),
    "unauthorized_client": _Meaning(ClientRefused, "The server does not allow this sign-in flow for this client.", _REGISTRATION),
    "unsupported_grant_type": _Meaning(ClientRefused, "The server does not support this sign-in flow.", _REGISTRATION),
    "unsupported_response_type": _Meaning(ClientRefused, "The server does not support this sign-in flow.", _REGISTRATION),
    "invalid_scope": _Meaning(ClientRefused, "The server refused the requested scope.", _REGISTRATION),
    "unsupported_token_type": _Meaning(ClientRefused, "The server cannot revoke this kind of token."),
    "server_error": _Meaning(ServerError, "The server failed.", _RETRY, transient=True),
    "temporarily_unavailable": _Meaning(ServerError, "The server is busy.", _RETRY, transient=True),
    "slow_down": _Meaning(ServerError, "The server asks for fewer requests.", _RETRY, transient=True),
    "authorization_pending": _Meaning(ServerError, "The sign-in has not been approved yet.", _RETRY, transient=True),
    # Beyond RFC 6749: RFC 6750 section 3.1, OpenID Connect Core section 3.1.2.6, and GitHub's code for a spent refresh token.
    "invalid_token": _Meaning(SignInEnded, "The server no longer accepts this token.", _RUN_AGAIN),
    "bad_refresh_token": _Meaning(SignInEnded, "The server no longer accepts this token.", _RUN_AGAIN),
    "interaction_required": _Meaning(SignInEnded, "The server needs an answer from you in the browser.", _RUN_AGAIN),
    "login_required": _Meaning(SignInEnded, "The server requires you to sign in again.", _RUN_AGAIN),
    "consent_required": _Meaning(SignInEnded, "The server requires your consent again.", _RUN_AGAIN),
}
_UNKNOWN: Final = _Meaning(ServerError, "The server refused with an unknown error code.")
# RFC 6749 section 5.2.
_OAUTH_ERROR_STATUSES: Final = frozenset({400, 401})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
_FORBIDDEN: Final = 403
_SERVER_ERROR: Final = 500
SUCCESSFUL: Final = range(200, 300)
# The outcome of a sign-in on the provider's page (RFC 8628 section 3.5).
_USER_DECISIONS: Final = frozenset({"access_denied", "expired_token"})
# A longer text is cut to this length before secrets are removed.
_MAX_READ: Final = 4096


def may_pass(status: int, *, named: bool) -> bool:
    """Whether a failure with this HTTP status is temporary, so that stored tokens stay unchanged.

    `named`: the reply has a known error code. A 403 without a code usually comes from a firewall or gateway, because an
    authorization server answers 400 or 401 (RFC 6749 section 5.2).
    """
    return status in _TRANSIENT_STATUSES or status >= _SERVER_ERROR or (status == _FORBIDDEN and not named)


def oauth_error(reply: HttpReply, fields: Mapping[str, JsonValue]) -> PorticoError:
    """The error of a reply: `Denied`, `TimedOut` or `OAuthError`.

    If the reply has no text in `error`, it is not from an authorization server, even with a usual status. Then the error is
    transient, and stored tokens stay unchanged.
    """
    code = fields.get("error")
    if not isinstance(code, str) or not code:
        return unreadable(reply, "it has neither a token nor an error code")
    return error_for(
        code,
        description=fields.get("error_description"),
        where=without_query(reply.url),
        transient=may_pass(reply.status, named=code in _MEANINGS or code in _USER_DECISIONS),
        ends_grant=ends_grant(reply.status, code),
        wait=retry_after(reply),
        known=reply.secrets,
    )


def ends_grant(status: int, code: str) -> bool:
    """Whether a refresh with this status and error code ends the sign-in."""
    return status in _OAUTH_ERROR_STATUSES and code in ENDS_A_GRANT


def error_for(
    code: str,
    *,
    description: JsonValue = None,
    where: str | None = None,
    transient: bool = False,
    ends_grant: bool = False,
    wait: float | None = None,
    known: Sequence[Secret] = (),
) -> PorticoError:
    """The error for `code`. The server's text is redacted (also by the `known` secrets), escaped and cut."""
    shown_code = plain_text(hide(code[:_MAX_READ], *known), 60) or "unknown"
    # Remove secrets before the text is cut, because a part of a secret would not be recognised.
    shown_description = plain_text(hide(description[:_MAX_READ], *known) if isinstance(description, str) else None, 200)
    why = redact(f"{shown_code}: {shown_description}" if shown_description else shown_code)
    if code == "access_denied" and not transient:
        return AccessDenied("The sign-in was denied.", why=why, where=where, hint="Run the command again and allow the access.")
    if code == "expired_token" and not transient:
        return SignInTimedOut("The code expired before it was approved.", why=why, where=where, hint=_NEW_CODE)
    meaning = _MEANINGS.get(code, _UNKNOWN)
    return meaning.kind(
        meaning.message,
        code=shown_code,
        transient=transient or meaning.transient,
        ends_grant=ends_grant,
        retry_after=wait,
        why=why,
        where=where,
        hint=meaning.hint or _RETRY,
    )


def unreadable(reply: HttpReply, why: str, *, foreign: bool = False) -> OAuthError:
    """The error for an unreadable reply. It may be incomplete if it is empty or begins with `{`, unless it is `foreign`."""
    first_character = reply.body.reveal().lstrip("\ufeff \t\r\n")[:1]
    error_class = ReplyUnreadable if first_character in {"", "{"} and not foreign else NoAnswer
    return error_class(
        f"The server's response (HTTP {reply.status}) is not a token reply.",
        why=why,
        where=without_query(reply.url),
        transient=True,
        retry_after=retry_after(reply),
        hint="A proxy or a captive portal may have answered instead. Open any page in a browser, then try again.",
    )


def invalid(reply: HttpReply, why: str) -> OAuthError:
    """The error for a JSON reply with a missing or invalid field. `why` names fields, never their values.

    A reply with a success status has spent the code, so the error is not transient.
    """
    return ReplyInvalid(
        "The server's token reply cannot be used.",
        why=why,
        where=without_query(reply.url),
        transient=reply.status not in SUCCESSFUL,
        hint=SERVER_CHANGED_HINT,
    )


def retry_after(reply: HttpReply) -> float | None:
    """Seconds in the reply's `Retry-After` header, a number or a date; None without the header."""
    return seconds_to_wait(reply.headers.get("retry-after", ""), reply.headers.get("date", ""), reply.sent_at_ms / 1000)
