"""A sign-in that waits for its redirect, its events, and raw requests to its callback server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode, urlsplit

from portico.interfaces.authorization import HttpReply
from portico.net.client import HttpClient
from portico.oauth.browser_flow import browser_flow
from portico.oauth.flow import AuthorizeUrl, FlowContext
from portico.oauth.standard import StandardDialect
from portico.secret import Secret
from portico.testing.authorization_server import AuthorizationServer, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from portico.interfaces.authorization import OAuthServer, TokenDialect, TokenSet

LIMIT_S = 5.0


class NoBrowser:
    """An opener without a browser."""

    def obstacle(self) -> str | None:
        return "this is a test"

    async def open(self, url: str, **_how: Any) -> bool:
        raise AssertionError(f"opened {url}")


class Opener:
    """Records the opened addresses. `works`: opening succeeds. `obstacle`: why no browser can be opened."""

    def __init__(self, obstacle: str | None = None, *, works: bool = True) -> None:
        self.opened: list[str] = []
        self._obstacle, self._works = obstacle, works
        self._asked = asyncio.Event()

    def obstacle(self) -> str | None:
        return self._obstacle

    async def open(self, url: str, **_how: Any) -> bool:
        self.opened.append(url)
        self._asked.set()
        return self._works

    async def start_address(self) -> str:
        """Wait for the first opened address."""
        await asyncio.wait_for(self._asked.wait(), LIMIT_S)
        return self.opened[0]


class Events:
    """The events of a flow; a test can wait for one."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self._changed = asyncio.Event()

    def __call__(self, event: object) -> None:
        self.seen.append(event)
        self._changed.set()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.seen if isinstance(event, kind)]

    async def first(self, kind: type) -> Any:
        async with asyncio.timeout(LIMIT_S):
            while not self.of(kind):
                self._changed.clear()
                await self._changed.wait()
        return self.of(kind)[0]


@dataclass
class Login:
    """A running browser sign-in. `port` and `path` are the callback server's."""

    task: asyncio.Task[None]
    events: Events
    grants: list[TokenSet]
    authorize_url: str
    issuer: str
    issue_code: Callable[[Login], str]
    redirect_uri: str
    parameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.parameters = {name: values[0] for name, values in parse_qs(urlsplit(self.authorize_url).query).items()}

    @property
    def state(self) -> str:
        return self.parameters["state"]

    @property
    def port(self) -> int:
        port = urlsplit(self.redirect_uri).port
        assert port is not None
        return port

    @property
    def path(self) -> str:
        return urlsplit(self.redirect_uri).path

    def answer(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a valid response, with `changes`; None omits a parameter."""
        genuine = {"code": self.issue_code(self), "state": self.state, "iss": self.issuer}
        return {name: value for name, value in {**genuine, **changes}.items() if value is not None}

    async def send(self, query: str | dict[str, str] | None = None, **head: Any) -> Reply:
        encoded = query if isinstance(query, str) else urlencode(query if query is not None else self.answer())
        return await get(self.port, f"{self.path}?{encoded}", **head)

    async def finish(self) -> Reply:
        """Send the valid response, follow the redirect to the result page, and wait for the end of the sign-in."""
        response = await self.send()
        assert response.status == 303
        page = await get(self.port, response.headers["location"])
        await asyncio.wait_for(self.task, LIMIT_S)
        return page


@dataclass
class Reply:
    """A raw HTTP response. `head`: everything before the body, as text."""

    status: int
    headers: dict[str, str]
    body: str
    head: str


async def raw(port: int, request: bytes, *, host: str = "127.0.0.1") -> Reply:
    """Send `request` unchanged and read until the server closes the connection."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(request)
        data = (await reader.read(-1)).decode("latin-1")
        writer.close()
    head, _, body = data.partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split(" ")[1]), headers, body, head)


async def get(
    port: int, target: str, *, method: str = "GET", host: str | None = None, headers: str = "", body: str = ""
) -> Reply:
    """Send a simple GET. `host` replaces the Host header; `headers` are whole lines."""
    text = f"{method} {target} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{port}'}\r\n{headers}\r\n{body}"
    return await raw(port, text.encode("latin-1"))


async def visit(url: str, **head: Any) -> Reply:
    """Send a simple GET for `url` on this machine."""
    parts = urlsplit(url)
    assert parts.port is not None
    return await get(parts.port, f"{parts.path}?{parts.query}" if parts.query else parts.path, **{"host": parts.netloc, **head})


@asynccontextmanager
async def pending_login(
    server: AuthorizationServer | None = None,
    dialect: TokenDialect | None = None,
    *,
    change: Callable[[OAuthServer], OAuthServer] = lambda described: described,
    finish: Callable[[TokenSet], Awaitable[None]] | None = None,
    **options: Any,
) -> AsyncIterator[Login]:
    """A browser sign-in at a real authorization server, waiting for its redirect."""
    auth_server = server or AuthorizationServer()
    events, token_sets = Events(), []

    async def keep(token_set: TokenSet) -> None:
        if finish is not None:
            await finish(token_set)
        token_sets.append(token_set)

    def issue_code(login: Login) -> str:
        parameters = login.parameters
        return auth_server.codes.issue(
            parameters["client_id"], parameters["redirect_uri"], parameters["code_challenge"], parameters["scope"]
        )

    async with serve(auth_server) as base_url, HttpClient() as http:
        described = change(auth_server.description(base_url))
        defaults: dict[str, Any] = {"opener": NoBrowser(), "timeout_s": 60}
        flow = in_browser(described, dialect or StandardDialect(), http, finish=keep, on_event=events, **{**defaults, **options})
        task = asyncio.create_task(flow)
        try:
            authorize_event = await events.first(AuthorizeUrl)
            yield Login(task, events, token_sets, authorize_event.url, described.issuer, issue_code, authorize_event.redirect_uri)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def in_browser(*parts: Any, paste: Any = None, **options: Any) -> None:
    """Run the browser flow with these parts."""
    await browser_flow(FlowContext(*parts, **options), paste=paste)


def reply(body: str, status: int = 200, *, sent_at_ms: int = 1_000_000, **headers: str) -> HttpReply:
    """A token endpoint's reply."""
    lower = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return HttpReply(status, lower, Secret(body), "https://as.test/token", sent_at_ms)


def with_endpoints(server: OAuthServer, **changes: Any) -> OAuthServer:
    return replace(server, **changes)
