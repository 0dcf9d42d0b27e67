"""A gateway in this process, before providers of a test."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from dataclasses import dataclass, field, replace

import aiohttp
from aiohttp import web

from portico.app import App
from portico.auth.broker import TokenBroker
from portico.gateway.access import Limits, Shares
from portico.gateway.port import bind_port
from portico.gateway.router import open_front
from portico.gateway.server import BOUNDS, make_server
from portico.paths import CONFIG_ENV, STATE_ENV
from portico.secret import Secret
from portico.services.gateway_state import GatewayState, new_key
from portico.store.profiles import ProfileIndex
from portico.store.records import GatewayKeyProfile, fingerprint
from portico.store.token_store import LocalTokenStore
from portico.testing.canary import canary
from tests.key_index import key_index

__all__ = ("CHAT", "MESSAGES", "RESPONSES", "Gateway", "Limits", "a_key", "configure", "gateway", "with_key")
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"


@dataclass
class Gateway:
    """Where it is and whom it knows. `outcomes` is what became of each request."""

    port: int
    paths: object
    front: object
    session: aiohttp.ClientSession
    key: str
    outcomes: list = field(default_factory=list)
    server: object = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path=CHAT, body=None, *, key=None, **more):
        """A request with the key; `body` is the default model's question where none is given."""
        data = body if isinstance(body, bytes) else json.dumps(body if body is not None else {"messages": []}).encode()
        data = io.BytesIO(data) if len(data) > 1 << 20 else data  # aiohttp warns of longer bytes
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json", **more.pop("headers", {})}
        return self.session.post(self.url + path, data=data, headers=headers, **more)

    async def json(self, path=CHAT, body=None, **more):
        async with self.ask(path, body, **more) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    def get(self, path, **headers):
        return self.session.get(self.url + path, headers={"Authorization": f"Bearer {self.key}", **headers})


def with_key(paths, name="tool"):
    """A key in the index, as the gateway knows it; nobody needs the record of it here."""
    key = canary("gatewaykey")
    index = key_index(paths)
    index.put(a_key(name, key))
    return key


def a_key(name, key):
    return GatewayKeyProfile(id=f"gateway:{name}", name=name, created_at=1, sha256=fingerprint(Secret(key)), slot="a")


def configure(paths, providers, *, primary=None, fallbacks=(), names=None, extra=None):
    """A config with these providers, of one model each, called `model`."""
    blocks = {
        name: {
            "api": "openai-completions",
            "models": [{"id": "model"}],
            **(block if isinstance(block, dict) else {"baseUrl": block}),
        }
        for name, block in providers.items()
    }
    chosen = {"primary": primary or f"{next(iter(blocks))}/model", "fallbacks": [*fallbacks]}
    config = {"models": {"providers": blocks}, "agents": {"defaults": {"model": chosen}}, "gateway": {"models": names or {}}}
    paths.config.parent.mkdir(parents=True, exist_ok=True)
    paths.config.write_text(json.dumps({**config, **(extra or {})}), encoding="utf-8")


@contextlib.asynccontextmanager
async def gateway(paths, *, clock=None, env=None, bounds=BOUNDS, vault=None, limits=None, meanwhile=lambda: None):
    """The real front over the files of `paths`, served on a port of its own. `meanwhile` happens before it reads them."""
    places = {CONFIG_ENV: str(paths.config), STATE_ENV: str(paths.state), **(env or {})}
    app = App.without_terminal(None, places, clock)
    await asyncio.to_thread(lambda: app.plugins)
    listener = bind_port(0)
    state = GatewayState(1, listener.getsockname()[1], app.clock.wall_ms(), "test", new_key())
    key = await asyncio.to_thread(with_key, paths)
    async with app.http() as http, contextlib.AsyncExitStack() as stack:
        broker = TokenBroker(
            store=app.token_store if vault is None else LocalTokenStore(paths, ProfileIndex(paths), lambda: vault),
            dialects=app.plugins.dialect,
            http=http,
            clock=app.clock,
            paths=app.paths,
        )
        await asyncio.to_thread(meanwhile)
        front = await stack.enter_async_context(open_front(app, broker, state.started_at))
        outcomes = []
        record = front.parts.record
        front = replace(front, parts=replace(front.parts, record=lambda outcome: (outcomes.append(outcome), record(outcome))))
        if limits is not None:
            front = replace(front, shares=Shares(limits))
        server = make_server(state, front, bounds)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        session = await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
        try:
            yield Gateway(state.port, paths, front, session, key, outcomes, server)
        finally:
            await runner.cleanup()
            listener.close()
