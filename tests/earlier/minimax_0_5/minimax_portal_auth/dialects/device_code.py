"""The dialect of MiniMax Code: RFC 8628 with an audience, and some `status` words besides.

A device reply without `device_code` is in the other dialect, whatever client asked, and is then polled by user code, as MiniMax's
own client does. Source: MiniMax's `minimax-code`, packages/oauth-core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimax_portal_auth.dialects.replies import incomplete, read_progress, read_success, required_page, required_text
from minimax_portal_auth.dialects.user_code import (
    ACCEPT,
    DEVICE_CODE_GRANT,
    device_expiry,
    read_grant,
    read_user_code,
    with_audience,
)
from minimax_portal_auth.families import DEVICE_CODE
from minimax_portal_auth.resource import REQUIRED_SCOPE
from portico.plugin_api import (
    DeviceAuthorization,
    FormRequest,
    Pending,
    StandardDialect,
    read_interval,
    read_token,
)

if TYPE_CHECKING:
    from portico.plugin_api import HttpReply, OAuthServer, Secret, TokenGrant


class DeviceCodeDialect(StandardDialect):
    """MiniMax Code's words. No `state` and no `redirect_uri` are sent."""

    name = DEVICE_CODE

    def device_request(self, server: OAuthServer, *, challenge: str, state: str) -> FormRequest:
        del state
        form: dict[str, str | Secret] = {
            "client_id": server.client_id,
            "scope": server.scope,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return FormRequest(server.device_authorization_endpoint or "", with_audience(form, server), ACCEPT)

    def read_device_reply(self, reply: HttpReply, *, state: str) -> DeviceAuthorization:
        del state
        fields = read_success(reply)
        try:
            device_code = read_token(fields, "device_code")
        except ValueError as error:
            raise incomplete(reply, str(error)) from None
        if device_code is None:
            return read_user_code(reply, fields)
        page = "verification_uri" if fields.get("verification_uri") else "verification_url"
        complete = fields.get("verification_uri_complete")
        return DeviceAuthorization(
            user_code=required_text(reply, fields, "user_code", limit=64),
            verification_uri=required_page(reply, fields, page),
            verification_uri_complete=required_page(reply, fields, "verification_uri_complete") if complete else None,
            expires_at=device_expiry(reply, fields),
            interval=read_interval(fields.get("interval")),
            device_code=device_code,
        )

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:
        code: dict[str, str | Secret] = (
            {"device_code": device.device_code} if device.device_code else {"user_code": device.user_code}
        )
        form = {"grant_type": DEVICE_CODE_GRANT, "client_id": server.client_id, **code, "code_verifier": verifier}
        return FormRequest(server.token_endpoint, form, ACCEPT)

    def read_poll_reply(self, reply: HttpReply) -> Pending | TokenGrant:
        fields = read_progress(reply)
        return fields if isinstance(fields, Pending) else read_grant(reply, fields)

    def refresh_request(self, server: OAuthServer, refresh: Secret) -> FormRequest:
        form: dict[str, str | Secret] = {
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "client_id": server.client_id,
        }
        if REQUIRED_SCOPE in server.scope.split():  # what else a reply called the scope may not be asked for (RFC 6749 section 6)
            form["scope"] = server.scope
        return FormRequest(server.token_endpoint, with_audience(form, server), ACCEPT)

    def read_token_reply(self, reply: HttpReply) -> TokenGrant:
        return read_grant(reply, read_success(reply))
