"""A standards-true authorization server over real TCP, for tests of clients: `python -m portico.testing.authorization_server`.

    server = AuthorizationServer()
    async with serve(server) as base_url:
        server.faults.add("/token", Fault(drop="after"))
        ...
        assert server.presented.twice == []

Authorization code with PKCE S256 (RFC 6749, 7636) and `iss` (RFC 9207), metadata (RFC 8414), device authorization (RFC 8628),
pushed requests (RFC 9126), ID tokens with their nonce,
refresh with rotation, reuse detection and revocation of the family (RFC 9700 section 4.14), revocation (RFC 7009). Its parts
(`TokenMint`, `CodeTable`, `DeviceTable`, `Faults`, `PresentedTokens`) stand alone, so that the emulator of a server with other
words for the same things is built on them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from portico.testing import as_metadata, as_pages
from portico.testing.as_authorize import AuthorizeEndpoint, Client
from portico.testing.as_grants import CodeTable, DeviceTable, check_challenge
from portico.testing.as_replies import (
    NO_STORE,
    id_token,
    issuer_of,
    note_refresh_tokens,
    read_form,
    refusal,
    tell_time,
    token_reply,
)
from portico.testing.as_tokens import Issued, PresentedTokens, TokenMint, TokenRefused
from portico.testing.faults import Fault, Faults, Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from portico.interfaces.authorization import OAuthServer
    from portico.interfaces.basics import Clock

__all__ = ("CLIENT_ID", "AuthorizationServer", "Client", "Fault", "Faults", "Gate", "serve")

CLIENT_ID = "portico-test"
# As a native app registers them (RFC 8252 section 7.3): the path is exact and the port free.
_REDIRECT_URIS = ("http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback")


class AuthorizationServer:
    """The server. Every part may be turned while it runs.

    Its own client, `CLIENT_ID`, has `/callback` on a loopback address registered; one of this id in `clients` takes its place.

    `mint`, `codes`, `devices` hold what was issued; `faults` what goes wrong; `presented` every refresh token that came in.
    `metadata_extra` replaces or adds fields of the metadata document, None removes one. `id_claims` does so for the claims of the
    ID tokens that a scope with `openid` brings; such a scope brings a refresh token only if it has `offline_access` too and the
    user was asked to agree (OpenID Connect Core section 11). `authorize.require_pushed` demands RFC 9126's pushed requests.
    """

    def __init__(self, *, clock: Clock | None = None, access_ttl_s: float = 3600.0, clients: Iterable[Client] = ()) -> None:
        self.clients = {client.id: client for client in (Client(CLIENT_ID, redirect_uris=_REDIRECT_URIS), *clients)}
        self.mint = TokenMint(clock=clock, access_ttl_s=access_ttl_s)
        self.codes = CodeTable(clock=clock)
        self.devices = DeviceTable(clock=clock)
        self.faults = Faults()
        self.presented = PresentedTokens()
        self.authorize = AuthorizeEndpoint(self.clients, self.codes, issuer_of)
        self.metadata_extra: dict[str, object] = {}
        self.id_claims: dict[str, object] = {}

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[note_refresh_tokens(self.presented)])
        self.faults.attach(app)
        tell_time(app, lambda: self.mint.clock)
        app.add_routes(
            [
                web.get("/.well-known/oauth-authorization-server", self._metadata),
                web.get("/authorize", self.authorize.show),
                web.post("/authorize", self.authorize.decide),
                web.post("/par", self._pushed),
                web.post("/device_authorization", self._device_authorization),
                web.get("/device", self._device_page),
                web.post("/device", self._device_decision),
                web.post("/token", self._token),
                web.post("/revoke", self._revoke),
            ]
        )
        return app

    def description(self, base_url: str, *, redirect: bool = True) -> OAuthServer:
        """What a client of this server knows about it. Without `redirect`, no redirect URI is known for the client."""
        return as_metadata.description(base_url, CLIENT_ID, **self._asked(), redirect=redirect)

    def _asked(self) -> dict[str, bool]:
        return {"send_iss": self.authorize.send_iss, "require_pushed": self.authorize.require_pushed}

    async def _pushed(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        if "request_uri" in form:  # RFC 9126 section 2.1
            return refusal(TokenRefused("invalid_request", "request_uri is not taken here"))
        try:
            self._client_id(form)
            check_challenge(form.get("code_challenge"), form.get("code_challenge_method"))
        except TokenRefused as refused:
            return refusal(refused)
        fields = {"request_uri": self.authorize.push(form), "expires_in": 60}
        return web.json_response(fields, status=201, headers=NO_STORE)

    async def _metadata(self, request: web.Request) -> web.Response:
        standard = as_metadata.document(issuer_of(request), **self._asked())
        merged = {**standard, **self.metadata_extra}
        return web.json_response({name: value for name, value in merged.items() if value is not None})

    async def _device_authorization(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            client_id = self._client_id(form)
            # PKCE is not part of RFC 8628; a client that sends a challenge is held to it.
            sent = form.get("code_challenge")
            challenge = check_challenge(sent, form.get("code_challenge_method")) if sent is not None else None
        except TokenRefused as refused:
            return refusal(refused)
        grant = self.devices.start(client_id, form.get("scope", ""), challenge)
        page = f"{issuer_of(request)}/device"
        fields = {
            "device_code": grant.device_code,
            "user_code": grant.user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={grant.user_code}",
            "expires_in": round(self.devices.ttl_s),
            "interval": grant.interval_s,
        }
        return web.json_response(fields, headers=NO_STORE)

    async def _device_page(self, request: web.Request) -> web.Response:
        return as_pages.device_entry("/device", request.query.get("user_code", ""))

    async def _device_decision(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        approved = form.get("decision") == "approve"
        if not self.devices.decide(form.get("user_code", ""), approved=approved):
            return as_pages.device_entry("/device", "", note="No device waits under this code.")
        return as_pages.message("Device connected" if approved else "Refused", "You may close this page.")

    async def _token(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            client_id = self._client_id(form)
            return self._granted(form, client_id, issuer_of(request))
        except TokenRefused as refused:
            return refusal(refused, status=401 if refused.code == "invalid_client" else 400)

    def _granted(self, form: dict[str, str], client_id: str, issuer: str) -> web.Response:
        match form.get("grant_type"):
            case "authorization_code":
                grant = self.codes.redeem(
                    form.get("code", ""),
                    client_id=client_id,
                    redirect_uri=form.get("redirect_uri"),
                    verifier=form.get("code_verifier"),
                )
                issued = self.mint.start(client_id, grant.scope)
                grant.family = issued.family
                return self._reply(issued, issuer, nonce=grant.nonce, consent=grant.consent)
            case as_metadata.DEVICE_GRANT:
                waiting = self.devices.by_device_code(form.get("device_code", ""))
                device = self.devices.poll(waiting, client_id=client_id, verifier=form.get("code_verifier"))
                return self._reply(self.mint.start(client_id, device.scope), issuer, consent=True)
            case "refresh_token":
                return token_reply(self.mint.rotate(form.get("refresh_token", ""), client_id))
            case _:
                raise TokenRefused("unsupported_grant_type")

    def _reply(self, issued: Issued, issuer: str, *, nonce: str | None = None, consent: bool = False) -> web.Response:
        scope = issued.family.scope.split()
        if "openid" not in scope:
            return token_reply(issued)
        now = self.mint.clock.wall_ms() // 1000
        claims = {"iss": issuer, "sub": "ada", "aud": issued.family.client_id, "iat": now, "exp": now + 600, "nonce": nonce}
        told = {name: value for name, value in {**claims, **self.id_claims}.items() if value is not None}
        return token_reply(issued, refresh=consent and "offline_access" in scope, id_token=id_token(told))

    async def _revoke(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            self._client_id(form)
        except TokenRefused as refused:
            return refusal(refused, status=401)
        if "token" not in form:
            return refusal(TokenRefused("invalid_request", "token is required"))
        self.mint.revoke(form["token"])
        return web.Response(headers=NO_STORE)

    def _client_id(self, form: dict[str, str]) -> str:
        client_id = form.get("client_id", "")
        if client_id not in self.clients:
            raise TokenRefused("invalid_client" if client_id else "invalid_request", "client_id is unknown or missing")
        return client_id


@asynccontextmanager
async def serve(server: AuthorizationServer, *, port: int = 0) -> AsyncIterator[str]:
    """Serve on 127.0.0.1 until the block ends, and give the base URL.

    Raises:
        OSError: `port` is taken.
    """
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _run(port: int, access_ttl_s: float, *, auto_approve: bool) -> None:
    server = AuthorizationServer(access_ttl_s=access_ttl_s)
    server.authorize.auto_approve = auto_approve
    async with serve(server, port=port) as base_url:
        sys.stdout.write(f"{base_url} serves client {CLIENT_ID}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="portico.testing.authorization_server", description="An authorization server for tests."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (0: any)")
    parser.add_argument("--access-ttl", type=float, default=3600.0, metavar="S", help="lifetime of access tokens, seconds")
    parser.add_argument("--auto-approve", action="store_true", help="send the browser back without asking")
    args = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(args.port, args.access_ttl, auto_approve=args.auto_approve))
    return 0


if __name__ == "__main__":
    sys.exit(main())
