"""The account service: device codes, tokens and revocation, each client in its own dialect.

Where no public source shows what MiniMax answers (a denied or expired code of the user-code dialect), the words are those that
MiniMax's newer client knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.dialects import DEVICE_CODE_GRANT, USER_CODE_GRANT
from minimax_portal_auth.emulator.accounts import CLIENTS
from portico.testing.grants import NO_STORE, TokenRefused, check_challenge, read_form, refusal

if TYPE_CHECKING:
    from minimax_portal_auth.emulator.accounts import AccountSpace, KnownClient
    from minimax_portal_auth.emulator.knobs import Knobs
    from minimax_portal_auth.emulator.places import Place
    from portico.plugin_api import EmulatorOptions
    from portico.testing.grants import DeviceGrant, Issued

Fields = dict[str, object]

_POLL_GRANTS: Final = frozenset({USER_CODE_GRANT, DEVICE_CODE_GRANT})
_REUSED: Final = "this refresh token can no longer be used, start a new authorization"
_STATUS_WORDS: Final = {"authorization_pending": "pending", "access_denied": "denied", "expired_token": "expired"}


class SignIn:
    """The handlers of one region's account service."""

    def __init__(self, space: AccountSpace, knobs: Knobs, options: EmulatorOptions) -> None:
        self._space = space
        self._knobs = knobs
        self._options = options

    async def device_code(self, request: web.Request, place: Place) -> web.StreamResponse:
        """POST /oauth2/device/code."""
        form = await read_form(request)
        try:
            client = known_client(form)
            challenge = _checked_request(form, client)
        except TokenRefused as refused:
            return refusal(refused)
        grant = self._space.devices.start(client.id, form.get("scope", ""), challenge)
        if self._options.auto_approve:
            self._space.devices.decide(grant.user_code, approved=True)
        fields = self._standard_codes(grant, place) if client.standard else self._user_codes(grant, client, place, form)
        return _reply({name: value for name, value in fields.items() if name not in self._knobs.omit})

    async def token(self, request: web.Request, place: Place) -> web.StreamResponse:
        """POST /oauth2/token."""
        form = await read_form(request)
        try:
            client = known_client(form)
            if self._knobs.status is not None and form.get("grant_type") in _POLL_GRANTS:
                return _reply({"status": self._knobs.status})
            return _reply(self._grant(form, client, place))
        except TokenRefused as refused:
            return self._refused(form, refused)

    async def revoke(self, request: web.Request, _place: Place) -> web.StreamResponse:
        """POST /oauth2/revoke: an empty 200, whatever the token was."""
        form = await read_form(request)
        try:
            known_client(form)
        except TokenRefused as refused:
            return refusal(refused)
        self._space.mint.revoke(form.get("token", ""))
        return web.Response(headers=NO_STORE)

    def _grant(self, form: dict[str, str], client: KnownClient, place: Place) -> Fields:
        mint = self._space.mint
        mint.access_ttl_s = self._options.access_ttl_s or client.access_ttl_s
        grant_type = form.get("grant_type")
        if grant_type in _POLL_GRANTS:
            waiting = self._waiting(form)
            device = self._space.devices.poll(waiting, client_id=client.id, verifier=form.get("code_verifier"))
            return self._granted(mint.start(client.id, device.scope), client, place)
        if grant_type == "refresh_token":
            return self._granted(self._rotated(form, client), client, place)
        if grant_type == "authorization_code" and self._options.redirect:
            return self._granted(self._exchanged(form, client), client, place)
        raise TokenRefused("unsupported_grant_type")

    def _waiting(self, form: dict[str, str]) -> DeviceGrant | None:
        if "device_code" in form:
            return self._space.devices.by_device_code(form["device_code"])
        return self._space.devices.by_user_code(form.get("user_code", ""))

    def _rotated(self, form: dict[str, str], client: KnownClient) -> Issued:
        try:
            return self._space.mint.rotate(form.get("refresh_token", ""), client.id)
        except TokenRefused as refused:
            raise TokenRefused(refused.code, _REUSED) from None

    def _exchanged(self, form: dict[str, str], client: KnownClient) -> Issued:
        redirect_uri, verifier = form.get("redirect_uri"), form.get("code_verifier")
        code = self._space.codes.redeem(form.get("code", ""), client_id=client.id, redirect_uri=redirect_uri, verifier=verifier)
        issued = self._space.mint.start(client.id, code.scope)
        code.family = issued.family
        return issued

    def _refused(self, form: dict[str, str], refused: TokenRefused) -> web.Response:
        """A poll's "not yet" and "no" are an HTTP 200 in the user-code dialect; everything else is RFC 6749's."""
        client = CLIENTS.get(form.get("client_id", ""))
        polls = form.get("grant_type") in _POLL_GRANTS
        if client is not None and not client.standard and polls and refused.code in _STATUS_WORDS:
            return _reply({"status": _STATUS_WORDS[refused.code]})
        return refusal(refused)

    def _granted(self, issued: Issued, client: KnownClient, place: Place) -> Fields:
        tokens: Fields = {"access_token": issued.access, "refresh_token": issued.refresh, "token_type": "Bearer"}
        if client.standard:
            fields = {**tokens, "expires_in": issued.ttl_s, "scope": issued.family.scope}
        else:
            fields = {"status": "success", **tokens, "expired_in": self._expired_in(issued.expires_at)}
            fields["resource_url"] = self._knobs.resource_url or f"{place.sister('api')}{client.resource_suffix}"
        if self._knobs.notice is not None:
            fields["notification_message"] = self._knobs.notice
        return {name: value for name, value in fields.items() if name not in self._knobs.omit}

    def _expired_in(self, at_ms: int) -> int:
        if self._knobs.expiry == "ms":
            return at_ms
        if self._knobs.expiry == "s":
            return at_ms // 1000
        return max(1, (at_ms - self._space.mint.clock.wall_ms()) // 1000)

    def _user_codes(self, grant: DeviceGrant, client: KnownClient, place: Place, form: dict[str, str]) -> Fields:
        base = place.sister("www" if self._knobs.www else "platform")
        product = client.product.replace(" ", "+")
        return {
            "user_code": grant.user_code,
            "verification_uri": f"{base}/oauth-authorize?user_code={grant.user_code}&client={product}",
            "expired_in": self._expired_in(grant.expires_at),
            "interval": round(grant.interval_s * 1000),
            "state": form.get("state"),
        }

    def _standard_codes(self, grant: DeviceGrant, place: Place) -> Fields:
        page = f"{place.sister('account')}/oauth-authorize"
        return {
            "device_code": grant.device_code,
            "user_code": grant.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={grant.user_code}",
            "expires_in": round(self._space.devices.ttl_s),
            "interval": grant.interval_s,
        }


def known_client(form: dict[str, str]) -> KnownClient:
    """The client that a request is from.

    Raises:
        TokenRefused: invalid_request: none is named; invalid_client: no such client.
    """
    client_id = form.get("client_id")
    if not client_id:
        raise TokenRefused("invalid_request", "client_id is required")
    if client_id not in CLIENTS:
        raise TokenRefused("invalid_client", "unknown client_id")
    return CLIENTS[client_id]


def _checked_request(form: dict[str, str], client: KnownClient) -> str | None:
    """The challenge of a device request. Whether MiniMax insists on one is not known; what is sent is held to."""
    if client.standard and client.scope not in form.get("scope", "").split():
        raise TokenRefused("invalid_scope", f"scope {client.scope} is required")
    sent = form.get("code_challenge")
    return check_challenge(sent, form.get("code_challenge_method")) if sent is not None else None


def _reply(fields: Fields) -> web.Response:
    return web.json_response(fields, headers=NO_STORE)
