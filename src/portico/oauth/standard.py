"""The dialect of servers that keep to the RFCs: 6749 (code, refresh), 7636, 7009 (revocation) and 8628 (device)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from portico.interfaces.authorization import DeviceAuthorization, FormRequest, Pending
from portico.oauth.authlib_core import ACCEPT_JSON, PublicClient
from portico.oauth.token_response import (
    SUCCESSFUL,
    holds_tokens,
    invalid,
    normalise_expiry,
    oauth_error,
    read_json_object,
    read_token,
    read_token_fields,
)

if TYPE_CHECKING:
    from portico.interfaces.authorization import HttpReply, OAuthServer, TokenGrant
    from portico.interfaces.basics import JsonValue
    from portico.oauth.token_response import Fields, Unit
    from portico.secret import Secret

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL_S: Final = 5.0
MIN_INTERVAL_S: Final = 1.0
# A person waits at most this long for an approval to be seen.
MAX_INTERVAL_S: Final = 60.0
# How long a code is polled for where the server does not say how long it lives, though RFC 8628 section 3.2 requires that. The
# server says itself when it has ended (section 3.5, `expired_token`).
DEFAULT_CODE_LIFE_S: Final = 900.0
_MAX_CODE: Final = 64
_MAX_DIGITS: Final = 15
# Nobody polls ten times a second: a number below this that should be milliseconds is seconds.
_LEAST_MS: Final = 100
_MOST: Final = 10**9


class StandardDialect:
    """`portico.interfaces.authorization.TokenDialect` by the RFCs.

    Dialects of servers that differ in a point override that point.
    """

    name = "standard"

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest:  # noqa: ARG002 - RFC 8628 has neither
        form: dict[str, str | Secret] = {"client_id": server.client_id}
        if server.scope:
            form["scope"] = server.scope
        if server.audience:
            form["audience"] = server.audience
        return FormRequest(url=server.device_authorization_endpoint or "", form=form, headers=ACCEPT_JSON)

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization:  # noqa: ARG002 - RFC 8628 has no state
        fields = checked(reply, read_json_object(reply))
        try:
            return _device(fields, reply.sent_at_ms)
        except ValueError as error:
            raise invalid(reply, str(error)) from None

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:  # noqa: ARG002
        if device.device_code is None:
            raise ValueError("this dialect polls by device code")
        client = PublicClient(server)
        return client.grant_form(server.token_endpoint, DEVICE_GRANT, device_code=device.device_code.reveal())

    def read_poll_reply(self, reply: HttpReply) -> Pending | TokenGrant:
        fields = read_json_object(reply)
        code = None if holds_tokens(reply, fields) else fields.get("error")
        if isinstance(code, str) and code in {"authorization_pending", "slow_down"}:
            return Pending(slow_down=code == "slow_down")
        return self.read_token_reply(reply)

    def code_request(self, server: OAuthServer, *, code: Secret, redirect_uri: str, verifier: Secret) -> FormRequest:
        return PublicClient(server).code_form(code, redirect_uri=redirect_uri, verifier=verifier)

    def refresh_request(self, server: OAuthServer, refresh: Secret) -> FormRequest:
        return PublicClient(server).refresh_form(refresh)

    def read_token_reply(self, reply: HttpReply) -> TokenGrant:
        fields = read_json_object(reply)
        return read_token_fields(reply, fields if holds_tokens(reply, fields) else checked(reply, fields))

    def revoke_request(self, server: OAuthServer, token: Secret, hint: Literal["refresh_token", "access_token"]) -> FormRequest:
        return PublicClient(server).revoke_form(server.revocation_endpoint or "", token, hint)


def checked(reply: HttpReply, fields: Fields) -> Fields:
    """`fields`, if they stand in a reply with a status of success (2xx) and no error.

    Raises:
        Denied, TimedOut, OAuthError: what the reply says instead.
    """
    if reply.status not in SUCCESSFUL or fields.get("error") is not None:
        raise oauth_error(reply, fields)
    return fields


def _device(fields: Fields, now_ms: int) -> DeviceAuthorization:
    device_code = read_token(fields, "device_code")
    if device_code is None:
        raise ValueError("device_code is missing")
    return DeviceAuthorization(
        user_code=read_user_code(fields.get("user_code")),
        # Older servers of this flow call it `verification_url`.
        verification_uri=read_url(fields.get("verification_uri") or fields.get("verification_url"), "verification_uri"),
        expires_at=read_code_expiry(fields.get("expires_in"), now_ms),
        interval=read_interval(fields.get("interval")),
        verification_uri_complete=_optional_url(fields.get("verification_uri_complete"), "verification_uri_complete"),
        device_code=device_code,
    )


def read_user_code(value: JsonValue) -> str:
    """The code a person types: 1 to 64 printable characters of any script.

    Raises:
        ValueError: it is not one. Control characters and those that turn the direction of writing are not printable.
    """
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_CODE or not value.isprintable():
        raise ValueError("user_code is not a code")
    return value


def read_code_expiry(value: JsonValue, now_ms: int, unit: Unit = "s", *, server_now_ms: int | None = None) -> int:
    """When a device code ends, wall ms.

    Args:
        value: the field as it came.
        now_ms: when the request left.
        unit: as for `normalise_expiry`.
        server_now_ms: as for `normalise_expiry`.

    A lifetime that is missing, no number, not in the future or over ten years is taken for `DEFAULT_CODE_LIFE_S` seconds: a
    sign-in does not fail for it.
    """
    try:
        at = normalise_expiry(value, now_ms, unit, server_now_ms=server_now_ms)
    except ValueError:
        at = None
    return at if at is not None and at > now_ms else now_ms + round(DEFAULT_CODE_LIFE_S * 1000)


def read_interval(
    value: JsonValue, *, default_s: float = DEFAULT_INTERVAL_S, per_second: float = 1.0, least_s: float = MIN_INTERVAL_S
) -> float:
    """Seconds between polls, from `least_s` to 60; `default_s` where the server names no usable one (RFC 8628 section 3.2).

    Args:
        value: the field as it came: a number, or its digits in a text, in units of which `per_second` make a second.
        default_s: what a missing field, and one that is no number or is negative, means, in seconds.
        per_second: 1 for seconds, 1000 for milliseconds. A number that is too small to be milliseconds is read as seconds.
        least_s: the shortest interval, in seconds.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:  # NaN is neither
        return default_s
    seconds = value if value < _LEAST_MS else min(value, _MOST) / per_second
    return float(min(MAX_INTERVAL_S, max(least_s, seconds)))


def read_url(value: JsonValue, name: str) -> str:
    """A URL field as text; the flow that opens or shows it decides whether it may.

    Raises:
        ValueError: it is not text.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value


def _optional_url(value: JsonValue, name: str) -> str | None:
    return None if value is None or value == "" else read_url(value, name)
