"""Reading what a token endpoint answers. A good token is never thrown away for what stands beside it.

Whoever refreshes has spent the token before, so a reply with an access token is kept, and a field beside it that is not what it
must be counts as absent (RFC 6749 section 5.1 makes a lifetime RECOMMENDED and a scope OPTIONAL). Dialects build on these rules:

- a body is a JSON object in UTF-8; of a key that is given twice the last one counts, as nearly every reader has it (RFC 8259
  section 4);
- an access token is 1 to 64 Ki visible ASCII characters, so it cannot carry a line break into a header (RFC 6750 section 2.1);
- a refresh token is any text up to 128 Ki characters, since it travels in a form (RFC 6749 appendix A.17 allows spaces, too);
- `token_type` is `Bearer` in any case, and is taken for it where it is missing; tokens of another type are of no use here;
- a lifetime is a positive finite number below ten years, or the same in digits (`"3600"`, `"3599.5"`); booleans, zero, negative
  numbers, `"3600s"` and 1e308 say nothing, as an absent or null one does;
- a moment (`unit` `ms` or `auto`) is measured by the server's own clock, as its `Date` tells it (RFC 9110 section 6.6.1);
- an absent, null or empty `refresh_token` means that none came.

What some replies hold beyond RFC 6749 (when the refresh token ends, whose account it is) is not needed: a field of it that cannot
be read says nothing.

The ID token of a sign-in whose scope has `openid` (OpenID Connect Core section 3.1.3.7).

Its signature is not checked: it comes from the token endpoint itself, over TLS (item 6). Its issuer, audience, end and nonce are:
a code that was slipped in from another sign-in brings the tokens of another account, and the nonce tells (section 3.1.2.1).
"""

from __future__ import annotations

import base64
import json
import math
import re
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from portico.errors import OAuthError
from portico.interfaces.authorization import TokenSet
from portico.interfaces.basics import JsonValue
from portico.net.reply_values import http_date, plain_text
from portico.oauth.dialects import without_secrets
from portico.oauth.token_errors import SERVER_CHANGED_HINT, SUCCESSFUL, invalid, unreadable
from portico.secret import Secret
from portico.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.errors import NotRevoked
    from portico.interfaces.authorization import HttpReply, OAuthServer

T = TypeVar("T")
Unit = Literal["s", "ms", "auto"]
Fields = dict[str, JsonValue]

HTTP_OK: Final = 200
BEARER: Final = "Bearer"

# One of these is in each answer of a token endpoint, in the dialects that are known.
_TOKEN_REPLY_FIELDS: Final = frozenset(
    {
        *("access_token", "refresh_token", "id_token", "token_type", "expires_in", "expired_in", "scope"),
        *("error", "error_description", "status", "base_resp", "data", "code", "message", "msg"),
    }
)
_MAX_TOKEN: Final = 64 * 1024
_MAX_REFRESH: Final = 128 * 1024
_MAX_LIFETIME_MS: Final = 10 * 365 * 86_400_000
_EPOCH_SECONDS: Final = 1e9
_EPOCH_MS: Final = 1e12
_MAX_TIME: Final = 10**15
_MAX_DIGITS: Final = 20
_DECIMAL: Final = re.compile(r"[0-9]{1,16}(?:\.[0-9]{1,16})?")
# A `Date` leaves out what has passed of its second.
_DATE_STEP_MS: Final = 1_000
# A moment that is nearer than this by a clock which nothing confirms says nothing: each request would be a refresh.
_MIN_UNCONFIRMED_MS: Final = 60_000
# Keycloak's name for it, and that of GitHub and Microsoft Entra; both are seconds from now.
_REFRESH_LIFETIMES: Final = ("refresh_expires_in", "refresh_token_expires_in")
_MAX_LIFETIME_S: Final = _MAX_LIFETIME_MS // 1000
_MAX_SUBJECT: Final = 255
_JWT_PARTS: Final = 3
_MAX_JWT: Final = 64 * 1024


class TokensUnfit(OAuthError):
    """The tokens are of another type than Bearer, or no request can carry them."""

    id = "sign-in-ended"


def read_json_object(reply: HttpReply) -> Fields:
    """The reply's body as a JSON object, in which no sentence or URL repeats a secret of the request or reply.

    Raises:
        OAuthError: `reply-unreadable`, transient: a proxy's or captive portal's page, or a cut body.
    """
    try:
        # Numbers of any length, and NaN, are no reason to lose what stands beside them.
        value = json.loads(reply.body.reveal().removeprefix("\ufeff"), parse_int=_integer)
    except (ValueError, RecursionError):
        raise unreadable(reply, "the body is not one JSON object") from None
    if not isinstance(value, dict):
        raise unreadable(reply, "the body is not one JSON object")
    return without_secrets(reply, value)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def normalise_expiry(value: JsonValue, now_ms: int, unit: Unit = "s", *, server_now_ms: int | None = None) -> int | None:
    """The wall time in ms at which something ends, from what a server said of it; None where it said nothing.

    Args:
        value: the field as it came.
        now_ms: when the request left, so that a slow answer makes the token look older and never younger.
        unit: `s`: seconds from now (RFC 6749). `ms`: milliseconds since the epoch. `auto`: by size, as clients of servers that
            changed their mind do: below 1e9 seconds from now, below 1e12 seconds since the epoch, above it milliseconds.
        server_now_ms: what the server's clock showed at `now_ms`, None where it did not tell. A moment is measured by that clock,
            so that the result is right by this machine's, however wrong it is.

    Raises:
        ValueError: it is not a usable time.
    """
    if value is None:
        return None
    number = read_number(value)
    if number is None or not 0 < number <= _MAX_TIME:
        raise ValueError("the lifetime is not a number in range")
    if unit == "s" or (unit == "auto" and number < _EPOCH_SECONDS):
        lifetime_ms = number * 1000
    else:
        lifetime_ms = _lifetime_until(number * 1000 if unit == "auto" and number < _EPOCH_MS else number, now_ms, server_now_ms)
    if not 0 < lifetime_ms <= _MAX_LIFETIME_MS:
        raise ValueError("the lifetime is out of range")
    return int(now_ms + lifetime_ms)


def _lifetime_until(moment_ms: float, now_ms: int, server_now_ms: int | None) -> float:
    lifetime_ms = moment_ms - (now_ms if server_now_ms is None else server_now_ms)
    if server_now_ms is None and lifetime_ms < _MIN_UNCONFIRMED_MS:
        raise ValueError("the moment is past by this machine's clock, and the server did not tell its own")
    return lifetime_ms


def read_number(value: JsonValue) -> float | None:
    """`value` as a number, also where it comes in digits (`"3600"`, `"3599.5"`); None where it is none. It may be infinite."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


def read_text(fields: Mapping[str, JsonValue], name: str, *, max_length: int = _MAX_TOKEN) -> str | None:
    """The text in field `name`; None where it is absent, null or empty.

    Raises:
        ValueError: something else stands there: no text, longer than `max_length` characters, or with some that cannot be shown
            (control characters, and those that turn the direction of writing).
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > max_length or not value.isprintable():
        raise ValueError(f"{name} is not text")
    return value


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


def read_refresh_token(fields: Mapping[str, JsonValue], name: str) -> Secret | None:
    """The refresh token in field `name`; None where it is absent, null or empty.

    Raises:
        ValueError: something else than text that can be sent in a form stands there.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_REFRESH or not _is_encodable(value):
        raise ValueError(f"{name} is not a token")
    return Secret(value)


def holds_tokens(reply: HttpReply, fields: Mapping[str, JsonValue]) -> bool:
    """Whether a reply brings an access token with a status of success: it counts then, whatever stands beside it."""
    access = fields.get("access_token")
    return reply.status in SUCCESSFUL and isinstance(access, str) and access != ""


def read_token_fields(
    reply: HttpReply,
    fields: Mapping[str, JsonValue],
    *,
    expiry_field: str = "expires_in",
    unit: Unit = "s",
    type_required: bool = True,
) -> TokenSet:
    """The token set in a successful token reply (RFC 6749 section 5.1).

    Raises:
        OAuthError: `reply-invalid`: it holds neither an access token nor a refresh token. `reply-unreadable`, transient: it is
            somebody else's answer.
    """
    reader = _FieldReader(reply, fields)
    access, unfit = reader.access()
    refresh = reader.or_unread("refresh_token", lambda: read_refresh_token(fields, "refresh_token"))
    if access is None and refresh is None and fields and _TOKEN_REPLY_FIELDS.isdisjoint(fields):
        # A captive portal may answer in JSON, too (RFC 8908 section 5).
        raise unreadable(reply, "it holds no field of a token reply", foreign=True)
    if access is None and refresh is None:
        raise invalid(reply, unfit or "access_token is missing")
    return TokenSet(
        access=access or Secret(""),
        refresh=refresh,
        expires_at=reader.or_unread(expiry_field, lambda: reader.expiry(expiry_field, unit)),
        scope=reader.or_unread("scope", lambda: read_text(_join_scope_list(fields), "scope")),
        resource_url=reader.or_unread("resource_url", lambda: read_text(fields, "resource_url")),
        notice=plain_text(fields.get("notification_message")),
        refresh_expires_at=read_refresh_expiry(fields, reply.sent_at_ms),
        subject=read_subject(fields),
        id_token=_id_token(fields.get("id_token")),
        token_type=reader.token_type(required=type_required),
        unfit=unfit,
        unread=tuple(reader.unread),
    )


def _id_token(value: JsonValue) -> Secret | None:
    """The ID token as it came; anything else counts as one that is empty, and is refused where one was asked for."""
    return None if value is None or value == "" else Secret(value if isinstance(value, str) else "")


class _FieldReader:
    """One reply being read; `unread` collects the fields that are not what they must be."""

    def __init__(self, reply: HttpReply, fields: Mapping[str, JsonValue]) -> None:
        self._reply = reply
        self._fields = fields
        self.unread: list[str] = []

    def access(self) -> tuple[Secret | None, str | None]:
        """The access token, also one that cannot be used, and why it cannot."""
        try:
            access = read_token(self._fields, "access_token")
        except ValueError as error:
            value = self._fields["access_token"]
            usable = isinstance(value, str) and len(value) <= _MAX_TOKEN and _is_encodable(value)
            return Secret(str(value)) if usable else None, str(error)
        return access, None if access is not None else "access_token is missing"

    def expiry(self, field: str, unit: Unit) -> int | None:
        return normalise_expiry(self._fields.get(field), self._reply.sent_at_ms, unit, server_now_ms=server_clock(self._reply))

    def token_type(self, *, required: bool) -> str:
        """The type; Bearer where none is told."""
        value = self._fields.get("token_type")
        if isinstance(value, str) and value.strip():
            return plain_text(value, 40) or "unknown"
        if required or (value is not None and value != ""):
            self.unread.append("token_type")
        return BEARER

    def or_unread(self, name: str, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except ValueError:
            self.unread.append(name)
            return None


def _is_encodable(value: str) -> bool:
    """Whether it can be sent: JSON can hold half of a character, which no encoding has."""
    try:
        return bool(value.encode())
    except UnicodeEncodeError:
        return False


def server_clock(reply: HttpReply) -> int | None:
    """What the server's clock showed when the request left (wall ms), by the reply's `Date`; None where it did not tell.

    That is this machine's own time where both clocks agree, since a `Date` is not as fine. Elsewhere a second is added for what a
    `Date` leaves out: a token may look older by that, and never younger.
    """
    server_time = http_date(reply.headers.get("date", ""))
    if server_time is None:
        return None
    server_ms = round(server_time * 1000)
    clocks_agree = reply.sent_at_ms - _DATE_STEP_MS <= server_ms <= reply.sent_at_ms + reply.took_ms
    return reply.sent_at_ms if clocks_agree else server_ms + _DATE_STEP_MS


def is_bearer(token_set: TokenSet) -> bool:
    """Whether the tokens are of the only type that Portico can use."""
    return token_set.token_type.lower() == BEARER.lower()


def check_fit(token_set: TokenSet) -> None:
    """Refuse tokens that no request can carry.

    Raises:
        OAuthError: `sign-in-ended`: whoever asked for them revokes them.
    """
    if token_set.unfit is not None or not is_bearer(token_set):
        raise TokensUnfit(
            "The server granted tokens that cannot be used.",
            why=token_set.unfit if is_bearer(token_set) else f"their type is {token_set.token_type}, not {BEARER}",
            hint=SERVER_CHANGED_HINT,
        )


def _join_scope_list(fields: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """`fields` with a scope that is a list of texts as one text."""
    scope = fields.get("scope")
    if not isinstance(scope, list) or not all(isinstance(item, str) for item in scope):
        return fields
    return {**fields, "scope": " ".join(map(str, scope))}


def read_refresh_expiry(fields: Mapping[str, JsonValue], now_ms: int) -> int | None:
    """When the refresh token ends (wall ms); None where the reply does not tell, or says 0, as Keycloak does for "never"."""
    for name in _REFRESH_LIFETIMES:
        value = fields.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MAX_LIFETIME_S:
            return now_ms + int(value * 1000)
    return None


def read_subject(fields: Mapping[str, JsonValue]) -> str | None:
    """The account's `sub` from the reply's ID token; None where there is none.

    The signature is not checked: the token came from the token endpoint itself, over TLS (OpenID Connect Core section 3.1.3.7,
    item 6), and only tells one account of one issuer from another.
    """
    parts = decode_jwt(str(fields.get("id_token")))
    try:
        return read_text(parts[1], "sub", max_length=_MAX_SUBJECT) if parts is not None else None
    except ValueError:
        return None


def decode_jwt(token: str) -> tuple[dict[str, JsonValue], dict[str, JsonValue]] | None:
    """Header and claims of a signed JSON Web Token (RFC 7519); None where it is none. The signature is not looked at."""
    parts = token.split(".")
    if len(parts) != _JWT_PARTS or len(token) > _MAX_JWT:
        return None
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except (ValueError, RecursionError):
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


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
