"""Access to the gateway: which requests are admitted, on which paths, and how much each key may use at once.

Only programs of this machine are admitted, with a gateway key. A web page can reach loopback too, by DNS rebinding
(CVE-2025-66416) or by a simple cross-site request. Both change a header that the browser sets and the page cannot forge.

A key may never use more requests or memory than remain free. So one busy key gets half, two get a third each, and some
is always free for the next key. Network switches share their buffers by this rule (Choudhury and Hahne, "Dynamic Queue Length
Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions on Networking 6(2), 1998).

OpenAI's SDKs expect a base URL with `/v1` at its end and add `/chat/completions`. Anthropic's SDKs expect a base URL without
`/v1` and add `/v1/messages` (openai-python and anthropic-sdk-python: `_client.py`). With the wrong base URL, `/v1` comes twice
or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Self

from aiohttp import hdrs
from multidict import istr

from portico.gateway.replies import error_body
from portico.models.protocols import PROTOCOLS
from portico.net.server import QuietAnswer, is_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from portico.interfaces.plugins import ApiKind

HEALTH: Final = "/health"
METRICS: Final = "/metrics"
MODELS: Final = "/v1/models"


@dataclass(frozen=True, slots=True, eq=False)  # one object for each path
class Route:
    """A path that is forwarded to models.

    `suffix` is added to the protocol's path at the provider. `counts`: the path only counts tokens, so a failure does not
    affect the model's cooldown.
    """

    path: str
    api: ApiKind
    suffix: str = ""
    counts: bool = False

    def url(self, base: str, query: str) -> str:
        """The URL at a provider. Only the query is from the client; it is not changed."""
        url = _at_provider(self, base)
        return f"{url}?{query}" if query else url


ROUTES: Final[Mapping[str, Route]] = {
    route.path: route
    for route in (
        Route("/v1/messages", "anthropic-messages"),
        Route("/v1/messages/count_tokens", "anthropic-messages", "/count_tokens", counts=True),
        Route("/v1/chat/completions", "openai-completions"),
        Route("/v1/responses", "openai-responses"),
    )
}


@dataclass(frozen=True, slots=True)
class Meant:
    """The path that a client probably meant, and advice on its base URL. `route` is None for the list of models."""

    path: str
    route: Route | None
    advice: str


def meant_by(path: str, origin: str) -> Meant | None:
    """The path that a client probably meant by the unknown `path`; None if no path is similar.

    `origin` is the URL by which the client reached the gateway, without a path. The result does not quote `path`.
    """
    segments = [segment for segment in path.lower().split("/") if segment]
    if segments[-2:-1] == ["models"]:
        segments = segments[:-1]  # the name of one model
    for known in _LONGEST_FIRST:
        tail = known.split("/")[2:]
        before = segments[: -len(tail)]
        if segments[-len(tail) :] == tail and all(map(_PREFIX.fullmatch, before)):
            return Meant(known, ROUTES.get(known), _advice(path, before, known, origin))
    return None


def _advice(path: str, before: list[str], known: str, origin: str) -> str:
    adds = before.count("v1") > 1 or path.startswith("//") or (known.startswith("/v1/messages") and "v1" in before)
    if adds:
        return f"Your client adds /v1 itself: set its base URL to {origin}"
    if not before:
        return f"Your client does not add /v1 itself: set its base URL to {origin}/v1"
    return f"Set the base URL of your client to {origin}/v1"


_LONGEST_FIRST: Final = tuple(sorted((*ROUTES, MODELS), key=len, reverse=True))
# Path segments of other servers' base URLs and of misspelt base URLs.
_PREFIX: Final = re.compile(r"v\d*|api|anthropic|openai")


@lru_cache(maxsize=256)
def _at_provider(route: Route, base: str) -> str:
    return PROTOCOLS[route.api].url(base) + route.suffix


# Looked up in every request: an `istr` needs no conversion to lower case.
_FETCH_SITE: Final = istr("Sec-Fetch-Site")
_API_KEY: Final = istr("x-api-key")
_SAME_SITE: Final = frozenset({"same-origin", "none"})
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
_JSON: Final = "application/json"
_BEARER: Final = "bearer "
_LONGEST_KEY: Final = 512
# The content codings that the server decodes.
_CODINGS: Final = ("gzip", "deflate")
READABLE: Final[Mapping[str, str]] = MappingProxyType({"Accept-Encoding": ", ".join(_CODINGS)})
"""The header of a 415 response that lists the accepted codings (RFC 9110 section 15.5.16)."""
WRONG_CODING: Final = (
    f"The Content-Encoding of the body is not supported. Send the body without it, or compressed by {' or '.join(_CODINGS)}."
)


def local_hosts(port: int) -> frozenset[str]:
    """The values of `Host` that name the gateway on `port`."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def rejection(request: web.BaseRequest, hosts: frozenset[str]) -> QuietAnswer | None:
    """The error response to a foreign Host (421) or to a web page (403), for every path. None if the request is admitted."""
    if not is_for(request, hosts):
        why = f"The request is not addressed to this gateway: its base URL is http://{min(hosts)}"
        return refused(421, "wrong-host", why, request)
    headers = request.headers
    if hdrs.ORIGIN in headers or headers.get(_FETCH_SITE, "none") not in _SAME_SITE:
        header = hdrs.ORIGIN if hdrs.ORIGIN in headers else _FETCH_SITE
        why = f"The request has the {header} header of a web page, and no web page may use the gateway: send it from a program"
        return refused(403, "wrong-origin", f"{why}, without that header.", request)
    return None


def is_json(request: web.BaseRequest) -> bool:
    """Whether the content type is JSON. A web page can send it only after a preflight request (Fetch Standard)."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    return content_type == _JSON or content_type.partition(";")[0].strip().lower() == _JSON


def is_readable(request: web.BaseRequest) -> bool:
    """Whether the server can decode the body's content coding, if it has one."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING)
    return coding is None or coding.strip().lower() in {"", "identity", *_CODINGS}


def shown_keys(request: web.BaseRequest) -> list[str]:
    """The keys in `Authorization: Bearer` and `x-api-key`; empty if one of these headers comes twice."""
    bearers, keys = request.headers.getall(hdrs.AUTHORIZATION, ()), request.headers.getall(_API_KEY, ())
    if len(bearers) > 1 or len(keys) > 1:
        return []
    tokens = [value[len(_BEARER) :].strip() for value in bearers if value[: len(_BEARER)].lower() == _BEARER]
    return [key for key in (*tokens, *keys) if len(key) <= _LONGEST_KEY]


def answer(status: int, value: object, headers: Mapping[str, str] = _NO_HEADERS, *, keeps_open: bool = False) -> QuietAnswer:
    """A JSON response with the security headers."""
    body = json.dumps(value).encode()
    return QuietAnswer(status, body, content_type=_JSON, headers={**_HEADERS, **headers}, keeps_open=keeps_open)


def text(status: int, value: str, content_type: str) -> QuietAnswer:
    """A text response with the security headers."""
    return QuietAnswer(status, value.encode(), content_type=content_type, headers=_HEADERS)


def refused(status: int, id: str, message: str, request: web.BaseRequest | None = None, **headers: str) -> QuietAnswer:
    """An error response in the protocol of the request's path. It does not quote the request."""
    route = ROUTES.get(request.raw_path.partition("?")[0]) if request is not None else None
    body = error_body(None if route is None else route.api, status, id, message)
    return answer(status, {**body, "error": {**body["error"], "id": id}}, headers)


def not_understood(status: int) -> QuietAnswer:
    """The error response before the path is known, in a form that clients of both protocols can read."""
    id, message, headers = "bad-request", f"{HTTPStatus(status).phrase}.", _NO_HEADERS
    if status == HTTPStatus.BAD_REQUEST:
        message = "The request is not valid HTTP."
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        id, message, headers = "wrong-content-coding", WRONG_CODING, READABLE
    error = error_body(None, status, id, message)["error"]
    return answer(status, {"type": "error", "error": {**error, "id": id}}, headers)


# Connections reserved for `/health`, for stopping, and for requests that are rejected.
_SPARE: Final = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for all keys together: `requests` at the same time, and `body_bytes` in memory.

    `wait_s`: how many seconds a body waits for memory. `waiting`: how many bodies of one key may wait; the start of each is in
    memory. `silence_s`: seconds between two chunks of a body. The whole body may take `grace_s` seconds plus one second for
    each `rate` bytes received, and at most `longest_s` seconds. Apache's mod_reqtimeout limits bodies in the same way.
    """

    requests: int = 2000
    body_bytes: int = 256 << 20
    wait_s: float = 2.0
    waiting: int = 32
    silence_s: float = 10.0
    grace_s: float = 30.0
    rate: int = 16 << 10
    longest_s: float = 300.0

    def seconds_for(self, received: int) -> float:
        """How many seconds a body may take until `received` bytes have arrived."""
        return min(self.longest_s, self.grace_s + received / self.rate)


def requests_within(connections: int) -> int:
    """The limit of concurrent requests for this many connections."""
    return max(1, connections - min(_SPARE, max(1, connections // 4)))


class ShareUsed(Exception):
    """A key has used up its share of `what`: `requests` or `memory`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(slots=True)
class _Key:
    """The requests and memory that one key uses now. `turn` is a lock: only one large body of a key is parsed at a time."""

    requests: int = 0
    body_bytes: int = 0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shares:
    """Counts the requests and memory of each key, and keeps each key within its share. For one event loop."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.body_bytes = 0
        self._keys: dict[str, _Key] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def request(self, client: str) -> Lease:
        """Count one request of the key named `client` while a `with` block runs.

        Raises:
            ShareUsed: the key has as many requests as its share.
        """
        key = self._keys.get(client) or _Key()
        if key.requests + 1 > self.limits.requests - self.requests - 1 and self.requests:
            raise ShareUsed("requests")
        self._keys[client] = key
        self.requests += 1
        key.requests += 1
        return Lease(self, key, client)

    def leave(self, client: str) -> None:
        """Count one request less."""
        key = self._keys[client]
        self.requests -= 1
        key.requests -= 1
        if not key.requests:
            del self._keys[client]

    def take(self, key: _Key, amount: int) -> bool:
        """Count `amount` more bytes for `key` if its share allows this. Return whether it does."""
        if key.body_bytes + amount > self.limits.body_bytes - self.body_bytes - amount:
            return False
        key.body_bytes += amount
        self.body_bytes += amount
        return True

    def give_back(self, key: _Key, amount: int) -> None:
        """Count `amount` bytes less, and wake the bodies that wait for memory."""
        key.body_bytes -= amount
        self.body_bytes -= amount
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def freed(self) -> None:
        """Wait until some memory is free again."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)


class Lease:
    """The part of a key's share that one request uses in a `with` block. `turn` is the lock for parsing the body."""

    def __init__(self, shares: Shares, key: _Key, client: str) -> None:
        self._shares = shares
        self._key = key
        self._client = client
        self._amount = 0
        self.limits = shares.limits
        self.turn = key.turn

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._amount:
            self.free()
        self._shares.leave(self._client)

    async def hold(self, amount: int) -> None:
        """Count `amount` more bytes in memory. If there is no room, wait within the limits.

        Raises:
            ShareUsed: there was no room in time.
        """
        if amount <= 0:
            return
        if not self._shares.take(self._key, amount):
            await self._wait_for_room(amount)
        self._amount += amount

    async def _wait_for_room(self, amount: int) -> None:
        if self._key.waiting >= self.limits.waiting:
            raise ShareUsed("memory")
        self._key.waiting += 1
        try:
            async with asyncio.timeout(self.limits.wait_s):
                while not self._shares.take(self._key, amount):
                    await self._shares.freed()
        except TimeoutError:
            raise ShareUsed("memory") from None
        finally:
            self._key.waiting -= 1

    def free(self) -> None:
        """Count the request's bytes as freed."""
        amount, self._amount = self._amount, 0
        if amount:
            self._shares.give_back(self._key, amount)


# File descriptors for each client: its connection, one to a provider, and a reserve while connections open and close.
_FDS_PER_CLIENT: Final = 3
_OWN_FDS: Final = 64
_WANTED_FDS: Final = 8192
_ON_WINDOWS: Final = 512
_MOST: Final = 2048

if sys.platform == "win32":

    def most_connections() -> int:
        """How many clients may be connected."""
        return min(_MOST, _ON_WINDOWS)
else:
    import resource

    def most_connections() -> int:
        """How many clients may be connected, after raising the limit of open files as far as the system allows."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED_FDS if hard == resource.RLIM_INFINITY else min(_WANTED_FDS, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        limit = _WANTED_FDS if soft == resource.RLIM_INFINITY else soft
        return max(1, min(_MOST, (limit - _OWN_FDS) // _FDS_PER_CLIENT))
