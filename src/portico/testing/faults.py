"""Faults of a test server, set for each endpoint and each request.

    faults = Faults()
    app = web.Application(middlewares=[faults.middleware])
    faults.add("/token", Fault(status=503, headers={"Retry-After": "2"}), Fault(drop="after"))

The first request to `/token` gets the 503, the second is processed and its response is lost, the third is served normally.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from portico.testing.grants import read_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiohttp.typedefs import Handler, Middleware


class Gate:
    """A gate where requests wait until a test releases them."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._open = asyncio.Event()

    async def reached(self) -> None:
        """Return when a request waits at the gate."""
        await self._reached.wait()

    def release(self) -> None:
        """Release all waiting and all later requests."""
        self._open.set()

    async def wait(self) -> None:
        """Wait at the gate. The request's handler calls this."""
        self._reached.set()
        await self._open.wait()


@dataclass(frozen=True, slots=True)
class Fault:
    """The fault of one request: first the delay, then the gate, then the other fields.

    `delay_s`: seconds to wait first. `gate`: wait until the test releases the gate. `drop` "before" closes the connection and
    processes nothing; "after" processes the request and closes without a response. `status`, `body`, `headers` replace the true
    response; the request is processed only if `processed` is True. If `body` is a function, it gets the request's form, to play
    a server that repeats the request. `half` sends the head and half of the body, then closes; without a `status` these are of
    the true response.
    """

    delay_s: float = 0.0
    gate: Gate | None = None
    drop: Literal["before", "after"] | None = None
    status: int | None = None
    body: str | bytes | Callable[[Mapping[str, str]], str] = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    processed: bool = False
    half: bool = False


class Faults:
    """A queue of faults for each path. `requests` counts all requests that arrived by path, also dropped requests."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self._queues: defaultdict[str, deque[Fault | None]] = defaultdict(deque)
        self._always: dict[str, Fault] = {}
        self._gates: list[Gate] = []

    def add(self, path: str, *faults: Fault | None) -> None:
        """Queue `faults` for the next requests to `path`. None serves one request normally."""
        self._queues[path].extend(faults)
        self._gates += [fault.gate for fault in faults if fault is not None and fault.gate is not None]

    def always(self, path: str, fault: Fault | None) -> None:
        """Apply `fault` to every request to `path` that has no queued fault. None stops this."""
        if fault is None:
            self._always.pop(path, None)
            return
        self._always[path] = fault
        if fault.gate is not None:
            self._gates.append(fault.gate)

    def clear(self) -> None:
        """Remove every fault, and release every waiting request."""
        self._queues.clear()
        self._always.clear()
        self.release_all()

    def release_all(self) -> None:
        """Open every gate."""
        for gate in self._gates:
            gate.release()

    def attach(self, app: web.Application) -> None:
        """Install the faults in `app`, and release all gates when `app` shuts down."""
        app.middlewares.append(self.middleware)
        app.on_shutdown.append(self._shut_down)

    @property
    def middleware(self) -> Middleware:
        """The aiohttp middleware that makes the faults."""

        @web.middleware
        async def meet(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._apply(request, handler)

        return meet

    async def _shut_down(self, _app: web.Application) -> None:
        self.release_all()

    async def _apply(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests[request.path] += 1
        queue = self._queues.get(request.path)
        fault = queue.popleft() if queue else self._always.get(request.path)
        if fault is None:
            return await handler(request)
        await asyncio.sleep(fault.delay_s)
        if fault.gate is not None:
            await fault.gate.wait()
        if fault.drop == "before":
            return _drop_connection(request)
        return await _faulty_response(request, handler, fault)


async def _faulty_response(request: web.Request, handler: Handler, fault: Fault) -> web.StreamResponse:
    response: web.StreamResponse | None = None
    if fault.status is None or fault.processed:
        response = await handler(request)
    if fault.drop == "after":
        return _drop_connection(request)
    if fault.status is not None:
        content = fault.body(await read_form(request)) if callable(fault.body) else fault.body
        body = content.encode() if isinstance(content, str) else content
        response = web.Response(status=fault.status, body=body, headers=fault.headers)
    assert response is not None
    return await _half_response(request, response) if fault.half else response


async def _half_response(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    body = response.body if isinstance(response, web.Response) else b""
    assert isinstance(body, bytes)
    partial = web.StreamResponse(status=response.status, headers=response.headers)
    partial.content_length = len(body)
    await partial.prepare(request)
    await partial.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return partial


def _drop_connection(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
