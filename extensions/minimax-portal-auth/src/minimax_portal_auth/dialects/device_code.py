"""The dialect of MiniMax Code: RFC 8628 with an audience, and some `status` words besides.

A device reply without `device_code` is in the other dialect, whatever client asked, and is then polled by user code, as MiniMax's
own client does. Source: MiniMax's `minimax-code`, packages/oauth-core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from minimax_portal_auth.dialects.replies import ACCEPT, MinimaxDialect, MinimaxReply, with_audience
from minimax_portal_auth.dialects.user_code import DEVICE_CODE_GRANT
from minimax_portal_auth.families import DEVICE_CODE
from minimax_portal_auth.resource import REQUIRED_SCOPE
from portico.plugin_api import DeviceAuthorization, FormRequest

if TYPE_CHECKING:
    from portico.plugin_api import HttpReply, OAuthServer, Secret


class DeviceCodeDialect(MinimaxDialect):
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
        response = MinimaxReply(reply).succeeded()
        device_code = response.token("device_code")
        if device_code is None:
            return response.user_code()
        page = "verification_uri" if response.fields.get("verification_uri") else "verification_url"
        complete = response.fields.get("verification_uri_complete")
        return DeviceAuthorization(
            user_code=response.text("user_code", limit=64),
            verification_uri=response.page(page),
            verification_uri_complete=response.page("verification_uri_complete") if complete else None,
            expires_at=response.code_end(),
            interval=response.interval(),
            device_code=device_code,
        )

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:
        code: dict[str, str | Secret] = (
            {"device_code": device.device_code} if device.device_code else {"user_code": device.user_code}
        )
        form = {"grant_type": DEVICE_CODE_GRANT, "client_id": server.client_id, **code, "code_verifier": verifier}
        return FormRequest(server.token_endpoint, form, ACCEPT)

    def refresh_request(self, server: OAuthServer, refresh: Secret) -> FormRequest:
        form: dict[str, str | Secret] = {
            "grant_type": "refresh_token",
            "refresh_token": refresh,
            "client_id": server.client_id,
        }
        if REQUIRED_SCOPE in server.scope.split():  # what else a reply called the scope may not be asked for (RFC 6749 section 6)
            form["scope"] = server.scope
        return FormRequest(server.token_endpoint, with_audience(form, server), ACCEPT)
