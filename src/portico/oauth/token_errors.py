"""What each error of an authorization server means for the user (RFC 6749 sections 4.1.2.1, 5.2; RFC 8628 section 3.5)."""

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
    """Nobody finished the sign-in in time."""

    id = "sign-in-timed-out"


class ReplyInvalid(OAuthError):
    """A reply has the form of a token reply and cannot be used."""

    id = "reply-invalid"


class AccessDenied(Denied):
    """Somebody, or the server, denied the access."""

    id = "access-denied"


class SignInEnded(OAuthError):
    """The server no longer takes the code or token, or wants the user to sign in again."""

    id = "sign-in-ended"


class ClientRefused(OAuthError):
    """The server refuses the client, its registration, or what it asks for."""

    id = "client-refused"


class ServerError(OAuthError):
    """The server failed, is busy, or refuses with an error that is not a standard one."""

    id = "server-error"


class ReplyUnreadable(OAuthError):
    """What came is not a token reply. Trying again may help."""

    id = "reply-unreadable"


class NoAnswer(ReplyUnreadable):
    """What came is no answer of an authorization server, which has probably not seen the request."""


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[OAuthError]
    message: str
    hint: str | None = None
    transient: bool = False


_RUN_AGAIN: Final = "Run the command again."
_REGISTRATION: Final = (
    "The client id or its registration does not fit this server. If your config sets `clientId`, correct or remove it: "
    "`{prog} config edit`. If it does not, the provider has changed its registrations: upgrade Portico."
)
SERVER_CHANGED_HINT: Final = "Run the command again. If it happens again, the server has changed: upgrade Portico."
_NEW_CODE: Final = "Run the command again to get a new code."
_RETRY: Final = "Try again in a moment."

_MEANINGS: Final[Mapping[str, _Meaning]] = {
    "invalid_request": _Meaning(ClientRefused, "The server calls the request malformed.", _REGISTRATION),
    "invalid_client": _Meaning(ClientRefused, "The server does not know this client.", _REGISTRATION),
    "invalid_grant": _Meaning(SignInEnded, "The server no longer accepts this code or token.", _RUN_AGAIN),
    "unauthorized_client": _Meaning(ClientRefused, "This client may not sign in this way.", _REGISTRATION),
    "unsupported_grant_type": _Meaning(ClientRefused, "The server does not offer this way of signing in.", _REGISTRATION),
    "unsupported_response_type": _Meaning(ClientRefused, "The server does not offer this way of signing in.", _REGISTRATION),
    "invalid_scope": _Meaning(ClientRefused, "The server refuses the scope that was asked for.", _REGISTRATION),
    "unsupported_token_type": _Meaning(ClientRefused, "The server cannot revoke this kind of token."),
    "server_error": _Meaning(ServerError, "The server failed.", _RETRY, transient=True),
    "temporarily_unavailable": _Meaning(ServerError, "The server is busy.", _RETRY, transient=True),
    "slow_down": _Meaning(ServerError, "The server asks for a slower pace.", _RETRY, transient=True),
    "authorization_pending": _Meaning(ServerError, "The sign-in has not been approved yet.", _RETRY, transient=True),
    # Beyond RFC 6749: RFC 6750 section 3.1, OpenID Connect Core section 3.1.2.6, and GitHub's word for a spent refresh token.
    "invalid_token": _Meaning(SignInEnded, "The server no longer accepts this token.", _RUN_AGAIN),
    "bad_refresh_token": _Meaning(SignInEnded, "The server no longer accepts this token.", _RUN_AGAIN),
    "interaction_required": _Meaning(SignInEnded, "The server wants to ask the user something.", _RUN_AGAIN),
    "login_required": _Meaning(SignInEnded, "The server wants the user to sign in again.", _RUN_AGAIN),
    "consent_required": _Meaning(SignInEnded, "The server wants the user to agree again.", _RUN_AGAIN),
}
_UNKNOWN: Final = _Meaning(ServerError, "The server refused, with an error that is not a standard one.")
# The statuses that an authorization server says them with (RFC 6749 section 5.2).
_OAUTH_ERROR_STATUSES: Final = frozenset({400, 401})
_TRANSIENT_STATUSES: Final = frozenset({408, 425, 429})
_FORBIDDEN: Final = 403
_SERVER_ERROR: Final = 500
SUCCESSFUL: Final = range(200, 300)
# What a person did on the provider's page: it is told of a sign-in in progress (RFC 8628 section 3.5).
_USER_DECISIONS: Final = frozenset({"access_denied", "expired_token"})
# So much of a text is read in order to show its beginning.
_MAX_READ: Final = 4096


def may_pass(status: int, *, named: bool) -> bool:
    """Whether a failure with this HTTP status may pass by itself, so that stored tokens stay as they are.

    `named`: the reply names what is wrong with the grant or the client. A 403 without that is more often a firewall's or a
    gateway's than the authorization server's, which answers 400 or 401 (RFC 6749 section 5.2).
    """
    return status in _TRANSIENT_STATUSES or status >= _SERVER_ERROR or (status == _FORBIDDEN and not named)


def oauth_error(reply: HttpReply, fields: Mapping[str, JsonValue]) -> PorticoError:
    """The error that a reply stands for: `Denied`, `TimedOut` or `OAuthError`.

    A reply whose `error` is absent, null or not text is no answer of an authorization server, whatever its status: it is
    transient, and stored tokens stay as they are.
    """
    code = fields.get("error")
    if not isinstance(code, str) or not code:
        return unreadable(reply, "it holds neither a token nor an error code")
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
    """Whether a refresh that is answered with `code` at this HTTP status ends the sign-in that it is for."""
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
    """The error that `code` stands for. Text of the server's is shown without `known` secrets, redacted, escaped and capped."""
    shown_code = plain_text(hide(code[:_MAX_READ], *known), 60) or "unknown"
    # What is cut first could lose the end of a secret, and be recognised as one no more.
    shown_description = plain_text(hide(description[:_MAX_READ], *known) if isinstance(description, str) else None, 200)
    why = redact(f"{shown_code}: {shown_description}" if shown_description else shown_code)
    if code == "access_denied" and not transient:
        return AccessDenied("The sign-in was denied.", why=why, where=where, hint="Run the command again, and allow the access.")
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
    """The error for a reply that cannot be read. Trying again may help. One that begins as an answer does may be cut short.

    `foreign`: it is whole, and still no answer of an authorization server.
    """
    first_character = reply.body.reveal().lstrip("\ufeff \t\r\n")[:1]
    error_class = ReplyUnreadable if first_character in {"", "{"} and not foreign else NoAnswer
    return error_class(
        f"The server's answer (HTTP {reply.status}) is not a token reply.",
        why=why,
        where=without_query(reply.url),
        transient=True,
        retry_after=retry_after(reply),
        hint="A proxy or a captive portal may be answering in the server's place. Open any page in a browser, then try again.",
    )


def invalid(reply: HttpReply, why: str) -> OAuthError:
    """The error for a JSON reply that does not hold what it must. `why` names fields, never their values.

    One with a status of success has spent the code that it answers, so asking again cannot help a sign-in.
    """
    return ReplyInvalid(
        "The server's token reply cannot be used.",
        why=why,
        where=without_query(reply.url),
        transient=reply.status not in SUCCESSFUL,
        hint=SERVER_CHANGED_HINT,
    )


def retry_after(reply: HttpReply) -> float | None:
    """Seconds of the reply's `Retry-After` header, in either of its forms; None where there is none."""
    return seconds_to_wait(reply.headers.get("retry-after", ""), reply.headers.get("date", ""), reply.sent_at_ms / 1000)
