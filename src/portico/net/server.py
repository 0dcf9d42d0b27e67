"""HTTP servers on this machine: the sockets they listen on, and how little they give away.

Sockets are bound to loopback, so that only this machine can reach them (RFC 8252 sections 7.3 and 8.3).

aiohttp's own defaults would name its version, echo a malformed request line and log what was received:
`RequestHandler.handle_error` and the response class here replace them. A malformed request reaches no handler at all, and a
response holds nothing that its request brought.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import sys
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import ContentEncodingError

from portico.errors import REPORT_TO_AUTHOR, NoWayToSignIn
from portico.urls import EndpointRefused, is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from portico.interfaces.authorization import Redirect

_LINE_CAP: Final = 16 * 1024
# Bytes that are read of a request after its answer.
_LONGEST_REST: Final = 4 << 20
# Bytes, unpacked, that may have come of several requests behind the one that is being answered.
_MOST_AHEAD: Final = 64 << 10
_log = logging.getLogger(__name__)


class CallbackPortTaken(NoWayToSignIn):
    """The port that the sign-in's answer comes to cannot be opened."""

    id = "callback-port-taken"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a server lets its clients do. `idle_s`: seconds for a request's head, and between two requests.

    `connections`: the default is well below the fewest descriptors that a system gives a process (macOS: 256), with room for a
    burst of as many. `lingers_s`: how long the rest of a request is read that was answered before its end, so that its sender
    sees the answer and no reset; of 4 MiB at most. `cancels`: whether a client that goes away cancels what is done for it.
    `line_cap`: bytes of a request's first line. `head`: bytes that a request's head may have before its connection is closed;
    each of its other lines may have 16 KiB.
    """

    idle_s: float = 10.0
    connections: int = 64
    lingers_s: float = 0.0
    cancels: bool = False
    line_cap: int = _LINE_CAP
    head: int = 64 << 10


class QuietAnswer(web.Response):
    """A response without the name of the server software, after which the connection is closed unless `keeps_open`."""

    def __init__(
        self, status: int, body: bytes, *, content_type: str, headers: Mapping[str, str], keeps_open: bool = False
    ) -> None:
        super().__init__(status=status, body=body, headers=headers)
        if body:
            self.content_type, self.charset = content_type, "utf-8"
        if not keeps_open:
            self.force_close()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        self.headers.popall("Server", None)


@contextlib.contextmanager
def receiving(request: web.BaseRequest) -> Iterator[None]:
    """While the block runs the request's body is still to come: a server that ends does not wait for it."""
    handler = request.protocol
    if isinstance(handler, _Handler):
        handler.receive(begins=True)
    try:
        yield
    finally:
        if isinstance(handler, _Handler):
            handler.receive(begins=False)


class QuietServer(web.Server):
    """aiohttp's low-level server with bounded requests and connections, and no access log.

    `refuse` makes the answer, of a given status, to what cannot be understood or handled.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        refuse: Callable[[int], web.StreamResponse],
        bounds: Bounds | None = None,
    ) -> None:
        self._bounds = bounds or Bounds()
        super().__init__(handler, request_factory=_request, handler_cancellation=self._bounds.cancels)
        self.refuse = refuse

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        """Take a connection; with too many, the one that has waited longest for its request is closed, or else this one."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._bounds.connections:
            waiting = (each for each in self.connections if isinstance(each, _Handler) and each.is_waiting)
            next(waiting, handler).force_close()

    def pre_shutdown(self) -> None:
        """Take no more requests. One whose body has not come whole is not waited for: nothing more is read from here on."""
        super().pre_shutdown()
        for each in [*self.connections]:
            if isinstance(each, _Handler) and each.receives:
                each.force_close()

    def __call__(self) -> web.RequestHandler:
        limits: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": self._bounds.idle_s,
            "lingering_time": self._bounds.lingers_s,
            "max_line_size": self._bounds.line_cap,
            "max_field_size": _LINE_CAP,
        }
        return _Handler(self, self._bounds.head, **limits)


def _request(message: Any, payload: Any, protocol: web.RequestHandler, writer: Any, task: asyncio.Task[None]) -> web.BaseRequest:
    """A request. No protocol is served to which a connection could be upgraded, so an offer is ignored (RFC 9110 section 7.8).

    Behind an offer aiohttp's parser reads no further request, or skips what has come of one, so that it might take the middle of
    a request for the beginning of another: the connection is closed after the answer, which tells the client to send again.
    """
    if "Upgrade" in message.headers:
        message = message._replace(should_close=True)
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


class _Handler(web.RequestHandler):
    __slots__ = ("_head", "_longest_head", "_refuse", "_rest", "receives")

    def __init__(self, server: QuietServer, longest_head: int, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), logger=_log, **limits)
        self._refuse = server.refuse
        self._head = self._rest = 0
        self._longest_head = longest_head
        self.receives = False

    def data_received(self, data: bytes) -> None:
        """Take what has come. A head that does not end is held in memory, so it may only be so long."""
        requests = self._request_count
        if data:  # aiohttp calls this without any once a body was read
            self._head = self._head + len(data) if self._awaits_head() else 0
            self._rest += len(data) if self._reads_rest() else 0
        super().data_received(data)
        if self._request_count > requests:
            self._head = self._rest = 0
        elif self._head > self._longest_head or self._rest > _LONGEST_REST:
            self.force_close()
        if len(self._messages) > 1 and self._is_far_ahead():
            self.force_close()

    def _awaits_head(self) -> bool:
        """Whether what comes now is the head of a request: there is none, or the body of the last one has come whole."""
        if self._messages:
            return bool(self._messages[-1][1].is_eof())
        if self._current_request is not None:
            return self._current_request.content.is_eof()
        return self._waiter is not None and not self._waiter.done()

    def _is_far_ahead(self) -> bool:
        """Whether the client has sent so much more, before it has its answer, that one connection could fill the memory.

        aiohttp holds up to 32 whole requests, each unpacked. A single one waits for its turn to be read, as it would alone. A
        client that sends ahead has to send again what was not answered (RFC 9112 section 9.3.2).
        """
        ahead = [*self._messages][0 if self._waiter is None else 1 :]
        return len(ahead) > 1 and sum(_size(message, payload) for message, payload in ahead) > _MOST_AHEAD

    def _reads_rest(self) -> bool:
        """Whether what comes now is the rest of a request that was answered: it is read for nothing, and takes others' time."""
        return not self._request_in_progress and self._waiter is None

    def receive(self, *, begins: bool) -> None:
        """A request's body begins to be awaited, or it is not any more."""
        self.receives = begins
        if begins and self._close:  # the server is ending, and reads nothing more
            self.force_close()

    @property
    def is_waiting(self) -> bool:
        """Whether the head of a request has still to come."""
        return not (self._request_in_progress or self._messages or self._force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was received
    ) -> web.StreamResponse:
        _log.debug("a request could not be handled: %s", type(exc).__name__)
        if isinstance(exc, ContentEncodingError):
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        return self._refuse(status)


def _size(message: Any, payload: Any) -> int:
    """Bytes that are held of a request whose turn has not come."""
    head = sum(len(name) + len(value) for name, value in getattr(message, "raw_headers", ()))
    return head + len(getattr(message, "path", "")) + int(payload.total_bytes)


def is_for(request: web.BaseRequest, hosts: Collection[str]) -> bool:
    """Whether the request's own Host header is one of `hosts`, given once, and its target is in origin form.

    `request.host` will not do: aiohttp takes it from the target where that is a whole URL, and from the socket where there is no
    header at all.
    """
    given = request.headers.getall(hdrs.HOST, ())
    return len(given) == 1 and given[0].lower() in hosts and request.raw_path.startswith("/")


_BOTH_FAMILIES_TRIES: Final = 16
_NO_SUCH_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind_loopback(redirect: Redirect) -> list[socket.socket]:
    """Sockets that listen for `redirect`, all on one port.

    `localhost` is a name that a browser may resolve to either family, so both are bound, or neither: a stranger on the other one
    would be sent the code. A machine without IPv6 has nobody on `::1`, and IPv4 alone is enough there.

    Raises:
        ConfigError: `endpoint-refused`.
        NoWayToSignIn: `callback-port-taken`.
    """
    if not is_loopback(redirect.host):
        raise EndpointRefused(
            "The redirect's host must be 127.0.0.1, ::1 or localhost.",
            why="a listener that other machines can reach could be sent somebody else's code",
            hint=REPORT_TO_AUTHOR,
        )
    tries = _BOTH_FAMILIES_TRIES if redirect.host == "localhost" and redirect.port == 0 else 1
    for attempt in range(tries):
        try:
            return _bind_all(redirect)
        except OSError as error:
            if attempt == tries - 1:
                raise _taken(redirect, error) from None
    raise AssertionError("the last attempt returns or raises")


def _bind_all(redirect: Redirect) -> list[socket.socket]:
    if redirect.host != "localhost":
        family = socket.AF_INET6 if ":" in redirect.host else socket.AF_INET
        return [_bound(family, redirect.host, redirect.port)]
    first = _bound(socket.AF_INET, "127.0.0.1", redirect.port)
    try:
        return [first, _bound(socket.AF_INET6, "::1", first.getsockname()[1])]
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY:
            return [first]
        first.close()
        raise


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(listener.close)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            # Without it a second listener on the port would silently win.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Lets a fixed port be used again at once; it does not admit a second listener.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
        on_failure.pop_all()
    return listener


def _taken(redirect: Redirect, error: OSError) -> NoWayToSignIn:
    return CallbackPortTaken(
        f"Port {redirect.port} on {redirect.host} cannot be used for the sign-in's answer."
        if redirect.port
        else f"No port on {redirect.host} can be used for the sign-in's answer.",
        why=error.strerror,
        hint="Stop the program that uses the port, or pick another one with `--callback-port`, or use `--flow device`.",
    )
