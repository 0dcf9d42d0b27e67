"""Reading what a token endpoint answers, strictly: nothing that is not plainly a token reply ever becomes a grant.

Dialects build on these. Rules, and what they guard against:

- a body is UTF-8 JSON, an object, without a key given twice and without NaN or Infinity;
- an access token is 1 to 64 Ki visible ASCII characters (RFC 6749 appendix A.12), so it cannot carry a line break into a header;
- `token_type` is `Bearer` in any case (RFC 6749 section 5.1);
- a lifetime is a positive finite number below ten years; a string of digits (`"3600"`) is read as that number, since servers in
  the wild send it; booleans, zero, negative numbers, `"3600s"` and 1e308 are refused; an absent or null one means unknown;
- an absent, null or empty `refresh_token` means that none came.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Final, Literal

from portico.contracts import JsonValue, TokenGrant
from portico.oauth.token_errors import invalid, oauth_error, plain_text, retry_after, unreadable
from portico.oauth.token_extras import refresh_token_end, subject_of
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import HttpReply

Unit = Literal["s", "ms", "auto"]
Fields = dict[str, JsonValue]

HTTP_OK: Final = 200
__all__ = [
    "HTTP_OK",
    "Fields",
    "Unit",
    "invalid",
    "normalise_expiry",
    "oauth_error",
    "plain_text",
    "read_json_object",
    "read_token",
    "read_token_fields",
    "retry_after",
    "unreadable",
]

_MAX_TOKEN: Final = 64 * 1024
_MAX_LIFETIME_MS: Final = 10 * 365 * 86_400_000
_PAST_TOLERANCE_MS: Final = 3_600_000
_EPOCH_SECONDS: Final = 1e9
_EPOCH_MS: Final = 1e12


def read_json_object(reply: HttpReply) -> Fields:
    """The reply's body as a JSON object.

    Raises:
        OAuthError: `reply-unreadable`, transient: a proxy's or captive portal's page, a cut body, a key given twice.
    """
    try:
        value = json.loads(reply.body.reveal(), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise unreadable(reply, "the body is not one JSON object") from None
    if not isinstance(value, dict):
        raise unreadable(reply, "the body is not one JSON object")
    return value


def _unique(pairs: list[tuple[str, JsonValue]]) -> Fields:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is given twice")
    return fields


def _no_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not JSON")


def normalise_expiry(value: JsonValue, now_ms: int, unit: Unit = "s") -> int | None:
    """The wall time in ms at which something ends, from what a server said of it; None where it said nothing.

    Args:
        value: the field as it came.
        now_ms: when the request left, so that a slow answer makes the token look older and never younger.
        unit: `s`: seconds from now (RFC 6749). `ms`: milliseconds since the epoch. `auto`: by size, as clients of servers that
            changed their mind do: below 1e9 seconds from now, below 1e12 seconds since the epoch, above it milliseconds.

    Raises:
        ValueError: it is not a usable time.
    """
    if value is None:
        return None
    number = _number(value)
    absolute = unit == "ms" or (unit == "auto" and number >= _EPOCH_SECONDS)
    if unit == "auto" and _EPOCH_SECONDS <= number < _EPOCH_MS:
        number *= 1000
    at = number if absolute else now_ms + number * 1000
    earliest = now_ms - _PAST_TOLERANCE_MS if absolute else now_ms
    if not earliest < at <= now_ms + _MAX_LIFETIME_MS:
        raise ValueError("the lifetime is out of range")
    return int(at)


def _number(value: JsonValue) -> float:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(10**15)):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("the lifetime is not a number")  # noqa: TRY004 - one error for every unusable value
    if isinstance(value, int) and abs(value) > 10**15:
        raise ValueError("the lifetime is out of range")
    if not math.isfinite(value) or value <= 0:
        raise ValueError("the lifetime is out of range")
    return float(value)


def read_token(fields: Mapping[str, JsonValue], name: str) -> Secret | None:
    """The token in field `name`; None where it is absent, null or empty.

    Raises:
        ValueError: something else than a token stands there.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_TOKEN or not all("!" <= character <= "~" for character in value):
        raise ValueError(f"{name} is not a token")
    return Secret(value)


def _required_token(fields: Mapping[str, JsonValue], name: str) -> Secret:
    token = read_token(fields, name)
    if token is None:
        raise ValueError(f"{name} is missing")
    return token


def read_token_fields(
    reply: HttpReply,
    fields: Mapping[str, JsonValue],
    *,
    expiry_field: str = "expires_in",
    unit: Unit = "s",
    type_required: bool = True,
) -> TokenGrant:
    """The grant in a successful token reply (RFC 6749 section 5.1).

    Raises:
        OAuthError: `reply-invalid`: a field is missing or is not what it must be; nothing of it may be kept.
    """
    try:
        _check_type(fields.get("token_type"), required=type_required)
        return TokenGrant(
            access=_required_token(fields, "access_token"),
            refresh=read_token(fields, "refresh_token"),
            expires_at=normalise_expiry(fields.get(expiry_field), reply.sent_at_ms, unit),
            scope=_optional_text(fields, "scope"),
            resource_url=_optional_text(fields, "resource_url"),
            notice=plain_text(fields.get("notification_message")),
            refresh_expires_at=refresh_token_end(fields, reply.sent_at_ms),
            subject=subject_of(fields),
        )
    except ValueError as error:
        raise invalid(reply, str(error)) from None


def _check_type(value: JsonValue, *, required: bool) -> None:
    if value is None and not required:
        return
    if not isinstance(value, str) or value.lower() != "bearer":
        raise ValueError("token_type is not Bearer")


def _optional_text(fields: Mapping[str, JsonValue], name: str) -> str | None:
    value = fields.get(name)
    if value is None or value == "":
        return None
    if name == "scope" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = " ".join(str(item) for item in value)
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{name} is not text")
    return value
