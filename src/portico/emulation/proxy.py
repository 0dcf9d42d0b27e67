"""A CONNECT proxy on loopback that answers for emulated hosts itself and refuses all others.

The proxy never opens a connection of its own: a program that is pointed at it either meets the emulator or nobody, so a test or a
demo cannot reach the real service by mistake.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

_HEAD_LIMIT: Final = 16 * 1024
_HEAD_TIMEOUT_S: Final = 10.0
_HEAD_END: Final = b"\r\n\r\n"
_TLS_PORT: Final = "443"


class EmulationProxy:
    """Listens on `127.0.0.1`, any port; `url` is what `HTTPS_PROXY` is set to.

    Args:
        hosts: for each emulated host name, what makes the protocol that serves a connection to it.
        tls: answers the TLS handshake for all of them.
    """

    def __init__(self, hosts: Mapping[str, Callable[[], asyncio.Protocol]], tls: ssl.SSLContext) -> None:
        self._hosts = hosts
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._sockets: weakref.WeakSet[asyncio.Transport] = weakref.WeakSet()
        self.url = ""

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Stop listening and drop every connection that has not reached an emulated host."""
        if self._server is None:
            return
        # asyncio leaves a connection open that it has accepted and not yet set up when its server closes (`Server._attach`). So
        # accepting ends first, and what was accepted is set up in the next turns of the loop.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._server.close()
        for connection in tuple(self._connections):
            connection.drop()
        handshakes = [connection.handshake for connection in self._connections if connection.handshake]
        await asyncio.gather(*handshakes, return_exceptions=True)

    async def abort(self) -> None:
        """Drop what is left once the emulated hosts have ended: TLS says goodbye and waits, and a client may never answer."""
        for transport in tuple(self._sockets):
            transport.abort()
        await asyncio.sleep(0)

    def _connection(self) -> _Connection:
        return _Connection(self._hosts, self._tls, self._connections, self._sockets)


class _Connection(asyncio.Protocol):
    """One client: reads the head of its request, then either refuses it or hands the socket to the emulated host."""

    def __init__(
        self,
        hosts: Mapping[str, Callable[[], asyncio.Protocol]],
        tls: ssl.SSLContext,
        open_connections: set[_Connection],
        sockets: weakref.WeakSet[asyncio.Transport],
    ) -> None:
        self._hosts = hosts
        self._tls = tls
        self._open_connections = open_connections
        self._sockets = sockets
        self._head = b""
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.handshake: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_server makes no other kind
        self._transport = transport
        self._open_connections.add(self)
        self._sockets.add(transport)
        self._deadline = asyncio.get_running_loop().call_later(_HEAD_TIMEOUT_S, self.drop)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._forget()

    def data_received(self, data: bytes) -> None:
        if self.handshake is not None:
            return
        self._head += data
        if _HEAD_END in self._head:
            self._handle_request(self._head.split(b"\r\n", 1)[0].decode("latin-1"))
        elif len(self._head) > _HEAD_LIMIT:
            self._reject("431 Request Header Fields Too Large", "The request's head is too long.")

    def drop(self) -> None:
        """End this connection at once."""
        if self.handshake is not None:
            self.handshake.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _handle_request(self, request_line: str) -> None:
        method, _, remainder = request_line.partition(" ")
        target = remainder.partition(" ")[0]
        host, _, port = target.rpartition(":")
        if method != "CONNECT":
            self._reject("403 Forbidden", "Portico's emulator answers only for HTTPS hosts, by CONNECT.")
        elif port != _TLS_PORT or host.lower() not in self._hosts:
            self._reject("403 Forbidden", "Portico's emulator does not answer for this host, and passes nothing on.")
        else:
            self._start_tls(self._hosts[host.lower()])

    def _reject(self, status: str, reason: str) -> None:
        assert self._transport is not None  # noqa: S101 - data came over it
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(reason)}\r\nConnection: close\r\n\r\n"
        self._transport.write((head + reason).encode())
        self._transport.close()

    def _start_tls(self, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        assert self._transport is not None  # noqa: S101 - data came over it
        self._transport.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        self.handshake = asyncio.get_running_loop().create_task(self._serve_tls(self._transport, make_protocol))

    async def _serve_tls(self, transport: asyncio.Transport, make_protocol: Callable[[], asyncio.Protocol]) -> None:
        protocol = make_protocol()
        loop = asyncio.get_running_loop()
        try:
            tls_transport = await loop.start_tls(transport, protocol, self._tls, server_side=True)
        except (OSError, asyncio.CancelledError):  # the client went away or does not trust the throwaway CA
            transport.abort()
            return
        finally:
            self._forget()
        if tls_transport is None or tls_transport.is_closing():
            return
        protocol.connection_made(tls_transport)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._open_connections.discard(self)
