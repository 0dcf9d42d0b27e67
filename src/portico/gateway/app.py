"""The gateway's HTTP side: who may talk to it at all, `/health`, and behind a key the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.gateway.guard import answer, local_hosts, not_understood, refusal, refused
from portico.gateway.proof import is_challenge, prove
from portico.gateway.routes import HEALTH
from portico.oauth.quiet_http import Bounds, QuietServer
from portico.version import __version__

if TYPE_CHECKING:
    from aiohttp import web

    from portico.gateway.front import Front
    from portico.gateway.state import GatewayState

# A stream for each of many tools, and no more than a process can have open with as many connections to providers.
BOUNDS: Final = Bounds(idle_s=75.0, connections=2048, lingers_s=2.0, cancels=True)


def make_server(state: GatewayState, front: Front | None, bounds: Bounds = BOUNDS) -> QuietServer:
    """The server of one gateway process. `/health` needs no key and holds nothing secret; a challenge is answered.

    Without a `front` there is nothing else.
    """
    hosts = local_hosts(state.port)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        hostile = refusal(request, hosts)
        if hostile is not None:
            return hostile
        if request.path == HEALTH:
            return _health(request, state)
        return refused(404, "not-found", "There is nothing at this path.") if front is None else await front.respond(request)

    return QuietServer(handle, not_understood, bounds)


def _health(request: web.BaseRequest, state: GatewayState) -> web.StreamResponse:
    if request.method not in {"GET", "HEAD"}:
        return refused(405, "wrong-method", f"{HEALTH} takes GET.", Allow="GET, HEAD")
    challenge = request.query.get("challenge", "")
    proof = {"proof": prove(state.key, challenge)} if is_challenge(challenge) else {}
    return answer(200, {"status": "ok", "version": __version__, **state.as_json(), **proof})
