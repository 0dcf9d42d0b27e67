"""HTTP servers on loopback that limit their clients and disclose nothing.

Sockets are bound to loopback, so that only this machine can reach them (RFC 8252 sections 7.3 and 8.3).

By default aiohttp sends its version, repeats a malformed request line in the response, and logs received data.
`_Handler.handle_error` and `QuietAnswer` prevent this. A malformed request reaches no handler, and no response repeats data of
its request.
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
# Bytes of a request that are read after its response was sent.
_LONGEST_REST: Final = 4 << 20
# How many decompressed bytes of pipelined requests may wait behind the current request.
_MOST_AHEAD: Final = 64 << 10
_log = logging.getLogger(__name__)


class CallbackPortTaken(NoWayToSignIn):
    """The port for the callback of a sign-in cannot be opened."""

    id = "callback-port-taken"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a server for its clients. `idle_s`: seconds for the headers of a request, and between two requests.

    `connections`: how many clients may be connected. The default is less than half of the smallest limit of open files (macOS:
    256). `lingers_s`: how long the server reads on (at most 4 MiB) after it answered an incomplete request, so that the client
    sees the response and not a reset. `cancels`: whether the handler of a request is cancelled if the client disconnects.
    `line_cap`: bytes of a request's first line. `head`: bytes of first line and headers before the connection is closed; each
    header line may have 16 KiB.
    """

    idle_s: float = 10.0
    connections: int = 64
    lingers_s: float = 0.0
    cancels: bool = False
    line_cap: int = _LINE_CAP
    head: int = 64 << 10


class QuietAnswer(web.Response):
    """A response without the name of the server software. The connection is closed after the response unless `keeps_open`."""

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
    """Mark the request's body as incomplete during a `with` block: a server that shuts down does not wait for it."""
    handler = request.protocol
    if isinstance(handler, _Handler):
        handler.set_receiving(True)
    try:
        yield
    finally:
        if isinstance(handler, _Handler):
            handler.set_receiving(False)


class QuietServer(web.Server):
    """aiohttp's low-level server with bounded requests and connections, and no access log.

    For a request that cannot be parsed or handled, `refuse` makes the response with a given status.
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
        """Accept a connection.

        If there are too many, close the connection that has waited longest for a request; if none waits, close this new
        connection.
        """
        super().connection_made(handler, transport)
        if len(self.connections) > self._bounds.connections:
            waiting = (each for each in self.connections if isinstance(each, _Handler) and each.is_waiting)
            next(waiting, handler).force_close()

    def pre_shutdown(self) -> None:
        """Accept no more requests, and close connections with an incomplete body, because nothing more will be read."""
        super().pre_shutdown()
        for each in [*self.connections]:
            if isinstance(each, _Handler) and each.is_receiving:
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
    """Make a request object, and ignore an offer to upgrade the protocol (RFC 9110 section 7.8).

    After such an offer aiohttp's parser skips received data, and could read the middle of a request as the start of the next
    request. So the connection is closed after the response, and the client must open a new connection.
    """
    if "Upgrade" in message.headers:
        message = message._replace(should_close=True)
    return web.BaseRequest(message, payload, protocol, writer, task, asyncio.get_running_loop())


class _Handler(web.RequestHandler):
    __slots__ = ("_head", "_longest_head", "_refuse", "_rest", "is_receiving")

    def __init__(self, server: QuietServer, longest_head: int, **limits: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), logger=_log, **limits)
        self._refuse = server.refuse
        self._head = self._rest = 0
        self._longest_head = longest_head
        self.is_receiving = False

    def data_received(self, data: bytes) -> None:
        """Handle received data, and close the connection of a client that sends too much data."""
        requests = self._request_count
        if data:  # aiohttp calls this with no data after a body was read
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
        """Whether the next data belongs to the head of a request."""
        if self._messages:
            return bool(self._messages[-1][1].is_eof())
        if self._current_request is not None:
            return self._current_request.content.is_eof()
        return self._waiter is not None and not self._waiter.done()

    def _is_far_ahead(self) -> bool:
        """Whether a client has pipelined too many bytes.

        aiohttp keeps up to 32 whole decompressed requests in memory for each connection. One waiting request is always allowed.
        A client that pipelines must resend unanswered requests (RFC 9112 section 9.3.2).
        """
        ahead = [*self._messages][0 if self._waiter is None else 1 :]
        return len(ahead) > 1 and sum(_size(message, payload) for message, payload in ahead) > _MOST_AHEAD

    def _reads_rest(self) -> bool:
        """Whether the next data is the rest of an answered request. This rest is discarded."""
        return not self._request_in_progress and self._waiter is None

    def set_receiving(self, is_receiving: bool) -> None:
        """Set whether the body of the current request is incomplete."""
        self.is_receiving = is_receiving
        if is_receiving and self._close:  # the server is shutting down and reads nothing more
            self.force_close()

    @property
    def is_waiting(self) -> bool:
        """Whether the connection waits for the head of a request."""
        return not (self._request_in_progress or self._messages or self._force_close)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes received data
    ) -> web.StreamResponse:
        _log.debug("a request could not be handled: %s", type(exc).__name__)
        if isinstance(exc, ContentEncodingError):
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        if request.writer.output_size > 0:
            raise ConnectionError("the response was already started")
        return self._refuse(status)


def _size(message: Any, payload: Any) -> int:
    """The bytes in memory of a pipelined request."""
    head = sum(len(name) + len(value) for name, value in getattr(message, "raw_headers", ()))
    return head + len(getattr(message, "path", "")) + int(payload.total_bytes)


def is_for(request: web.BaseRequest, hosts: Collection[str]) -> bool:
    """Whether the request has exactly one Host header, the header's value is in `hosts`, and the target has the origin form.

    `request.host` is not used: if the target is a whole URL, aiohttp takes the host from the target; without a Host header,
    from the socket.
    """
    values = request.headers.getall(hdrs.HOST, ())
    return len(values) == 1 and values[0].lower() in hosts and request.raw_path.startswith("/")


_BOTH_FAMILIES_TRIES: Final = 16
_NO_SUCH_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind_loopback(redirect: Redirect) -> list[socket.socket]:
    """Return sockets that listen for `redirect`, all on one port.

    A browser may resolve `localhost` to IPv4 or IPv6, so both addresses are bound, or none. If only one were bound, another
    user's program could bind the other address and receive the code. On a machine without IPv6, IPv4 alone is enough.

    Raises:
        ConfigError: `endpoint-refused`.
        NoWayToSignIn: `callback-port-taken`.
    """
    if not is_loopback(redirect.host):
        raise EndpointRefused(
            "The redirect's host must be 127.0.0.1, ::1 or localhost.",
            why="a listener that other machines can reach could receive another user's code",
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
            # Without this option, a second program could listen on the port and receive the connections.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # A fixed port can be bound again at once. This option does not allow two listeners at the same time.
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
