"""What MiniMax's replies mean, in the words that its dialects share.

Progress and failure come in three shapes: an OAuth `error` (RFC 6749), a `status` word in an HTTP 200, and MiniMax's API envelope
`base_resp`. An `error` outweighs a `status`, as in MiniMax's own client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.plugin_api import (
    OAuthError,
    Pending,
    error_for,
    holds_tokens,
    may_pass,
    oauth_error,
    plain_text,
    read_json_object,
    retry_after,
    why_not_a_safe_url,
    without_query,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.plugin_api import HttpReply, JsonValue, PorticoError

    Fields = Mapping[str, JsonValue]

_OK: Final = 200
_MULTIPLE_CHOICES: Final = 300
_PENDING: Final = frozenset({"pending", "authorization_pending"})
_SLOWER: Final = frozenset({"slow_down"})
_DENIED: Final = frozenset({"denied", "access_denied", "rejected"})
_EXPIRED: Final = frozenset({"expired", "expired_token"})
_SUCCESS: Final = "success"
_FAILED: Final = frozenset({"error", "failed"})
_WORD_LIMIT: Final = 60

# `base_resp.status_code` values that MiniMax documents as passing troubles of its own: unknown, timeout, rate, internal, system.
_TRANSIENT_CODES: Final = frozenset({1000, 1001, 1002, 1024, 1033, 1039, 1041, 2045})
# Those that are a verdict on the credential: not authorized, invalid key.
_FINAL_CODES: Final = frozenset({1004, 2049})
_MAX_DIGITS: Final = 9


def read_progress(reply: HttpReply) -> Fields | Pending:
    """The fields of a reply that says yes or brings tokens, or `Pending`.

    Raises:
        Denied: the user said no.
        TimedOut: the code expired.
        OAuthError: any other no, and every reply that is none of these; an unknown `status` ends the sign-in and is shown.
    """
    fields = read_json_object(reply)
    if holds_tokens(reply, fields):
        return fields
    word = _word(fields)
    if word in _PENDING:
        return Pending()
    if word in _SLOWER:
        return Pending(slow_down=True)
    failure = _failure(reply, fields, word)
    if failure is not None:
        raise failure
    return fields


def read_success(reply: HttpReply) -> Fields:
    """The fields of a reply that says yes or brings tokens.

    Raises:
        PorticoError: as in `read_progress`. "pending" is no answer.
    """
    fields = read_progress(reply)
    if isinstance(fields, Pending):
        raise error_for("authorization_pending", where=without_query(reply.url), transient=True)
    return fields


def _word(fields: Fields) -> str | None:
    error, status = fields.get("error"), fields.get("status")
    if isinstance(error, str) and error:
        return error
    return status if isinstance(status, str) and status else None


def _failure(reply: HttpReply, fields: Fields, word: str | None) -> PorticoError | None:
    named = "access_denied" if word in _DENIED else "expired_token" if word in _EXPIRED else None
    if named is not None:
        return oauth_error(reply, {**fields, "error": named})
    if fields.get("error"):
        return oauth_error(reply, fields)
    envelope = _envelope_failure(reply, fields)
    if envelope is not None:
        return envelope
    if word is not None and word != _SUCCESS:
        return _bad_status(reply, fields, word)
    return None if _OK <= reply.status < _MULTIPLE_CHOICES else oauth_error(reply, fields)


def _envelope_failure(reply: HttpReply, fields: Fields) -> PorticoError | None:
    envelope = fields.get("base_resp")
    if not isinstance(envelope, dict):
        return None
    code, said = _number(envelope.get("status_code")), plain_text(envelope.get("status_msg"), 200)
    if (code == 0 or envelope.get("status_code") is None) and reply.status < _MULTIPLE_CHOICES:
        return None
    if said in {"invalid_grant", "access_denied", "expired_token", "invalid_client"}:
        return oauth_error(reply, {"error": said})
    final = code in _FINAL_CODES
    shown = str(code) if code is not None else None
    return OAuthError(
        "minimax-refused",
        "MiniMax refused the request.",
        code=shown,
        transient=may_pass(reply.status, named=final) or code in _TRANSIENT_CODES,
        retry_after=retry_after(reply),
        why=": ".join(part for part in (shown, said) if part) or f"HTTP {reply.status}",
        where=without_query(reply.url),
        hint="Check that the account has an M Plan (earlier: Coding Plan), and that --region is the account's own.",
    )


def _number(value: JsonValue) -> int | None:
    """A status code, also where it comes as digits in a text; None where it is neither."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _bad_status(reply: HttpReply, fields: Fields, word: str) -> OAuthError:
    known = word in _FAILED
    said = plain_text(fields.get("error_description") or fields.get("message"), 200)
    return OAuthError(
        "sign-in-failed" if known else "unknown-status",
        "MiniMax could not complete the sign-in." if known else "MiniMax answered with a status that is not known.",
        code=plain_text(word, _WORD_LIMIT),
        transient=may_pass(reply.status, named=False),
        retry_after=retry_after(reply),
        why=said or f"status: {plain_text(word, _WORD_LIMIT)}",
        where=without_query(reply.url),
        hint="Run the command again. If it happens again, check on MiniMax's website that the account may use the portal.",
    )


def required_text(reply: HttpReply, fields: Fields, name: str, limit: int = 2048) -> str:
    """The text in field `name`.

    Raises:
        OAuthError: `reply-incomplete`: it is missing, or is no text that can be shown.
    """
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > limit or not value.isprintable():
        raise incomplete(reply, f"{name} is missing or unusable")
    return value


def required_page(reply: HttpReply, fields: Fields, name: str) -> str:
    """The address of a page in field `name`.

    Raises:
        OAuthError: `reply-incomplete`: it is missing, or is no address to hand to a browser.
    """
    url = required_text(reply, fields, name, limit=8192)
    why = why_not_a_safe_url(url)
    if why is not None:
        raise incomplete(reply, f"{name} cannot be opened: {why}")
    return url


def incomplete(reply: HttpReply, why: str) -> OAuthError:
    """The error for a reply that lacks what the sign-in needs. `why` names fields, never their values."""
    return OAuthError(
        "reply-incomplete",
        "MiniMax's answer does not hold what the sign-in needs.",
        why=why,
        where=without_query(reply.url),
        hint="Run the command again. If it happens again, MiniMax has changed its service: upgrade Portico.",
    )
