"""Read the replies of token endpoints, and check ID tokens.

A refresh spends the old refresh token, so a valid access token is never discarded because another field is invalid. An invalid
field counts as absent (RFC 6749 section 5.1: a lifetime is RECOMMENDED, a scope OPTIONAL). Every dialect follows these rules:

- a body is a JSON object in UTF-8; the last of duplicate keys wins, as in nearly every parser (RFC 8259 section 4);
- an access token has 1 to 64 Ki visible ASCII characters, so it cannot add a line break to a header (RFC 6750 section 2.1);
- a refresh token is any text up to 128 Ki characters, because it is sent in a form (RFC 6749 appendix A.17 allows spaces);
- `token_type` is `Bearer` in upper or lower case, and `Bearer` if missing; other types are unusable;
- a lifetime is a positive finite number below ten years, or its digits (`"3600"`, `"3599.5"`); booleans, zero, negative numbers,
  `"3600s"` and 1e308 count as absent;
- a point in time (`unit` `ms` or `auto`) is read by the server's own clock, from its `Date` header (RFC 9110 section 6.6.1);
- an absent, null or empty `refresh_token` means no refresh token.

Fields beyond RFC 6749 (the refresh token's lifetime, the account) are optional; an unreadable value counts as absent.

A sign-in with the scope `openid` also has an ID token (OpenID Connect Core section 3.1.3.7). Its signature is not checked,
because the token comes directly from the token endpoint over TLS (item 6). Its issuer, audience, expiry and nonce are checked:
the nonce reveals a code that an attacker injected from another sign-in (section 3.1.2.1).
"""

from __future__ import annotations

import base64
import json
import math
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from portico.errors import OAuthError
from portico.interfaces.authorization import TokenSet
from portico.interfaces.basics import JsonValue
from portico.net.reply_values import http_date, plain_text
from portico.oauth import token_errors
from portico.oauth.dialects import without_secrets
from portico.oauth.token_errors import SERVER_CHANGED_HINT, SUCCESSFUL, invalid, unreadable
from portico.secret import Secret
from portico.urls import without_query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.errors import NotRevoked, PorticoError
    from portico.interfaces.authorization import HttpReply, OAuthServer

T = TypeVar("T")
Unit = Literal["s", "ms", "auto"]
Fields = dict[str, JsonValue]

HTTP_OK: Final = 200
BEARER: Final = "Bearer"

# Every known dialect's token reply has at least one of these fields.
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
# A `Date` header has no fractions of a second.
_DATE_STEP_MS: Final = 1_000
# If the server sends no `Date`, an expiry nearer than this is ignored: with a wrong local clock, each request would cause a
# refresh.
_MIN_UNCONFIRMED_MS: Final = 60_000
# Keycloak uses the first name, GitHub and Microsoft Entra the second. Both fields are seconds from now.
_REFRESH_LIFETIMES: Final = ("refresh_expires_in", "refresh_token_expires_in")
_MAX_LIFETIME_S: Final = _MAX_LIFETIME_MS // 1000
_MAX_SUBJECT: Final = 255
_JWT_PARTS: Final = 3
_MAX_JWT: Final = 64 * 1024


class TokensUnfit(OAuthError):
    """The tokens are not of type Bearer, or cannot be sent in a request."""

    id = "sign-in-ended"


def read_json_object(reply: HttpReply) -> Fields:
    """The reply's body as a JSON object. Secrets of the request and the reply are removed from its texts and URLs.

    Raises:
        OAuthError: `reply-unreadable`, transient: the page of a proxy or captive portal, or an incomplete body.
    """
    try:
        # A very long number, or NaN, must not make the other fields unreadable.
        value = json.loads(reply.body.reveal().removeprefix("\ufeff"), parse_int=_integer)
    except (ValueError, RecursionError):
        raise unreadable(reply, "the body is not one JSON object") from None
    if not isinstance(value, dict):
        raise unreadable(reply, "the body is not one JSON object")
    return without_secrets(reply, value)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def normalise_expiry(value: JsonValue, now_ms: int, unit: Unit = "s", *, server_now_ms: int | None = None) -> int | None:
    """Convert a server's lifetime or expiry field into wall time (ms epoch); None for a null field.

    Args:
        value: the field's value.
        now_ms: when the request was sent. So after a slow response the token looks older, never younger.
        unit: `s`: seconds from now (RFC 6749). `ms`: milliseconds since the epoch. `auto`: below 1e9 seconds from now, below
            1e12 seconds since the epoch, else milliseconds since the epoch.
        server_now_ms: the server's clock at `now_ms`; None if unknown. An expiry is compared with the server's clock, so the
            result is right even if this machine's clock is wrong.

    Raises:
        ValueError: the value is not a usable time.
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


def _lifetime_until(expires_ms: float, now_ms: int, server_now_ms: int | None) -> float:
    lifetime_ms = expires_ms - (now_ms if server_now_ms is None else server_now_ms)
    if server_now_ms is None and lifetime_ms < _MIN_UNCONFIRMED_MS:
        raise ValueError("the expiry is in the past by this machine's clock, and the server sent no date")
    return lifetime_ms


def read_number(value: JsonValue) -> float | None:
    """`value` as a number; None if it is no number.

    A text of digits (`"3600"`, `"3599.5"`) is accepted. The number may be infinite.
    """
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


def read_text(fields: Mapping[str, JsonValue], name: str, *, max_length: int = _MAX_TOKEN) -> str | None:
    """The text in field `name`; None if the field is absent, null or empty.

    Raises:
        ValueError: the value is not text, has more than `max_length` characters, or has unprintable characters (control
            characters, or characters that change the writing direction).
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > max_length or not value.isprintable():
        raise ValueError(f"{name} is not text")
    return value


def read_token(fields: Mapping[str, JsonValue], name: str) -> Secret | None:
    """The token in field `name`; None if the field is absent, null or empty.

    Raises:
        ValueError: the value is not a token.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_TOKEN or not all("!" <= character <= "~" for character in value):
        raise ValueError(f"{name} is not a token")
    return Secret(value)


def read_refresh_token(fields: Mapping[str, JsonValue], name: str) -> Secret | None:
    """The refresh token in field `name`; None if the field is absent, null or empty.

    Raises:
        ValueError: the value is not text that a form can carry.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_REFRESH or not _is_encodable(value):
        raise ValueError(f"{name} is not a token")
    return Secret(value)


def holds_tokens(reply: HttpReply, fields: Mapping[str, JsonValue]) -> bool:
    """Whether a reply has a success status and an access token. If so, its other fields do not matter."""
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
        OAuthError: `reply-invalid`: the reply has neither an access token nor a refresh token. `reply-unreadable`, transient:
            the reply is not from an authorization server.
    """
    reader = _FieldReader(reply, fields)
    access, unfit = reader.access()
    refresh = reader.or_unread("refresh_token", lambda: read_refresh_token(fields, "refresh_token"))
    if access is None and refresh is None and fields and _TOKEN_REPLY_FIELDS.isdisjoint(fields):
        # A captive portal may answer in JSON too (RFC 8908 section 5).
        raise unreadable(reply, "it has no field of a token reply", foreign=True)
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
    """The ID token. A value that is not text becomes an empty token, which the check refuses later."""
    return None if value is None or value == "" else Secret(value if isinstance(value, str) else "")


class _FieldReader:
    """Reads the fields of one reply; `unread` collects the names of invalid fields."""

    def __init__(self, reply: HttpReply, fields: Mapping[str, JsonValue]) -> None:
        self._reply = reply
        self._fields = fields
        self.unread: list[str] = []

    def access(self) -> tuple[Secret | None, str | None]:
        """The access token, usable or not, and why it is unusable."""
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
        """The token type; Bearer if missing."""
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
    """Whether the text can be encoded: JSON can contain half of a surrogate pair."""
    try:
        return bool(value.encode())
    except UnicodeEncodeError:
        return False


def server_clock(reply: HttpReply) -> int | None:
    """The server's clock when the request was sent (ms epoch), from the reply's `Date`; None without a `Date`.

    If both clocks agree, return the local time, which is more exact than a `Date`. Otherwise add a second, because a `Date` has
    no fraction of a second: so a token may look older, never younger.
    """
    server_time = http_date(reply.headers.get("date", ""))
    if server_time is None:
        return None
    server_ms = round(server_time * 1000)
    clocks_agree = reply.sent_at_ms - _DATE_STEP_MS <= server_ms <= reply.sent_at_ms + reply.took_ms
    return reply.sent_at_ms if clocks_agree else server_ms + _DATE_STEP_MS


def is_bearer(token_set: TokenSet) -> bool:
    """Whether the tokens have the only type that Portico supports."""
    return token_set.token_type.lower() == BEARER.lower()


def check_fit(token_set: TokenSet) -> None:
    """Raise an error for tokens that cannot be sent in a request.

    Raises:
        OAuthError: `sign-in-ended`: the caller must revoke the tokens.
    """
    if token_set.unfit is not None or not is_bearer(token_set):
        raise TokensUnfit(
            "The server issued tokens that cannot be used.",
            why=token_set.unfit if is_bearer(token_set) else f"their type is {token_set.token_type}, not {BEARER}",
            hint=SERVER_CHANGED_HINT,
        )


def _join_scope_list(fields: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return `fields`. If the scope is a list of texts, join it to one text."""
    scope = fields.get("scope")
    if not isinstance(scope, list) or not all(isinstance(item, str) for item in scope):
        return fields
    return {**fields, "scope": " ".join(map(str, scope))}


def read_refresh_expiry(fields: Mapping[str, JsonValue], now_ms: int) -> int | None:
    """The refresh token's expiry (ms epoch). None if the field is absent or 0, which means "never" in Keycloak."""
    for name in _REFRESH_LIFETIMES:
        value = fields.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MAX_LIFETIME_S:
            return now_ms + int(value * 1000)
    return None


def read_subject(fields: Mapping[str, JsonValue]) -> str | None:
    """The account's `sub` in the reply's ID token; None without a `sub`.

    The signature is not checked: the token comes from the token endpoint over TLS (OpenID Connect Core section 3.1.3.7, item 6),
    and the `sub` only distinguishes accounts of one issuer.
    """
    parts = decode_jwt(str(fields.get("id_token")))
    try:
        return read_text(parts[1], "sub", max_length=_MAX_SUBJECT) if parts is not None else None
    except ValueError:
        return None


def decode_jwt(token: str) -> tuple[dict[str, JsonValue], dict[str, JsonValue]] | None:
    """Header and claims of a signed JSON Web Token (RFC 7519), else None. The signature is not checked."""
    parts = token.split(".")
    if len(parts) != _JWT_PARTS or len(token) > _MAX_JWT:
        return None
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except (ValueError, RecursionError):
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


DEFAULT_INTERVAL_S: Final = 5.0
MIN_INTERVAL_S: Final = 1.0
# The user waits at most this long after the approval.
MAX_INTERVAL_S: Final = 60.0
# Used if the server sends no lifetime, although RFC 8628 section 3.2 requires it. The server itself reports the end of the code
# (section 3.5, `expired_token`).
DEFAULT_CODE_LIFETIME_S: Final = 900.0

# A smaller interval in milliseconds would mean more than ten polls a second, so the number is read as seconds.
_MIN_MILLISECONDS: Final = 100
_MAX_INTERVAL_VALUE: Final = 10**9


def read_code_expiry(value: JsonValue, now_ms: int, unit: Unit = "s", *, server_now_ms: int | None = None) -> int:
    """The expiry of a device code (ms epoch). The arguments are those of `normalise_expiry`.

    An unusable lifetime (missing, not a number, in the past, over ten years) becomes `DEFAULT_CODE_LIFETIME_S`.
    """
    try:
        expires_at = normalise_expiry(value, now_ms, unit, server_now_ms=server_now_ms)
    except ValueError:
        expires_at = None
    return expires_at if expires_at is not None and expires_at > now_ms else now_ms + round(DEFAULT_CODE_LIFETIME_S * 1000)


def read_interval(
    value: JsonValue, *, default_s: float = DEFAULT_INTERVAL_S, per_second: float = 1.0, least_s: float = MIN_INTERVAL_S
) -> float:
    """Seconds between polls, from `least_s` to 60; `default_s` for an unusable value (RFC 8628 section 3.2).

    Args:
        value: the field's value: a number or a text of digits.
        default_s: the interval for a value that is missing, negative or not a number, in seconds.
        per_second: 1 for seconds, 1000 for milliseconds. A number that is too small for milliseconds is read as seconds.
        least_s: the shortest interval, in seconds.
    """
    number = read_number(value)
    if number is None or number < 0:
        return default_s
    seconds = number if number < _MIN_MILLISECONDS else min(number, _MAX_INTERVAL_VALUE) / per_second
    return float(min(MAX_INTERVAL_S, max(least_s, seconds)))


class ReplyReader:
    """Reads one reply of an authorization server.

    Raises:
        OAuthError: `reply-unreadable`, transient, by each member that reads a field: the body is not one JSON object.
    """

    def __init__(self, reply: HttpReply) -> None:
        self.reply = reply

    @cached_property
    def fields(self) -> Mapping[str, JsonValue]:
        """The body as a JSON object. Secrets of the request and the reply are removed from its texts and URLs."""
        return read_json_object(self.reply)

    @property
    def where(self) -> str:
        """The URL of the request without its query, for an error's `where`."""
        return without_query(self.reply.url)

    @property
    def holds_tokens(self) -> bool:
        """Whether the reply has a success status and an access token; its other fields then do not matter."""
        return holds_tokens(self.reply, self.fields)

    @property
    def retry_after(self) -> float | None:
        """Seconds in the `Retry-After` header, a number or a date; None without the header."""
        return token_errors.retry_after(self.reply)

    def token(self, name: str) -> Secret | None:
        """The token in field `name`; None if the field is absent, null or empty.

        Raises:
            OAuthError: `reply-invalid`: the value is not a token.
        """
        try:
            return read_token(self.fields, name)
        except ValueError as error:
            raise self.invalid(str(error)) from None

    def token_set(self, *, expiry_field: str = "expires_in", unit: Unit = "s", type_required: bool = True) -> TokenSet:
        """The token set of a successful token reply (RFC 6749 section 5.1).

        Args:
            expiry_field: the field with the access token's lifetime or expiry.
            unit: `s`: seconds from now. `ms`: milliseconds since the epoch. `auto`: below 1e9 seconds from now, below 1e12
                seconds since the epoch, else milliseconds since the epoch. An expiry is compared with the reply's `Date`.
            type_required: whether a missing `token_type` is noted in `TokenSet.unread`.

        Raises:
            OAuthError: `reply-invalid`: the reply has no token. `reply-unreadable`, transient: the reply is not from an
                authorization server.
        """
        return read_token_fields(self.reply, self.fields, expiry_field=expiry_field, unit=unit, type_required=type_required)

    def grant(self, *, expiry_field: str = "expires_in", unit: Unit = "s", type_required: bool = True) -> TokenSet:
        """The name of `token_set` in 0.6."""
        import warnings

        warnings.warn("ReplyReader.grant goes with 1.0; use ReplyReader.token_set", DeprecationWarning, stacklevel=2)
        return self.token_set(expiry_field=expiry_field, unit=unit, type_required=type_required)

    def code_expiry(self, name: str = "expires_in", unit: Unit = "s") -> int:
        """The expiry of a device code (ms epoch); 900 seconds from now if the field is unusable. `unit`: as in `token_set`."""
        clock = None if unit == "s" else server_clock(self.reply)
        return read_code_expiry(self.fields.get(name), self.reply.sent_at_ms, unit, server_now_ms=clock)

    def interval(
        self, *, default_s: float = DEFAULT_INTERVAL_S, per_second: float = 1.0, least_s: float = MIN_INTERVAL_S
    ) -> float:
        """Seconds between polls, from `least_s` to 60, from the field `interval`. `per_second`: 1000 for milliseconds."""
        return read_interval(self.fields.get("interval"), default_s=default_s, per_second=per_second, least_s=least_s)

    def error(self, fields: Mapping[str, JsonValue] | None = None) -> PorticoError:
        """The reply's error: `Denied`, `TimedOut` or `OAuthError`, by the codes of RFC 6749 and RFC 8628.

        `fields` replace the reply's own fields, for a server with other error fields.
        """
        return token_errors.oauth_error(self.reply, self.fields if fields is None else fields)

    def may_pass(self, *, named: bool) -> bool:
        """Whether a failure with this HTTP status is temporary, so that stored tokens stay unchanged.

        `named`: the reply has a known error code.
        """
        return token_errors.may_pass(self.reply.status, named=named)

    def invalid(self, why: str) -> OAuthError:
        """The error for a reply with a missing or invalid field. `why` names fields, never their values."""
        return token_errors.invalid(self.reply, why)


OPENID: Final = "openid"
# The tolerated difference between two machines' clocks.
_LEEWAY_S: Final = 60
# Authlib also refuses unusual types of claims that Portico does not use, such as an `amr` that is text.
_CHECKED_CLAIMS: Final = ("nonce", "azp", "aud", "iss", "exp", "nbf", "iat", "sub")
# If these claims are wrong, a setting is wrong.
_CONFIGURED_CLAIMS: Final = ("iss", "aud", "azp")
_SETTINGS_HINT: Final = (
    "Correct `issuer` and `clientId` in the provider's settings: `{prog} config edit`. Then run the command again."
)


class IdTokenRefused(OAuthError):
    """The ID token belongs to another sign-in."""

    id = "callback-invalid"


def id_token_refused(why: str, failure: NotRevoked | None, where: str) -> OAuthError:
    """The error for an ID token of another sign-in. `failure`: why its tokens were not revoked."""
    revocation = "the tokens were revoked"
    if failure is not None:
        revocation = f"the tokens were not revoked ({failure.why or failure.id})"
    return IdTokenRefused(
        f"The server's ID token does not belong to this sign-in; {revocation}.",
        why=why,
        where=without_query(where),
        hint=_SETTINGS_HINT
        if why.endswith(_CONFIGURED_CLAIMS)
        else "Run the command again. Do not open a sign-in link that you did not request.",
    )


def id_token_problem(token: Secret, reply: HttpReply, server: OAuthServer, nonce: Secret | None) -> str | None:
    """Which claim of an ID token is wrong; None if all are right. Blocking, because it loads modules."""
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
        return f"its claims do not belong to this sign-in: {_claim_named_in(str(error))}"
    return None


def _claim_named_in(text: str) -> str:
    """The claim that an error names, without the error's text, which may repeat the claim's value."""
    claim = next((name for name in _CHECKED_CLAIMS if f"'{name}'" in text), None)
    return claim or ("exp" if "expired" in text else "another")
