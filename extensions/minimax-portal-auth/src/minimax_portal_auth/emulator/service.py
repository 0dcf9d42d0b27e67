"""The emulated service: one application for all hosts, chosen by the Host header; 404 for unknown paths."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.emulator import pages
from minimax_portal_auth.emulator.accounts import AccountSpace
from minimax_portal_auth.emulator.hosts import EmulatedHost, find_host
from minimax_portal_auth.emulator.inference import Inference
from minimax_portal_auth.emulator.other_services import Anthropic, LmStudio
from minimax_portal_auth.emulator.plan_usage import PlanUsage
from minimax_portal_auth.emulator.settings import parse_settings
from minimax_portal_auth.emulator.sign_in import SignIn
from portico.testing.authorization_server import metadata_document
from portico.testing.faults import Fault, Faults
from portico.testing.grants import PresentedTokens, issuer_of, note_refresh_tokens, tell_time

if TYPE_CHECKING:
    from minimax_portal_auth.emulator.hosts import RegionId, Role
    from portico.plugin_api import Clock, EmulatorOptions

Handler = Callable[[web.Request, EmulatedHost], Awaitable[web.StreamResponse]]
Routes = dict[tuple[str, str], Handler]

_NOT_FOUND: Final = "404 page not found"
_FAULTS: Final = {
    "500": Fault(status=500, body='{"error":"server_error"}', headers={"Content-Type": "application/json"}),
    "503": Fault(status=503, body='{"error":"temporarily_unavailable"}', headers={"Content-Type": "application/json"}),
    "html": Fault(status=200, body="<html><body>Please wait...</body></html>", headers={"Content-Type": "text/html"}),
    "oversize": Fault(status=200, body="{" + " " * (4 << 20), headers={"Content-Type": "application/json"}),
    "drop": Fault(drop="after"),
    "slow": Fault(delay_s=20.0),
}


class MinimaxService:
    """One run of the emulator. `presented` records every received refresh token. `faults` are the faults for each path.

    Raises:
        UsageError: `usage`.
    """

    def __init__(self, options: EmulatorOptions, *, clock: Clock | None = None) -> None:
        self.settings = parse_settings(options.knobs)
        self.spaces: dict[RegionId, AccountSpace] = {
            "global": AccountSpace("global", clock=clock, interval_s=self.settings.interval),
            "cn": AccountSpace("cn", clock=clock, interval_s=self.settings.interval),
        }
        self.faults = Faults()
        self.presented = PresentedTokens()
        self._options = options
        self._routes: dict[tuple[RegionId, Role], Routes] = {}
        for region, space in self.spaces.items():
            self._add_region(region, space, self.spaces["cn" if region == "global" else "global"])
        anthropic, lm_studio = Anthropic(self.settings), LmStudio()
        self._routes["global", "anthropic"] = {
            ("POST", "/v1/messages"): anthropic.messages,
            ("GET", "/v1/models"): anthropic.models,
        }
        self._routes["global", "lmstudio"] = {
            ("POST", "/v1/chat/completions"): lm_studio.chat,
            ("POST", "/v1/responses"): lm_studio.responses,
            ("GET", "/v1/models"): lm_studio.models,
        }

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[note_refresh_tokens(self.presented), pages.add_banner])
        self.faults.attach(app)
        tell_time(app, lambda: self.spaces["global"].mint.clock)
        for path, fault in (("/oauth2/device/code", self.settings.device_fault), ("/oauth2/token", self.settings.token_fault)):
            self.faults.always(path, _FAULTS[fault] if fault else None)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        host = find_host(request.host)
        routes = self._routes.get((host.region, host.role)) if host else None
        handler = routes.get((request.method, request.path)) if routes else None
        if host is None or handler is None:
            return web.Response(status=404, text=_NOT_FOUND)
        return await handler(request, host)

    def _add_region(self, region: RegionId, space: AccountSpace, other: AccountSpace) -> None:
        inference = Inference(space, other, self.settings)
        remains = PlanUsage(space, inference, self.settings)
        sign_in = SignIn(space, self.settings, self._options)
        approval = pages.ApprovalPages(space, [other])
        approve: Routes = {("GET", "/oauth-authorize"): approval.show, ("POST", "/oauth-authorize"): approval.decide}
        self._routes[region, "platform"] = approve
        self._routes[region, "account"] = approve | self._account(sign_in, space)
        website: Routes = {("GET", "/"): pages.homepage, ("GET", "/oauth-authorize"): _to_homepage}
        self._routes[region, "www"] = website | {("GET", "/v1/token_plan/remains"): remains.token_plan}
        self._routes[region, "agent"] = {("POST", "/mavis/api/v1/llm/v1/messages"): inference.agent_messages}
        self._routes[region, "api"] = self._legacy(sign_in) | {
            ("POST", "/anthropic/v1/messages"): inference.messages,
            ("POST", "/anthropic/v1/messages/count_tokens"): inference.count_tokens,
            ("POST", "/v1/chat/completions"): inference.chat,
            ("POST", "/v1/responses"): inference.responses,
            ("GET", "/v1/models"): inference.models,
            ("GET", "/v1/token_plan/remains"): remains.token_plan,
            ("GET", "/v1/coding_plan/remains"): remains.coding_plan,
            ("GET", "/v1/api/openplatform/coding_plan/remains"): remains.coding_plan,
        }

    def _account(self, sign_in: SignIn, space: AccountSpace) -> Routes:
        routes: Routes = {
            ("POST", "/oauth2/device/code"): sign_in.device_code,
            ("POST", "/oauth2/token"): sign_in.token,
            ("POST", "/oauth2/revoke"): sign_in.revoke,
        }
        if not self._options.redirect:
            return routes
        space.authorize.auto_approve = self._options.auto_approve
        return routes | {
            ("GET", "/oauth2/authorize"): lambda request, _host: space.authorize.show(request),
            ("POST", "/oauth2/authorize"): lambda request, _host: space.authorize.decide(request),
            ("GET", "/.well-known/oauth-authorization-server"): _metadata,
            ("GET", "/.well-known/openid-configuration"): _metadata,
        }

    def _legacy(self, sign_in: SignIn) -> Routes:
        if self.settings.legacy:
            return {("POST", "/oauth/code"): sign_in.device_code, ("POST", "/oauth/token"): sign_in.token}
        return {
            ("POST", "/oauth/code"): _redirect_to("/oauth2/device/code"),
            ("POST", "/oauth/token"): _redirect_to("/oauth2/token"),
        }


def _redirect_to(path: str) -> Handler:
    async def redirect(_request: web.Request, host: EmulatedHost) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": host.base_url("account") + path})

    return redirect


async def _to_homepage(_request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": "/"})


async def _metadata(request: web.Request, _host: EmulatedHost) -> web.StreamResponse:
    issuer = issuer_of(request)
    endpoints = {
        "authorization_endpoint": f"{issuer}/oauth2/authorize",
        "token_endpoint": f"{issuer}/oauth2/token",
        "device_authorization_endpoint": f"{issuer}/oauth2/device/code",
        "revocation_endpoint": f"{issuer}/oauth2/revoke",
    }
    return web.json_response(metadata_document(issuer, send_iss=True) | endpoints)
