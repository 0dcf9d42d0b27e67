"""The account service: device codes, tokens and revocation, in the dialect of each client.

If no public source shows MiniMax's reply (a denied or expired code of the user-code dialect), the emulator uses the status words
that MiniMax's newer client knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.dialects import DEVICE_CODE_GRANT, USER_CODE_GRANT
from minimax_portal_auth.emulator.accounts import CLIENTS
from portico.testing.grants import NO_STORE, TokenRefused, check_challenge, read_form, refusal

if TYPE_CHECKING:
    from minimax_portal_auth.emulator.accounts import AccountSpace, KnownClient
    from minimax_portal_auth.emulator.hosts import EmulatedHost
    from minimax_portal_auth.emulator.settings import Settings
    from portico.plugin_api import EmulatorOptions
    from portico.testing.grants import DeviceGrant, Issued

Fields = dict[str, object]

_POLL_GRANTS: Final = frozenset({USER_CODE_GRANT, DEVICE_CODE_GRANT})
_REUSED: Final = "this refresh token can no longer be used, start a new authorization"
_STATUS_OF_ERROR: Final = {"authorization_pending": "pending", "access_denied": "denied", "expired_token": "expired"}


class SignIn:
    """The handlers of one region's account service."""

    def __init__(self, space: AccountSpace, settings: Settings, options: EmulatorOptions) -> None:
        self._space = space
        self._settings = settings
        self._options = options

    async def device_code(self, request: web.Request, host: EmulatedHost) -> web.StreamResponse:
        """POST /oauth2/device/code."""
        form = await read_form(request)
        try:
            client = known_client(form)
            challenge = _check_request(form, client)
        except TokenRefused as error:
            return refusal(error)
        grant = self._space.devices.start(client.id, form.get("scope", ""), challenge)
        if self._options.auto_approve:
            self._space.devices.decide(grant.user_code, approved=True)
        fields = self._standard_codes(grant, host) if client.standard else self._user_codes(grant, client, host, form)
        return _reply({name: value for name, value in fields.items() if name not in self._settings.omit})

    async def token(self, request: web.Request, host: EmulatedHost) -> web.StreamResponse:
        """POST /oauth2/token."""
        form = await read_form(request)
        try:
            client = known_client(form)
            if self._settings.status is not None and form.get("grant_type") in _POLL_GRANTS:
                return _reply({"status": self._settings.status})
            return _reply(self._issue(form, client, host))
        except TokenRefused as error:
            return self._error_reply(form, error)

    async def revoke(self, request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
        """POST /oauth2/revoke: an empty 200 for any token."""
        form = await read_form(request)
        try:
            known_client(form)
        except TokenRefused as error:
            return refusal(error)
        self._space.mint.revoke(form.get("token", ""))
        return web.Response(headers=NO_STORE)

    def _issue(self, form: dict[str, str], client: KnownClient, host: EmulatedHost) -> Fields:
        mint = self._space.mint
        mint.access_ttl_s = self._options.access_ttl_s or client.access_ttl_s
        grant_type = form.get("grant_type")
        if grant_type in _POLL_GRANTS:
            pending = self._find_device(form)
            device = self._space.devices.poll(pending, client_id=client.id, verifier=form.get("code_verifier"))
            return self._token_fields(mint.start(client.id, device.scope), client, host)
        if grant_type == "refresh_token":
            return self._token_fields(self._rotate(form, client), client, host)
        if grant_type == "authorization_code" and self._options.redirect:
            return self._token_fields(self._exchange_code(form, client), client, host)
        raise TokenRefused("unsupported_grant_type")

    def _find_device(self, form: dict[str, str]) -> DeviceGrant | None:
        if "device_code" in form:
            return self._space.devices.by_device_code(form["device_code"])
        return self._space.devices.by_user_code(form.get("user_code", ""))

    def _rotate(self, form: dict[str, str], client: KnownClient) -> Issued:
        try:
            return self._space.mint.rotate(form.get("refresh_token", ""), client.id)
        except TokenRefused as error:
            raise TokenRefused(error.code, _REUSED) from None

    def _exchange_code(self, form: dict[str, str], client: KnownClient) -> Issued:
        redirect_uri, verifier = form.get("redirect_uri"), form.get("code_verifier")
        code = self._space.codes.redeem(form.get("code", ""), client_id=client.id, redirect_uri=redirect_uri, verifier=verifier)
        issued = self._space.mint.start(client.id, code.scope)
        code.family = issued.family
        return issued

    def _error_reply(self, form: dict[str, str], error: TokenRefused) -> web.Response:
        """In the user-code dialect, a pending, denied or expired poll is an HTTP 200; other errors follow RFC 6749."""
        client = CLIENTS.get(form.get("client_id", ""))
        polls = form.get("grant_type") in _POLL_GRANTS
        if client is not None and not client.standard and polls and error.code in _STATUS_OF_ERROR:
            return _reply({"status": _STATUS_OF_ERROR[error.code]})
        return refusal(error)

    def _token_fields(self, issued: Issued, client: KnownClient, host: EmulatedHost) -> Fields:
        tokens: Fields = {"access_token": issued.access, "refresh_token": issued.refresh, "token_type": "Bearer"}
        if client.standard:
            fields = {**tokens, "expires_in": issued.ttl_s, "scope": issued.family.scope}
        else:
            fields = {"status": "success", **tokens, "expired_in": self._expired_in(issued.expires_at)}
            fields["resource_url"] = self._settings.resource_url or f"{host.base_url('api')}{client.resource_suffix}"
        if self._settings.notice is not None:
            fields["notification_message"] = self._settings.notice
        return {name: value for name, value in fields.items() if name not in self._settings.omit}

    def _expired_in(self, at_ms: int) -> int:
        if self._settings.expiry == "ms":
            return at_ms
        if self._settings.expiry == "s":
            return at_ms // 1000
        return max(1, (at_ms - self._space.mint.clock.wall_ms()) // 1000)

    def _user_codes(self, grant: DeviceGrant, client: KnownClient, host: EmulatedHost, form: dict[str, str]) -> Fields:
        base = host.base_url("www" if self._settings.www else "platform")
        product = client.product.replace(" ", "+")
        return {
            "user_code": grant.user_code,
            "verification_uri": f"{base}/oauth-authorize?user_code={grant.user_code}&client={product}",
            "expired_in": self._expired_in(grant.expires_at),
            "interval": round(grant.interval_s * 1000),
            "state": form.get("state"),
        }

    def _standard_codes(self, grant: DeviceGrant, host: EmulatedHost) -> Fields:
        page = f"{host.base_url('account')}/oauth-authorize"
        return {
            "device_code": grant.device_code,
            "user_code": grant.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={grant.user_code}",
            "expires_in": round(self._space.devices.ttl_s),
            "interval": grant.interval_s,
        }


def known_client(form: dict[str, str]) -> KnownClient:
    """The client of a request.

    Raises:
        TokenRefused: invalid_request: no client id; invalid_client: an unknown client id.
    """
    client_id = form.get("client_id")
    if not client_id:
        raise TokenRefused("invalid_request", "client_id is required")
    if client_id not in CLIENTS:
        raise TokenRefused("invalid_client", "unknown client_id")
    return CLIENTS[client_id]


def _check_request(form: dict[str, str], client: KnownClient) -> str | None:
    """Check the scope and the challenge of a device request. The challenge is optional: MiniMax's rule is unknown."""
    if client.standard and client.scope not in form.get("scope", "").split():
        raise TokenRefused("invalid_scope", f"scope {client.scope} is required")
    challenge = form.get("code_challenge")
    return check_challenge(challenge, form.get("code_challenge_method")) if challenge is not None else None


def _reply(fields: Fields) -> web.Response:
    return web.json_response(fields, headers=NO_STORE)
