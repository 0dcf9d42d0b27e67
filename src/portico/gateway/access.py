"""Who may talk to the gateway, on which paths, and how much of it each key may use.

Programs of this machine may, that address it as what it is, with a key of its own. A page in a browser reaches loopback too, by
a host name that was pointed at it (DNS rebinding, CVE-2025-66416) or by a plain cross-site request. Either shows in a header
that the browser sets and the page cannot.

A key may take more requests at once, or more memory for bodies, as long as it then has no more than is left for all others. So
one busy key gets half, two get a third each, and however many keys ask for too much, some is left for the next one. Routers
divide their buffers by this rule (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet Switches",
IEEE/ACM Transactions on Networking 6(2), 1998).

OpenAI's SDKs add `/chat/completions` to their base URL, which ends in `/v1`; Anthropic's add `/v1/messages` to theirs, which does
not (openai-python and anthropic-sdk-python: `_client.py`). A base URL of the other kind doubles the `/v1` or leaves it out.
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


@dataclass(frozen=True, slots=True, eq=False)  # there is one of each path
class Route:
    """A path that models answer at. `suffix` is what it has behind the protocol's own path at the provider.

    `counts`: it counts tokens and generates none, so that its failures say nothing of the model.
    """

    path: str
    api: ApiKind
    suffix: str = ""
    counts: bool = False

    def url(self, base: str, query: str) -> str:
        """Where a request goes at a provider: only the query comes from the client, as it was written."""
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
    """The path that a client has missed, and the base URL with which it would not. `route` is None for the list of models."""

    path: str
    route: Route | None
    advice: str


def meant_by(path: str, origin: str) -> Meant | None:
    """The path that was meant by one that is not served; None where it is near to none.

    `origin` is the gateway's own URL as the client reached it, without a path. Nothing of `path` is in what is returned.
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
# What stands before the rest of a path in base URLs of other servers and in misspelt ones.
_PREFIX: Final = re.compile(r"v\d*|api|anthropic|openai")


@lru_cache(maxsize=256)
def _at_provider(route: Route, base: str) -> str:
    return PROTOCOLS[route.api].url(base) + route.suffix


# Names that are looked up in every request: an `istr` is found without being put in small letters first.
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
# The codings of a body that the server undoes itself.
_CODINGS: Final = ("gzip", "deflate")
READABLE: Final[Mapping[str, str]] = MappingProxyType({"Accept-Encoding": ", ".join(_CODINGS)})
"""Where a client reads which codings it may use (RFC 9110 section 15.5.16)."""
WRONG_CODING: Final = (
    f"The Content-Encoding of the body is not understood. Send the body without one, or packed by {' or '.join(_CODINGS)}."
)


def local_hosts(port: int) -> frozenset[str]:
    """The values of `Host` that mean the gateway on `port`."""
    return frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})


def refusal(request: web.BaseRequest, hosts: frozenset[str]) -> QuietAnswer | None:
    """The answer to a foreign Host (421) and to whatever a web page sends (403), on every path; None for all others."""
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
    """Whether the body says that it is JSON, which no page can say without asking first (Fetch Standard, CORS-safelisted)."""
    content_type = request.headers.get(hdrs.CONTENT_TYPE, "")
    return content_type == _JSON or content_type.partition(";")[0].strip().lower() == _JSON


def is_readable(request: web.BaseRequest) -> bool:
    """Whether the body comes as it is, or in a coding that the server undoes."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING)
    return coding is None or coding.strip().lower() in {"", "identity", *_CODINGS}


def shown_keys(request: web.BaseRequest) -> list[str]:
    """The keys that a request shows: `Authorization: Bearer` and `x-api-key`, each at most once; none where one comes twice."""
    bearers, keys = request.headers.getall(hdrs.AUTHORIZATION, ()), request.headers.getall(_API_KEY, ())
    if len(bearers) > 1 or len(keys) > 1:
        return []
    tokens = [value[len(_BEARER) :].strip() for value in bearers if value[: len(_BEARER)].lower() == _BEARER]
    return [key for key in (*tokens, *keys) if len(key) <= _LONGEST_KEY]


def answer(status: int, value: object, headers: Mapping[str, str] = _NO_HEADERS, *, keeps_open: bool = False) -> QuietAnswer:
    """A JSON answer with the security headers."""
    body = json.dumps(value).encode()
    return QuietAnswer(status, body, content_type=_JSON, headers={**_HEADERS, **headers}, keeps_open=keeps_open)


def text(status: int, value: str, content_type: str) -> QuietAnswer:
    """A plain answer with the security headers."""
    return QuietAnswer(status, value.encode(), content_type=content_type, headers=_HEADERS)


def refused(status: int, id: str, message: str, request: web.BaseRequest | None = None, **headers: str) -> QuietAnswer:
    """An answer that says why not, in the shape of the protocol of the request's path, and nothing that was received."""
    route = ROUTES.get(request.raw_path.partition("?")[0]) if request is not None else None
    body = error_body(None if route is None else route.api, status, id, message)
    return answer(status, {**body, "error": {**body["error"], "id": id}}, headers)


def not_understood(status: int) -> QuietAnswer:
    """The answer to what reaches no handler, whose path is unknown: both protocols' clients find the message in it."""
    id, message, headers = "bad-request", f"{HTTPStatus(status).phrase}.", _NO_HEADERS
    if status == HTTPStatus.BAD_REQUEST:
        message = "The request is not valid HTTP."
    if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        id, message, headers = "wrong-content-coding", WRONG_CODING, READABLE
    error = error_body(None, status, id, message)["error"]
    return answer(status, {"type": "error", "error": {**error, "id": id}}, headers)


# Connections that are never taken by requests: for `/health`, for stopping, and for those that are turned away.
_SPARE: Final = 48


@dataclass(frozen=True, slots=True)
class Limits:
    """`requests` at once and `body_bytes` in memory, of all keys together.

    `wait_s`: seconds that a body waits for memory; `waiting`: how many of one key do so, as each has a beginning that has come.

    Seconds for a body: `silence_s` between two pieces; `grace_s`, and for every `rate` bytes that have come one more, but no more
    than `longest_s`, for all of it. Apache's mod_reqtimeout measures bodies in the same way.
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
        """Seconds that a body may have taken of which so many bytes have come."""
        return min(self.longest_s, self.grace_s + received / self.rate)


def requests_within(connections: int) -> int:
    """How many requests may be under way on so many connections."""
    return max(1, connections - min(_SPARE, max(1, connections // 4)))


class ShareUsed(Exception):
    """A key has its share of `what`: `requests` or `memory`."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(slots=True)
class _Key:
    """What one key has now. `turn` is held by the request whose body is being read through: one at a time for each key."""

    requests: int = 0
    body_bytes: int = 0
    waiting: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Shares:
    """What is taken, in all and by each key. For one event loop. A key that has nothing under way is not remembered."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.body_bytes = 0
        self._keys: dict[str, _Key] = {}
        self._waiting: set[asyncio.Future[None]] = set()

    def request(self, client: str) -> Lease:
        """A place for one request of the key named `client`, to be held by a `with` block.

        Raises:
            ShareUsed: the key has its share of places.
        """
        key = self._keys.get(client) or _Key()
        if key.requests + 1 > self.limits.requests - self.requests - 1 and self.requests:
            raise ShareUsed("requests")
        self._keys[client] = key
        self.requests += 1
        key.requests += 1
        return Lease(self, key, client)

    def leave(self, client: str) -> None:
        """Give the place of one request back."""
        key = self._keys[client]
        self.requests -= 1
        key.requests -= 1
        if not key.requests:
            del self._keys[client]

    def take(self, key: _Key, amount: int) -> bool:
        """Count `amount` bytes more for `key`, if that is within its share."""
        if key.body_bytes + amount > self.limits.body_bytes - self.body_bytes - amount:
            return False
        key.body_bytes += amount
        self.body_bytes += amount
        return True

    def give_back(self, key: _Key, amount: int) -> None:
        """Count `amount` bytes less, and let those that wait for memory look again."""
        key.body_bytes -= amount
        self.body_bytes -= amount
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    async def freed(self) -> None:
        """Return once some memory has been given back."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)


class Lease:
    """What one request has of its key's share, until the `with` block ends. `turn` is for reading its body through."""

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
        """Count `amount` bytes more in memory, waiting for others to be freed for as long as the limits say.

        Raises:
            ShareUsed: none were.
        """
        if amount <= 0:
            return
        if not self._shares.take(self._key, amount):
            await self._taken_later(amount)
        self._amount += amount

    async def _taken_later(self, amount: int) -> None:
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
        """The bytes are not in memory any more."""
        amount, self._amount = self._amount, 0
        if amount:
            self._shares.give_back(self._key, amount)


# A connection to a client, one to a provider, and some room for both to be opened and closed at once.
_EACH: Final = 3
_OWN: Final = 64
_WANTED: Final = 8192
_ON_WINDOWS: Final = 512
_MOST: Final = 2048

if sys.platform == "win32":

    def most_connections() -> int:
        """How many clients may be connected."""
        return min(_MOST, _ON_WINDOWS)
else:
    import resource

    def most_connections() -> int:
        """How many clients may be connected; the process's limit of descriptors is raised first, as far as the system allows."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        given = _WANTED if soft == resource.RLIM_INFINITY else soft
        return max(1, min(_MOST, (given - _OWN) // _EACH))
