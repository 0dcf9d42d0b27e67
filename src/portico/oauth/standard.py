"""The dialect of servers that keep to the RFCs: 6749 (code, refresh), 7636, 7009 (revocation) and 8628 (device)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from portico.contracts import DeviceAuthorization, FormRequest, Pending
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
    from portico.contracts import HttpReply, JsonValue, OAuthServer, TokenGrant
    from portico.oauth.token_response import Fields
    from portico.secret import Secret

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
DEFAULT_INTERVAL_S: Final = 5.0
MIN_INTERVAL_S: Final = 1.0
_MAX_CODE: Final = 64


class StandardDialect:
    """`portico.contracts.TokenDialect` by the RFCs. Dialects of servers that differ in a point override that point."""

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
    expires_at = normalise_expiry(fields.get("expires_in"), now_ms)
    if device_code is None or expires_at is None:
        raise ValueError("device_code or expires_in is missing")
    return DeviceAuthorization(
        user_code=read_user_code(fields.get("user_code")),
        # Older servers of this flow call it `verification_url`.
        verification_uri=read_url(fields.get("verification_uri") or fields.get("verification_url"), "verification_uri"),
        expires_at=expires_at,
        interval=read_interval(fields.get("interval")),
        verification_uri_complete=_optional_url(fields.get("verification_uri_complete"), "verification_uri_complete"),
        device_code=device_code,
    )


def read_user_code(value: JsonValue) -> str:
    """The code a person types: 1 to 64 printable ASCII characters.

    Raises:
        ValueError: it is not one.
    """
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_CODE or not (value.isascii() and value.isprintable()):
        raise ValueError("user_code is not a code")
    return value


def read_interval(value: JsonValue, *, default_s: float = DEFAULT_INTERVAL_S, per_second: float = 1.0) -> float:
    """Seconds between polls; `default_s` where the server names none (RFC 8628 section 3.2); never below one.

    Args:
        value: the field as it came, in units of which `per_second` make a second.
        default_s: what an absent field means, in seconds.
        per_second: 1 for seconds, 1000 for milliseconds.

    Raises:
        ValueError: it is not a non-negative finite number.
    """
    if value is None:
        return default_s
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 10**9 or not math.isfinite(value):
        raise ValueError("interval is not a number of seconds")
    return max(MIN_INTERVAL_S, value / per_second)


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
