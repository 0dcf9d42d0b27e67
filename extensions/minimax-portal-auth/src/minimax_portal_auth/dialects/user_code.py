"""The dialect without a device code: the client polls by user code, times are in milliseconds, progress is a `status`.

Sources: OpenClaw's `extensions/minimax/oauth.ts` (client, fields, state echo), MiniMax's `mmx-cli` 1.0.27 (units, grant type).
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from minimax_portal_auth.dialects.replies import ACCEPT, MinimaxDialect, MinimaxReply, with_audience
from minimax_portal_auth.families import USER_CODE, USER_CODE_8628
from portico.plugin_api import DeviceAuthorization, FormRequest, OAuthError

if TYPE_CHECKING:
    from portico.plugin_api import HttpReply, OAuthServer, Secret

USER_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:user_code"
DEVICE_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"


class UserCodeDialect(MinimaxDialect):
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
        response = MinimaxReply(reply).succeeded()
        _check_echo(response, state)
        return response.user_code()

    def poll_request(self, server: OAuthServer, device: DeviceAuthorization, *, verifier: Secret) -> FormRequest:
        form: dict[str, str | Secret] = {
            "grant_type": self.poll_grant,
            "client_id": server.client_id,
            "user_code": device.user_code,
            "code_verifier": verifier,
        }
        return FormRequest(server.token_endpoint, form, ACCEPT)


class UserCodeRfc8628Dialect(UserCodeDialect):
    """The same as MiniMax's own CLI says it: no `response_type`, and RFC 8628's grant type with the user code."""

    name = USER_CODE_8628
    poll_grant = DEVICE_CODE_GRANT
    sends_response_type = False


def _check_echo(response: MinimaxReply, state: str) -> None:
    echoed = response.fields.get("state")
    # JSON can hold a lone surrogate, which is no UTF-8.
    if not isinstance(echoed, str) or not hmac.compare_digest(echoed.encode("utf-8", "surrogatepass"), state.encode()):
        raise OAuthError(
            "state-mismatch",
            "MiniMax's answer does not belong to this sign-in.",
            why="the state that was sent did not come back",
            where=response.where,
            hint="Run the command again. If it happens again, a proxy changes MiniMax's answers: use another network.",
        )
