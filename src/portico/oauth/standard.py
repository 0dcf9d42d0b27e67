"""The dialect of servers that follow the RFCs: 6749 (code, refresh), 7636 (PKCE), 7009 (revocation) and 8628 (device).

Authlib's functions build the requests. Authlib's clients are not used, because they guess a missing grant type, accept `{}` as
a token, and may send a refresh token that another task has spent. `token_response` reads the replies. The broker decides when
to refresh.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl

from portico.interfaces.authorization import DeviceAuthorization, FormRequest, Pending
from portico.oauth.token_errors import SUCCESSFUL, invalid, oauth_error
from portico.oauth.token_response import (
    holds_tokens,
    read_code_expiry,
    read_interval,
    read_json_object,
    read_text,
    read_token,
    read_token_fields,
)
from portico.secret import Secret

if TYPE_CHECKING:
    from portico.interfaces.authorization import HttpReply, OAuthServer, TokenSet
    from portico.interfaces.basics import JsonValue
    from portico.oauth.token_response import Fields

ACCEPT_JSON: Final = {"Accept": "application/json"}
PKCE_METHOD: Final = "S256"
DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_CODE: Final = 64
_ENTROPY_BYTES: Final = 32
_SECRET_FIELDS: Final = frozenset({"code", "code_verifier", "refresh_token", "token", "device_code", "state", "nonce"})


def one_time_value() -> Secret:
    """Return a new PKCE verifier, state or nonce: 256 random bits of the operating system in 43 characters.

    RFC 7636 section 4.1, RFC 6749 section 10.12, OpenID Connect Core section 15.5.2.
    """
    import secrets

    return Secret(secrets.token_urlsafe(_ENTROPY_BYTES))


def challenge_of(verifier: Secret) -> str:
    """The S256 code challenge of `verifier` (RFC 7636 section 4.2)."""
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    return str(create_s256_code_challenge(verifier.reveal()))  # type: ignore[no-untyped-call]  # its stubs name no types


def form_request(url: str, body: str) -> FormRequest:
    """Make a request from a form body that Authlib built. Its secrets become `Secret` objects."""
    pairs = parse_qsl(body, keep_blank_values=True)
    form = {name: Secret(value) if name in _SECRET_FIELDS else value for name, value in pairs}
    return FormRequest(url=url, form=form, headers=ACCEPT_JSON)


class StandardDialect:
    """The `TokenDialect` of the RFCs. A dialect of another server overrides the methods that differ."""

    name = "standard"

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest:  # noqa: ARG002 - RFC 8628 has neither
        form: dict[str, str | Secret] = {"client_id": server.client_id}
        if server.scope:
            form["scope"] = server.scope
        if server.audience:
            form["audience"] = server.audience
        return FormRequest(url=server.device_authorization_endpoint or "", form=form, headers=ACCEPT_JSON)

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization:  # noqa: ARG002 - RFC 8628 has no state
        fields = successful_fields(reply, read_json_object(reply))
        try:
            return _read_device(fields, reply.sent_at_ms)
        except ValueError as error:
            raise invalid(reply, str(error)) from None

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:  # noqa: ARG002
        if device.device_code is None:
            raise ValueError("this dialect polls by device code")
        return _token_request(server, DEVICE_GRANT, device_code=device.device_code.reveal())

    def read_poll_reply(self, reply: HttpReply) -> Pending | TokenSet:
        fields = read_json_object(reply)
        code = None if holds_tokens(reply, fields) else fields.get("error")
        if isinstance(code, str) and code in {"authorization_pending", "slow_down"}:
            return Pending(slow_down=code == "slow_down")
        return self.read_token_reply(reply)

    def code_request(self, server: OAuthServer, *, code: Secret, redirect_uri: str, verifier: Secret) -> FormRequest:
        return _token_request(
            server, "authorization_code", code=code.reveal(), redirect_uri=redirect_uri, code_verifier=verifier.reveal()
        )

    def refresh_request(self, server: OAuthServer, refresh: Secret) -> FormRequest:
        # Without a scope, the server uses the original scope (RFC 6749 section 6).
        return _token_request(server, "refresh_token", refresh_token=refresh.reveal(), audience=server.audience or "")

    def read_token_reply(self, reply: HttpReply) -> TokenSet:
        fields = read_json_object(reply)
        return read_token_fields(reply, fields if holds_tokens(reply, fields) else successful_fields(reply, fields))

    def revoke_request(self, server: OAuthServer, token: Secret, hint: Literal["refresh_token", "access_token"]) -> FormRequest:
        from authlib.common.urls import add_params_to_qs
        from authlib.oauth2.rfc7009 import prepare_revoke_token_request

        body, _ = prepare_revoke_token_request(token.reveal(), hint)
        return form_request(server.revocation_endpoint or "", add_params_to_qs(body, {"client_id": server.client_id}))


def _token_request(server: OAuthServer, grant_type: str, **fields: str) -> FormRequest:
    """A token request of a public client, with `client_id` in the body (RFC 6749 section 3.2.1). Omits empty fields."""
    from authlib.oauth2.rfc6749.parameters import prepare_token_request

    return form_request(server.token_endpoint, prepare_token_request(grant_type, **fields, client_id=server.client_id))


def successful_fields(reply: HttpReply, fields: Fields) -> Fields:
    """Return `fields` if the reply has a success status (2xx) and no error.

    Raises:
        Denied, TimedOut, OAuthError: the reply is an error.
    """
    if reply.status not in SUCCESSFUL or fields.get("error") is not None:
        raise oauth_error(reply, fields)
    return fields


def _read_device(fields: Fields, now_ms: int) -> DeviceAuthorization:
    device_code = read_token(fields, "device_code")
    if device_code is None:
        raise ValueError("device_code is missing")
    user_code = read_text(fields, "user_code", max_length=_MAX_CODE)
    if user_code is None or not user_code.strip():
        raise ValueError("user_code is missing")
    return DeviceAuthorization(
        user_code=user_code,
        # Older servers call this field `verification_url`.
        verification_uri=read_url(fields.get("verification_uri") or fields.get("verification_url"), "verification_uri"),
        expires_at=read_code_expiry(fields.get("expires_in"), now_ms),
        interval=read_interval(fields.get("interval")),
        verification_uri_complete=_optional_url(fields.get("verification_uri_complete"), "verification_uri_complete"),
        device_code=device_code,
    )


def read_url(value: JsonValue, name: str) -> str:
    """Read a URL field. The flow checks the URL before it is opened or shown.

    Raises:
        ValueError: the value is missing or not text.
    """
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is missing")
    return value


def _optional_url(value: JsonValue, name: str) -> str | None:
    return None if value is None or value == "" else read_url(value, name)
