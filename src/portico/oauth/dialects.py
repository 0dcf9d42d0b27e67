"""Calls into a dialect, which is a plugin's: guarded, and without the secrets that a server repeats.

A dialect meets whatever a server may send, so whatever it raises becomes an error of Portico's. Some servers put the token that
they reject into the text of the error, and a proxy may answer with the whole request. Each reply carries the secrets of its
request. Dialects read it by `read_json_object`, whose sentences and URLs hold them no more, and whatever they then return or
raise is cleared of them once more: a plugin may read the body by itself. None of them reaches a message, a log or the index.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from portico.errors import REPORT_TO_AUTHOR, OAuthError, PorticoError, error_location
from portico.interfaces.authorization import TokenGrant
from portico.secret import SHORTEST, Hider, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.interfaces.authorization import FormRequest, HttpReply
    from portico.interfaces.basics import JsonValue

T = TypeVar("T")


def call_dialect(dialect: str, call: Callable[[], T], *, again: bool = True) -> T:
    """What a method of `dialect` returns.

    Raises:
        PorticoError: as the method raised it; anything else is `reply-invalid`, which another try may mend if `again`. Of the
            original only its kind and place are kept: its text may quote a token.
    """
    try:
        return call()
    except PorticoError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises
        raise OAuthError(
            "reply-invalid",
            "The provider's reply could not be understood." if again else "The provider cannot be asked.",
            transient=again,
            why=f"the dialect {dialect} failed with {error_location(error)}",
            hint=REPORT_TO_AUTHOR,
        ) from None


# What a reply brings that is secret: it is read from these fields, and stands nowhere else.
_BROUGHT: Final = frozenset({"access_token", "refresh_token", "id_token", "device_code", "request_uri"})
# A reply may name a page by a code that it brings, and a dialect may poll by the user code.
_AS_THEY_ARE: Final = _BROUGHT | {"user_code", "verification_uri", "verification_url", "verification_uri_complete"}
# RFC 6749 appendix A.12 and A.17; a URL is none.
_COULD_BE_A_TOKEN: Final = re.compile(r"(?!.*://)[!-~]{1,131072}")
# Of a longer text nobody reads more, and of a reply's texts together.
_LONGEST_TEXT: Final = 64 * 1024
_LONGEST_TEXTS: Final = 256 * 1024
# No reply brings more credentials, or longer ones: each costs time for each text.
_MOST_BROUGHT: Final = 32
_LONGEST_BROUGHT: Final = 128 * 1024
# JSON that is nested deeper holds nothing that a dialect reads.
_DEEPEST: Final = 32


def without_repeated(reply: HttpReply, fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """`fields` of `reply`, in which no sentence and no URL holds a secret of the request or the reply.

    One word of what a token is made of stays: a dialect may have its own names for the fields of credentials, and a new token
    often begins as the old one. What the dialect makes of it is cleared by `read_reply`.
    """
    known = _long_enough([*reply.secrets, *_some_brought(fields)])
    return cast("dict[str, JsonValue]", _Clearing(known).of(fields)) if known else fields


def read_reply(dialect: str, reply: HttpReply, read: Callable[[HttpReply], T], *more: Secret | None) -> T:
    """What `read`, a method of `dialect`, makes of `reply`. `more` are secrets that the server knows besides the request's.

    Raises:
        PorticoError: as `read` raises it, without the secrets, and without its cause: a plugin's may quote the whole reply.
            Anything else is `reply-invalid`, and so is a grant with tokens that are no `Secret`.
    """
    reply = replace(reply, secrets=(*reply.secrets, *(secret for secret in more if secret is not None)))

    def read_and_clear() -> T:
        value = read(reply)
        return cast("T", _cleared_grant(value, reply.secrets)) if isinstance(value, TokenGrant) else value

    try:
        return call_dialect(dialect, read_and_clear)
    except PorticoError as error:
        hide_in(error, *reply.secrets, *_some_brought(_object(reply)))
        raise error from None


def make_request(dialect: str, make: Callable[[], FormRequest], *known: Secret | None, again: bool = False) -> FormRequest:
    """The request that a method of `dialect` makes of the `known` secrets.

    Raises:
        PorticoError: as the method raises it, without them and without its cause; anything else is `reply-invalid`, which may
            pass at the next try if `again`.
    """
    try:
        return call_dialect(dialect, make, again=again)
    except PorticoError as error:
        hide_in(error, *(secret for secret in known if secret is not None))
        raise error from None


def hide_in(error: PorticoError, *known: Secret) -> None:
    """Clear the texts of `error` of the `known` secrets."""
    known = _long_enough(known)
    if not known:
        return
    hider = Hider(known)

    def hide(text: str) -> str:
        return hider(text[:_LONGEST_TEXT])

    error.message = hide(error.message)
    error.args = (error.message,)
    error.why, error.where, error.hint = (None if text is None else hide(text) for text in (error.why, error.where, error.hint))
    if isinstance(error, OAuthError) and error.code is not None:
        error.code = hide(error.code)


def _cleared_grant(grant: TokenGrant, known: tuple[Secret, ...]) -> TokenGrant:
    """`grant` without the secrets. What should be text and is none counts as absent: no other tokens may be good any more."""
    known = _long_enough([*known, grant.access, *([grant.refresh] if grant.refresh is not None else [])])
    texts = {name: getattr(grant, name) for name in ("scope", "resource_url", "notice", "subject", "token_type")}
    hider = Hider(known)
    cleared: dict[str, Any] = {name: hider(text) for name, text in texts.items() if isinstance(text, str)}
    if cleared.get("subject") != grant.subject:
        # A token may begin with the account's name. Half a name is another account's, and none is nobody's.
        cleared["subject"] = None
    odd = [name for name, text in texts.items() if not (text is None or isinstance(text, str))]
    absent = {each.name: each.default for each in dataclass_fields(TokenGrant) if each.name in odd}
    unfit = grant.unfit if grant.unfit is None else hider(grant.unfit)
    return replace(grant, **cleared | absent, unfit=unfit, unread=(*grant.unread, *odd))


def _some_brought(value: JsonValue) -> Iterator[Secret]:
    usable = (secret for secret in _brought(value) if len(secret.reveal()) <= _LONGEST_BROUGHT)
    return islice(usable, _MOST_BROUGHT)


def _brought(value: JsonValue, depth: int = 0) -> Iterator[Secret]:
    """The credentials in a reply, at whatever depth."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for each in value:
            yield from _brought(each, depth + 1)
    elif isinstance(value, dict):
        for name, each in value.items():
            if isinstance(each, str) and name in _BROUGHT:
                yield Secret(each)
            else:
                yield from _brought(each, depth + 1)


class _Clearing:
    """The fields of one reply, being cleared of the `known` secrets."""

    def __init__(self, known: tuple[Secret, ...]) -> None:
        self._hide = Hider(known)
        self._left = _LONGEST_TEXTS

    def of(self, value: JsonValue, depth: int = 0) -> JsonValue:
        if isinstance(value, str):
            return value if _COULD_BE_A_TOKEN.fullmatch(value) else self._text(value)
        if not isinstance(value, (list, dict)):
            return value
        if depth > _DEEPEST:
            return None
        if isinstance(value, list):
            return [self.of(each, depth + 1) for each in value]
        return {
            name: each if isinstance(each, str) and name in _AS_THEY_ARE else self.of(each, depth + 1)
            for name, each in value.items()
        }

    def _text(self, text: str) -> str:
        text = text[: min(_LONGEST_TEXT, self._left)]
        self._left -= len(text)
        return self._hide(text)


def _object(reply: HttpReply) -> JsonValue:
    try:
        # The digits of a number are no credential, and Python refuses thousands of them.
        return cast("JsonValue", json.loads(reply.body.reveal().removeprefix("\ufeff"), parse_int=len))
    except (ValueError, RecursionError):
        return None


def _long_enough(secrets: list[Secret] | tuple[Secret, ...]) -> tuple[Secret, ...]:
    return tuple(secret for secret in secrets if len(secret.reveal()) >= SHORTEST)
