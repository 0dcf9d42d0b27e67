"""A test authorization server that follows the standards, over TCP: `python -m portico.testing.authorization_server`.

    server = AuthorizationServer()
    async with serve(server) as base_url:
        server.faults.add("/token", Fault(drop="after"))
        ...
        assert server.presented.twice == []

The server supports the authorization code with PKCE S256 (RFC 6749, 7636) and `iss` (RFC 9207), metadata (RFC 8414), device
authorization (RFC 8628), pushed requests (RFC 9126), ID tokens with their nonce, refresh with rotation, reuse detection and
revocation of the family (RFC 9700 section 4.14), revocation (RFC 7009). Its parts (`AuthorizeEndpoint`, `Faults`, and
`TokenMint`, `CodeTable`, `DeviceTable`, `PresentedTokens` of `grants`) can also be used separately, to build the emulator of a
server with its own dialect.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from portico.interfaces.authorization import OAuthServer, Redirect
from portico.testing.faults import Fault, Faults, Gate
from portico.testing.grants import (
    NO_STORE,
    CodeTable,
    DeviceTable,
    Issued,
    PresentedTokens,
    TokenMint,
    TokenRefused,
    check_challenge,
    id_token,
    issuer_of,
    note_refresh_tokens,
    read_form,
    refusal,
    tell_time,
    token_reply,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from portico.interfaces.basics import Clock

__all__ = (
    "CLIENT_ID",
    "AuthorizationServer",
    "AuthorizeEndpoint",
    "Client",
    "Fault",
    "Faults",
    "Gate",
    "device_page",
    "message_page",
    "metadata_document",
    "serve",
)

CLIENT_ID = "portico-test"
# As a native app registers them (RFC 8252 section 7.3): only the path must match, and any port is accepted.
_REDIRECT_URIS = ("http://127.0.0.1/callback", "http://[::1]/callback", "http://localhost/callback")
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:12vh auto;padding:0 1rem}}
button,input{{font:inherit;padding:.5rem 1rem}}.note{{opacity:.75;font-size:.9rem}}</style>
</head><body><main><h1>{title}</h1>{body}</main></body></html>
"""
_DECISION_BUTTONS = (
    '<p><button name="decision" value="approve" id="approve">Allow</button> '
    '<button name="decision" value="deny" id="deny">Deny</button></p>'
)


class AuthorizationServer:
    """The server. All its attributes may be changed while it runs.

    The server registers the client `CLIENT_ID` with `/callback` on a loopback address; a client with this id in `clients`
    replaces it. `mint`, `codes` and `devices` have the issued tokens and codes. `faults` are the programmed faults. `presented`
    has every refresh token that the server received. `metadata_extra` replaces or adds fields of the metadata document; None
    removes a field. `id_claims` does the same for the claims of ID tokens. A sign-in gets an ID token if its scope has
    `openid`; then it gets a refresh token only if the scope also has `offline_access` and the user was asked for consent
    (OpenID Connect Core section 11). `authorize.require_pushed` requires pushed requests (RFC 9126).
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
        """The description of this server for a client. Without `redirect`, no redirect URI is known for the client."""
        return server_description(base_url, CLIENT_ID, **self._authorize_options(), redirect=redirect)

    def _authorize_options(self) -> dict[str, bool]:
        return {"send_iss": self.authorize.send_iss, "require_pushed": self.authorize.require_pushed}

    async def _pushed(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        if "request_uri" in form:  # RFC 9126 section 2.1
            return refusal(TokenRefused("invalid_request", "request_uri is not taken here"))
        try:
            self._client_id(form)
            check_challenge(form.get("code_challenge"), form.get("code_challenge_method"))
        except TokenRefused as error:
            return refusal(error)
        fields = {"request_uri": self.authorize.push(form), "expires_in": 60}
        return web.json_response(fields, status=201, headers=NO_STORE)

    async def _metadata(self, request: web.Request) -> web.Response:
        standard = metadata_document(issuer_of(request), **self._authorize_options())
        merged = {**standard, **self.metadata_extra}
        return web.json_response({name: value for name, value in merged.items() if value is not None})

    async def _device_authorization(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            client_id = self._client_id(form)
            # PKCE is not part of RFC 8628. But if a client sends a challenge, its verifier is checked.
            sent_challenge = form.get("code_challenge")
            challenge = check_challenge(sent_challenge, form.get("code_challenge_method")) if sent_challenge is not None else None
        except TokenRefused as error:
            return refusal(error)
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
        return device_page("/device", request.query.get("user_code", ""))

    async def _device_decision(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        approved = form.get("decision") == "approve"
        if not self.devices.decide(form.get("user_code", ""), approved=approved):
            return device_page("/device", "", note="No device waits under this code.")
        return message_page("Device connected" if approved else "Refused", "You may close this page.")

    async def _token(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            client_id = self._client_id(form)
            return self._issue(form, client_id, issuer_of(request))
        except TokenRefused as error:
            return refusal(error, status=401 if error.code == "invalid_client" else 400)

    def _issue(self, form: dict[str, str], client_id: str, issuer: str) -> web.Response:
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
            case grant_type if grant_type == DEVICE_GRANT:
                pending = self.devices.by_device_code(form.get("device_code", ""))
                device = self.devices.poll(pending, client_id=client_id, verifier=form.get("code_verifier"))
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
        id_token_claims = {name: value for name, value in {**claims, **self.id_claims}.items() if value is not None}
        return token_reply(issued, refresh=consent and "offline_access" in scope, id_token=id_token(id_token_claims))

    async def _revoke(self, request: web.Request) -> web.Response:
        form = await read_form(request)
        try:
            self._client_id(form)
        except TokenRefused as error:
            return refusal(error, status=401)
        if "token" not in form:
            return refusal(TokenRefused("invalid_request", "token is required"))
        self.mint.revoke(form["token"])
        return web.Response(headers=NO_STORE)

    def _client_id(self, form: dict[str, str]) -> str:
        client_id = form.get("client_id", "")
        if client_id not in self.clients:
            raise TokenRefused("invalid_client" if client_id else "invalid_request", "client_id is unknown or missing")
        return client_id


def metadata_document(issuer: str, *, send_iss: bool, require_pushed: bool = False) -> dict[str, object]:
    """The metadata document of `issuer`."""
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/authorize",
        "token_endpoint": f"{issuer}/token",
        "device_authorization_endpoint": f"{issuer}/device_authorization",
        "revocation_endpoint": f"{issuer}/revoke",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", DEVICE_GRANT],
        "token_endpoint_auth_methods_supported": ["none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": send_iss,
        "pushed_authorization_request_endpoint": f"{issuer}/par",
        "require_pushed_authorization_requests": require_pushed,
    }


def server_description(
    base_url: str, client_id: str, *, redirect: bool, send_iss: bool, require_pushed: bool = False
) -> OAuthServer:
    """The server at `base_url` as an `OAuthServer`."""
    base = base_url.rstrip("/")
    return OAuthServer(
        issuer=base,
        client_id=client_id,
        token_endpoint=f"{base}/token",
        scope="profile",
        authorization_endpoint=f"{base}/authorize",
        device_authorization_endpoint=f"{base}/device_authorization",
        revocation_endpoint=f"{base}/revoke",
        redirect=Redirect() if redirect else None,
        iss_advertised=send_iss,
        pushed_authorization_request_endpoint=f"{base}/par",
        pushed_authorization_required=require_pushed,
    )


@dataclass(frozen=True, slots=True)
class Client:
    """A registered public client.

    `redirect_uris` are compared exactly, except for the port of a loopback URI (RFC 8252 section 7.3). If the client has none,
    any loopback http URI is accepted.
    """

    id: str
    name: str = "Test client"
    redirect_uris: tuple[str, ...] = ()

    def takes(self, redirect_uri: str) -> bool:
        """Whether the browser may be redirected to `redirect_uri`."""
        parts = urlsplit(redirect_uri)
        if parts.fragment or parts.username:
            return False
        loopback = parts.scheme == "http" and parts.hostname in _LOOPBACK
        if not self.redirect_uris:
            return loopback
        registered = (urlsplit(uri) for uri in self.redirect_uris)
        return redirect_uri in self.redirect_uris or (
            loopback and any((uri.scheme, uri.hostname, uri.path) == ("http", parts.hostname, parts.path) for uri in registered)
        )


@dataclass(frozen=True, slots=True)
class _PendingRequest:
    client: Client
    redirect_uri: str
    challenge: str
    scope: str
    state: str | None
    form_post: bool
    nonce: str | None = None
    consent: bool = False


class AuthorizeEndpoint:
    """GET shows the consent page. POST gets the user's decision and redirects the browser with a code or an error.

    `auto_approve` redirects at once, without a page. `send_iss` adds `iss` (RFC 9207) with the value of `issuer_for`.
    `require_pushed` rejects a request without pushed parameters (RFC 9126). `pushed` has the pushed parameters by
    `request_uri`; each can be used once.
    """

    def __init__(self, clients: Mapping[str, Client], codes: CodeTable, issuer_for: Callable[[web.Request], str]) -> None:
        self.auto_approve = False
        self.send_iss = True
        self.require_pushed = False
        self.pushed: dict[str, Mapping[str, str]] = {}
        self._clients = clients
        self._codes = codes
        self._issuer_for = issuer_for
        self._pending: dict[str, _PendingRequest] = {}

    async def show(self, request: web.Request) -> web.StreamResponse:
        """The consent page, or an error page for an unknown client or redirect URI. Other errors are redirected."""
        query: Mapping[str, str] = request.query
        client = self._clients.get(query.get("client_id", ""))
        if self.require_pushed or "request_uri" in query:
            pushed = self.pushed.pop(query.get("request_uri", ""), None)
            if pushed is None or pushed.get("client_id") != query.get("client_id"):
                return message_page("Not possible", "This request was not pushed first, or was used before.", status=400)
            query = pushed
        redirect_uri = query.get("redirect_uri", "")
        if client is None or not client.takes(redirect_uri):
            return message_page("Not possible", "This client or its redirect URI is not registered here.", status=400)
        form_post = query.get("response_mode") == "form_post"
        try:
            challenge = _check_request(request, query)
        except TokenRefused as error:
            pending = _PendingRequest(client, redirect_uri, "", "", query.get("state"), form_post)
            return self._redirect_back(request, pending, {"error": error.code, "error_description": error.description})
        pending = _PendingRequest(
            client,
            redirect_uri,
            challenge,
            query.get("scope", ""),
            query.get("state"),
            form_post,
            query.get("nonce"),
            consent="consent" in query.get("prompt", "").split(),
        )
        if self.auto_approve:
            return self._approve(request, pending)
        ticket = secrets.token_urlsafe(24)
        self._pending[ticket] = pending
        return consent_page(request.path, {"ticket": ticket}, client=client.name, scope=pending.scope)

    def push(self, form: Mapping[str, str]) -> str:
        """Store the parameters of a pushed request, and return its `request_uri` (RFC 9126 section 2.2)."""
        request_uri = f"urn:ietf:params:oauth:request_uri:{secrets.token_urlsafe(16)}"
        self.pushed[request_uri] = dict(form)
        return request_uri

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """Handle the user's decision. If `decision` is not "approve", the user denied the request."""
        form = await request.post()
        pending = self._pending.pop(str(form.get("ticket")), None)
        if pending is None:
            return message_page("Not possible", "This page is out of date.", status=400)
        if form.get("decision") != "approve":
            return self._redirect_back(request, pending, {"error": "access_denied"})
        return self._approve(request, pending)

    def _approve(self, request: web.Request, pending: _PendingRequest) -> web.StreamResponse:
        code = self._codes.issue(
            pending.client.id,
            pending.redirect_uri,
            pending.challenge,
            pending.scope,
            nonce=pending.nonce,
            consent=pending.consent,
        )
        return self._redirect_back(request, pending, {"code": code})

    def _redirect_back(
        self, request: web.Request, pending: _PendingRequest, response_fields: Mapping[str, str]
    ) -> web.StreamResponse:
        state = {"state": pending.state} if pending.state is not None else {}
        iss = {"iss": self._issuer_for(request)} if self.send_iss else {}
        fields = {**response_fields, **state, **iss}
        if pending.form_post:
            return form_post_page(pending.redirect_uri, fields)
        separator = "&" if urlsplit(pending.redirect_uri).query else "?"
        # 303, so that the browser does not send the consent form to the client (RFC 9700 section 4.12).
        headers = {"Location": f"{pending.redirect_uri}{separator}{urlencode(fields)}", "Cache-Control": "no-store"}
        return web.Response(status=303, headers=headers)


def _check_request(request: web.Request, query: Mapping[str, str]) -> str:
    if any(len(request.query.getall(name)) > 1 for name in request.query):
        raise TokenRefused("invalid_request", "a parameter is given twice")
    if query.get("response_type") != "code":
        raise TokenRefused("unsupported_response_type", "only code is served")
    return check_challenge(query.get("code_challenge"), query.get("code_challenge_method"))


# --- the pages for the user -------------------------------------------------------------------------------------------------


def page(title: str, body: str, *, status: int = 200) -> web.Response:
    """A page. `title` is text, `body` is HTML."""
    return web.Response(
        status=status, text=_PAGE.format(title=escape(title), body=body), content_type="text/html", headers=_HEADERS
    )


def message_page(title: str, text: str, *, status: int = 200) -> web.Response:
    """A page with one message."""
    return page(title, f"<p>{escape(text)}</p>", status=status)


def consent_page(action: str, hidden: Mapping[str, str], *, client: str, scope: str) -> web.Response:
    """A page that asks if `client` may have `scope`. The form's field `decision` is "approve" or "deny"."""
    explanation = f"<p><strong>{escape(client)}</strong> asks for: {escape(scope or 'your account')}</p>"
    return page("Allow access?", explanation + _form(action, hidden, _DECISION_BUTTONS))


def device_page(action: str, user_code: str, note: str = "") -> web.Response:
    """A page that asks for the user code and the decision (RFC 8628 section 3.3). A known user code is already filled in."""
    field = (
        f'<p><label>Code <input name="user_code" value="{escape(user_code)}" autocomplete="off" required></label></p>'
        '<p class="note">Go on only if you see this code on a device of your own.</p>'
    )
    return page("Connect a device", (f"<p>{escape(note)}</p>" if note else "") + _form(action, {}, field + _DECISION_BUTTONS))


def form_post_page(target: str, fields: Mapping[str, str]) -> web.Response:
    """A page that sends `fields` to `target` as a form, automatically or at a click (OAuth 2.0 Form Post Response Mode)."""
    return page(
        "Going back",
        _form(target, fields, "<button>Continue</button>") + "<script>document.forms[0].submit()</script>",
    )


def _form(action: str, hidden: Mapping[str, str], content: str) -> str:
    fields = "".join(f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items())
    return f'<form method="post" action="{escape(action)}">{fields}{content}</form>'


@asynccontextmanager
async def serve(server: AuthorizationServer, *, port: int = 0) -> AsyncIterator[str]:
    """Serve on 127.0.0.1 until the block ends. Yields the base URL.

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
