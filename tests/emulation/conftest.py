"""A small emulator of a service that asks for an approval, and a running emulation of it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from portico.emulation.run import run_emulation
from portico.interfaces.plugins import EmulatorOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from portico.emulation.run import EmulationInfo
    from portico.interfaces.basics import JsonValue

PAGE = """<!doctype html><title>Approve</title><style>b{}</style><p>Approve {code}?</p>
<form method="post" action="/decide"><input type="hidden" name="code" value="{code}">
<button name="decision" value="approve">Approve</button><button name="decision" value="deny">Deny</button></form>"""


class SmallEmulator:
    """Two hosts, an approval page, and the decisions it has seen."""

    id = "small"
    label = "Small"
    hosts = ("login.example", "api.example")

    def __init__(self, port: int | None = None) -> None:
        self.decisions: list[tuple[str, str]] = []
        self.then = "/done"
        self.moved = "/done"
        self._port = port

    def app(self, options: EmulatorOptions) -> web.Application:
        app = web.Application()
        app.router.add_get("/hello", self._hello)
        app.router.add_get("/moved", self._moved)
        app.router.add_get("/approve", self._page)
        app.router.add_post("/decide", self._decide)
        app.router.add_get("/done", self._done)
        return app

    def config(self, options: EmulatorOptions) -> Mapping[str, JsonValue]:
        return {"plugins": {"entries": {"small": {"config": {"redirect": options.redirect}}}}}

    def approval_url(self, user_code: str) -> str:
        return f"https://login.example/approve?code={user_code}"

    def loopback_port(self, options: EmulatorOptions) -> int | None:
        return self._port

    async def _hello(self, request: web.Request) -> web.Response:
        return web.Response(text=f"hello from {request.host}")

    async def _moved(self, _request: web.Request) -> web.Response:
        raise web.HTTPSeeOther(self.moved)

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=PAGE.replace("{code}", request.query["code"]), content_type="text/html")

    async def _decide(self, request: web.Request) -> web.Response:
        form = await request.post()
        self.decisions.append((str(form["code"]), str(form["decision"])))
        raise web.HTTPSeeOther(self.then)

    async def _done(self, request: web.Request) -> web.Response:
        return web.Response(text="<p>Done.</p>", content_type="text/html")


@pytest.fixture
def make_small() -> type[SmallEmulator]:
    return SmallEmulator


@pytest.fixture
def small() -> SmallEmulator:
    return SmallEmulator()


@pytest.fixture
async def emulation(small: SmallEmulator, tmp_path: Path) -> AsyncIterator[EmulationInfo]:
    async with run_emulation([small], EmulatorOptions(), tmp_path / "run") as info:
        yield info


@pytest.fixture
async def browser(emulation: EmulationInfo) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that trusts the throwaway CA alone and knows no way but the proxy."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=emulation.ca_file))
    async with aiohttp.ClientSession(connector=connector, proxy=emulation.proxy_url) as session:
        yield session
