"""The dialect without a device code: the client polls by user code, times are in milliseconds, progress is a `status`.

Sources: OpenClaw's `extensions/minimax/oauth.ts` (client, fields, state echo), MiniMax's `mmx-cli` 1.0.27 (units, grant type).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from minimax_portal_auth.dialects.replies import read_progress, read_success, required_page, required_text
from minimax_portal_auth.families import USER_CODE, USER_CODE_8628
from portico.plugin_api import (
    DeviceAuthorization,
    FormRequest,
    OAuthError,
    Pending,
    StandardDialect,
    read_code_expiry,
    read_interval,
    read_token_fields,
    server_clock,
    without_query,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.plugin_api import HttpReply, JsonValue, OAuthServer, Secret, TokenGrant

USER_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:user_code"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
ACCEPT: Final = {"Accept": "application/json"}

_MS: Final = 1000.0
_INTERVAL_S: Final = 2.0  # what OpenClaw's client takes where none is given, and the least it waits


class UserCodeDialect(StandardDialect):
    """OpenClaw's words: `response_type=code` with the device request, a grant type of MiniMax's own with the poll."""

    name = USER_CODE
    poll_grant = USER_CODE_GRANT
    sends_response_type = True

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest:
        form: dict[str, str | Secret] = {"response_type": "code"} if self.sends_response_type else {}
        form |= {
            "client_id": server.client_id,
            "scope": server.scope,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": state,
        }
        return FormRequest(server.device_authorization_endpoint or "", with_audience(form, server), ACCEPT)

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization:
        fields = read_success(reply)
        _check_echo(reply, fields.get("state"), state)
        return read_user_code(reply, fields)

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:
        form: dict[str, str | Secret] = {
            "grant_type": self.poll_grant,
            "client_id": server.client_id,
            "user_code": device.user_code,
            "code_verifier": verifier,
        }
        return FormRequest(server.token_endpoint, form, ACCEPT)

    def read_poll_reply(self, reply: HttpReply) -> Pending | TokenGrant:
        fields = read_progress(reply)
        return fields if isinstance(fields, Pending) else read_grant(reply, fields)

    def read_token_reply(self, reply: HttpReply) -> TokenGrant:
        return read_grant(reply, read_success(reply))


class UserCodeRfc8628Dialect(UserCodeDialect):
    """The same as MiniMax's own CLI says it: no `response_type`, and RFC 8628's grant type with the user code."""

    name = USER_CODE_8628
    poll_grant = DEVICE_CODE_GRANT
    sends_response_type = False


def read_user_code(reply: HttpReply, fields: Mapping[str, JsonValue]) -> DeviceAuthorization:
    """A device reply of this dialect: `expired_in` by its size (clients have met all three units), `interval` in milliseconds.

    Raises:
        OAuthError: `reply-incomplete`.
    """
    return DeviceAuthorization(
        user_code=required_text(reply, fields, "user_code", limit=64),
        verification_uri=required_page(reply, fields, "verification_uri"),
        expires_at=device_expiry(reply, fields),
        interval=read_interval(fields.get("interval"), default_s=_INTERVAL_S, per_second=_MS, least_s=_INTERVAL_S),
    )


def device_expiry(reply: HttpReply, fields: Mapping[str, JsonValue]) -> int:
    """When a code ends, wall ms: `expired_in` of any size, else `expires_in` in seconds; see `read_code_expiry`."""
    if fields.get("expired_in") is not None:
        return read_code_expiry(fields["expired_in"], reply.sent_at_ms, "auto", server_now_ms=server_clock(reply))
    return read_code_expiry(fields.get("expires_in"), reply.sent_at_ms)


def read_grant(reply: HttpReply, fields: Mapping[str, JsonValue]) -> TokenGrant:
    """A token reply in either unit: `expired_in` by its size, or `expires_in` in seconds."""
    if fields.get("expired_in") is None:
        return read_token_fields(reply, fields, type_required=False)
    return read_token_fields(reply, fields, expiry_field="expired_in", unit="auto", type_required=False)


def with_audience(form: dict[str, str | Secret], server: OAuthServer) -> dict[str, str | Secret]:
    """`form` with the server's audience, where it has one."""
    return {**form, "audience": server.audience} if server.audience else form


def _check_echo(reply: HttpReply, echoed: JsonValue, state: str) -> None:
    # JSON can hold a lone surrogate, which is no UTF-8.
    if not isinstance(echoed, str) or not hmac.compare_digest(echoed.encode("utf-8", "surrogatepass"), state.encode()):
        raise OAuthError(
            "state-mismatch",
            "MiniMax's answer does not belong to this sign-in.",
            why="the state that was sent did not come back",
            where=without_query(reply.url),
            hint="Run the command again. If it happens again, a proxy changes MiniMax's answers: use another network.",
        )
