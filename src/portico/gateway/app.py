"""The gateway's HTTP side. For now it answers one question: is it there, and which one is it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico import __version__
from portico.gateway.guard import answer, local_hosts, refusal, refused
from portico.gateway.proof import is_challenge, prove
from portico.oauth.quiet_http import QuietServer

if TYPE_CHECKING:
    from aiohttp import web

    from portico.gateway.state import GatewayState

HEALTH = "/health"


def make_server(state: GatewayState) -> QuietServer:
    """The server of one gateway process. `/health` needs no key and holds nothing secret; a challenge is answered."""
    hosts = local_hosts(state.port)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return refusal(request, hosts) or _respond(request, state)

    return QuietServer(handle, refused)


def _respond(request: web.BaseRequest, state: GatewayState) -> web.StreamResponse:
    if request.path != HEALTH:
        return refused(404, "not-found")
    if request.method not in {"GET", "HEAD"}:
        return refused(405, "wrong-method", Allow="GET, HEAD")
    challenge = request.query.get("challenge", "")
    proof = {"proof": prove(state.key, challenge)} if is_challenge(challenge) else {}
    return answer(200, {"status": "ok", "version": __version__, **state.as_json(), **proof})
