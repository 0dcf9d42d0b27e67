"""Call a plugin's dialect safely: convert its exceptions, and remove secrets that a server repeats.

A dialect may fail on any reply, so each exception of a dialect becomes an error of Portico. Some servers repeat a rejected
token in the error's text, and a proxy may repeat the whole request. So each reply object also has the secrets of its request.
`read_json_object` removes them from texts and URLs. They are also removed from the dialect's results and errors, because a
plugin may read the body itself. No secret reaches a message, a log or the index.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from portico.errors import REPORT_TO_AUTHOR, OAuthError, PorticoError, error_location
from portico.interfaces.authorization import TokenSet
from portico.oauth.token_errors import ReplyInvalid
from portico.secret import SHORTEST, Hider, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portico.interfaces.authorization import FormRequest, HttpReply
    from portico.interfaces.basics import JsonValue

T = TypeVar("T")


def call_dialect(dialect: str, call: Callable[[], T], *, transient: bool = True) -> T:
    """Call a method of `dialect` and return its result.

    Raises:
        PorticoError: as the method raised it. Any other exception becomes `reply-invalid`, with `transient`, and with only the
            type and location of the exception: its text may quote a token.
    """
    try:
        return call()
    except PorticoError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises
        raise ReplyInvalid(
            "Could not read the provider's reply." if transient else "Could not make the request for the provider.",
            transient=transient,
            why=f"the dialect {dialect} failed with {error_location(error)}",
            hint=REPORT_TO_AUTHOR,
        ) from None


# The fields of a reply with a secret.
_CREDENTIAL_FIELDS: Final = frozenset({"access_token", "refresh_token", "id_token", "device_code", "request_uri"})
# A page's address may contain the reply's code, and a dialect may poll by the user code.
_UNCHANGED_FIELDS: Final = _CREDENTIAL_FIELDS | {"user_code", "verification_uri", "verification_url", "verification_uri_complete"}
# RFC 6749 appendix A.12 and A.17; not a URL.
_TOKEN_SHAPE: Final = re.compile(r"(?!.*://)[!-~]{1,131072}")
# Longer texts are cut.
_MAX_TEXT: Final = 64 * 1024
_MAX_TOTAL_TEXT: Final = 256 * 1024
# Each credential is searched in each text, so both are limited.
_MAX_CREDENTIALS: Final = 32
_MAX_CREDENTIAL_LENGTH: Final = 128 * 1024
# No dialect reads JSON that is nested deeper.
_MAX_DEPTH: Final = 32


def without_secrets(reply: HttpReply, fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Remove the secrets of the request and the reply from the texts and URLs in `fields`.

    A value that looks like a token stays: a dialect may have its own field names for credentials, and a new token often begins
    like the old token. `read_reply` cleans the dialect's result.
    """
    secrets = _long_enough([*reply.secrets, *_limited_credentials(fields)])
    return cast("dict[str, JsonValue]", _Redactor(secrets).redact(fields)) if secrets else fields


def read_reply(dialect: str, reply: HttpReply, read: Callable[[HttpReply], T], *extra_secrets: Secret | None) -> T:
    """Read `reply` with `read`, a method of `dialect`. `extra_secrets`: further secrets that the server knows.

    Raises:
        PorticoError: as `read` raises it, without the secrets and without a cause, which may quote the whole reply. Any other
            exception becomes `reply-invalid`, and so does a token set whose tokens are not of type `Secret`.
    """
    reply = replace(reply, secrets=(*reply.secrets, *(secret for secret in extra_secrets if secret is not None)))

    def read_and_clear() -> T:
        value = read(reply)
        return cast("T", _redact_token_set(value, reply.secrets)) if isinstance(value, TokenSet) else value

    try:
        return call_dialect(dialect, read_and_clear)
    except PorticoError as error:
        redact_error(error, *reply.secrets, *_limited_credentials(_parse_body(reply)))
        raise error from None


def make_request(
    dialect: str, build_request: Callable[[], FormRequest], *secrets: Secret | None, transient: bool = False
) -> FormRequest:
    """Build a request with a method of `dialect` that uses the `secrets`.

    Raises:
        PorticoError: as the method raises it, without the secrets and without a cause. Any other exception becomes
            `reply-invalid`, with `transient`.
    """
    try:
        return call_dialect(dialect, build_request, transient=transient)
    except PorticoError as error:
        redact_error(error, *(secret for secret in secrets if secret is not None))
        raise error from None


def redact_error(error: PorticoError, *secrets: Secret) -> None:
    """Remove `secrets` from the texts of `error`."""
    secrets = _long_enough(secrets)
    if not secrets:
        return
    hider = Hider(secrets)

    def hide(text: str) -> str:
        return hider(text[:_MAX_TEXT])

    error.message = hide(error.message)
    error.args = (error.message,)
    error.why, error.where, error.hint = (None if text is None else hide(text) for text in (error.why, error.where, error.hint))
    if isinstance(error, OAuthError) and error.code is not None:
        error.code = hide(error.code)


def _redact_token_set(token_set: TokenSet, secrets: tuple[Secret, ...]) -> TokenSet:
    """Remove the secrets from the token set's texts. A field of another type counts as absent: the tokens must not be lost."""
    secrets = _long_enough([*secrets, token_set.access, *([token_set.refresh] if token_set.refresh is not None else [])])
    texts = {name: getattr(token_set, name) for name in ("scope", "resource_url", "notice", "subject", "token_type")}
    hider = Hider(secrets)
    redacted: dict[str, Any] = {name: hider(text) for name, text in texts.items() if isinstance(text, str)}
    if redacted.get("subject") != token_set.subject:
        # A token may begin with the account's name. Part of a name could be another account's name.
        redacted["subject"] = None
    not_text = [name for name, text in texts.items() if not (text is None or isinstance(text, str))]
    defaults = {
        token_field.name: token_field.default for token_field in dataclass_fields(TokenSet) if token_field.name in not_text
    }
    unfit = token_set.unfit if token_set.unfit is None else hider(token_set.unfit)
    return replace(token_set, **redacted | defaults, unfit=unfit, unread=(*token_set.unread, *not_text))


def _limited_credentials(value: JsonValue) -> Iterator[Secret]:
    usable = (secret for secret in _find_credentials(value) if len(secret.reveal()) <= _MAX_CREDENTIAL_LENGTH)
    return islice(usable, _MAX_CREDENTIALS)


def _find_credentials(value: JsonValue, depth: int = 0) -> Iterator[Secret]:
    """The credentials in a reply, at any depth."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _find_credentials(item, depth + 1)
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str) and name in _CREDENTIAL_FIELDS:
                yield Secret(item)
            else:
                yield from _find_credentials(item, depth + 1)


class _Redactor:
    """Removes secrets from the fields of one reply."""

    def __init__(self, secrets: tuple[Secret, ...]) -> None:
        self._hider = Hider(secrets)
        self._remaining = _MAX_TOTAL_TEXT

    def redact(self, value: JsonValue, depth: int = 0) -> JsonValue:
        if isinstance(value, str):
            return value if _TOKEN_SHAPE.fullmatch(value) else self._redact_text(value)
        if not isinstance(value, (list, dict)):
            return value
        if depth > _MAX_DEPTH:
            return None
        if isinstance(value, list):
            return [self.redact(item, depth + 1) for item in value]
        return {
            name: item if isinstance(item, str) and name in _UNCHANGED_FIELDS else self.redact(item, depth + 1)
            for name, item in value.items()
        }

    def _redact_text(self, text: str) -> str:
        text = text[: min(_MAX_TEXT, self._remaining)]
        self._remaining -= len(text)
        return self._hider(text)


def _parse_body(reply: HttpReply) -> JsonValue:
    try:
        # A number is not a credential, and Python refuses numbers of many thousand digits.
        return cast("JsonValue", json.loads(reply.body.reveal().removeprefix("\ufeff"), parse_int=len))
    except (ValueError, RecursionError):
        return None


def _long_enough(secrets: list[Secret] | tuple[Secret, ...]) -> tuple[Secret, ...]:
    return tuple(secret for secret in secrets if len(secret.reveal()) >= SHORTEST)
