"""The gateway's HTTP side. For now it answers one question: is it there, and which one is it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from portico import __version__
from portico.gateway.guard import guard, harden, local_hosts
from portico.gateway.proof import is_challenge, prove

if TYPE_CHECKING:
    from portico.gateway.state import GatewayState

HEALTH = "/health"


def make_app(state: GatewayState) -> web.Application:
    """The application of one gateway process. `/health` needs no key and holds nothing secret; a challenge is answered."""

    async def health(request: web.Request) -> web.Response:
        challenge = request.query.get("challenge", "")
        proof = {"proof": prove(state.key, challenge)} if is_challenge(challenge) else {}
        return web.json_response({"status": "ok", "version": __version__, **state.as_json(), **proof})

    app = web.Application(middlewares=[guard(local_hosts(state.port))])
    app.on_response_prepare.append(harden)
    app.router.add_get(HEALTH, health)
    return app
