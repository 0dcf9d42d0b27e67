"""The connections of an HTTP client, none of which outlives it.

aiohttp ends a TLS connection with a close_notify and forgets it (RFC 8446 section 6.1 lets a client close without waiting for the
server's). If the server is slow to answer, the socket is still open when the client is closed, and stays open.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import aiohttp

from portico.oauth.resolver import DaemonResolver

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

_TURNS: Final = 20  # of the event loop, in which asyncio closes a socket that has ended; it needs about three


class Connections(aiohttp.TCPConnector):
    """At most `limit` connections at once (0: any number); names are looked up on daemon threads.

    With `force_close` no connection is used for a second request.
    """

    def __init__(self, *, limit: int, force_close: bool = False) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        super().__init__(resolver=DaemonResolver(), limit=limit, force_close=force_close, socket_factory=self._socket)

    def _socket(self, address: AddrInfoType) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def close(self, *, abort_ssl: bool = False) -> None:
        """Close every connection, those as well whose server has not answered the close yet."""
        await super().close(abort_ssl=abort_ssl)
        for each in self._open():
            try:
                # Ends both directions, which asyncio then reads as the end of the connection.
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # not connected, or ended by the server
        for _ in range(_TURNS):
            if not self._open():
                return
            await asyncio.sleep(0)

    def _open(self) -> list[socket.socket]:
        return [each for each in self._sockets if each.fileno() != -1]
