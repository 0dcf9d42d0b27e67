"""The connections of an HTTP client, none of which outlives it.

aiohttp ends a TLS connection with a close_notify and forgets it (RFC 8446 section 6.1 lets a client close without waiting for the
server's). If the server is slow to answer, the socket is still open when the client is closed, and stays open.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

import aiohttp

from portico.errors import NetworkError
from portico.oauth.resolver import DaemonResolver
from portico.store.atomic import read_file

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

CERTIFICATES_ENV: Final = "SSL_CERT_FILE"
_MOST_CERTIFICATES: Final = 16 << 20  # bytes; a system's own file has about 250 KB
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


def trusted_certificates() -> ssl.SSLContext:
    """The authorities that this machine trusts, or those in the file that `SSL_CERT_FILE` names. Blocks: it reads files.

    Raises:
        NetworkError: `certificates-unreadable`: that file has no end, or cannot be read; OpenSSL would wait for a FIFO for ever.
    """
    named = os.environ.get(CERTIFICATES_ENV)
    try:
        if named:
            read_file(named, _MOST_CERTIFICATES)
    except FileNotFoundError:
        pass  # then no server is trusted, which each request says
    except OSError as error:
        message = f"The certificates in {named} cannot be read."
        hint = f"Point {CERTIFICATES_ENV} at a file of certificates, or unset it."
        raise NetworkError("certificates-unreadable", message, unsent=True, why=error.strerror, hint=hint) from None
    return ssl.create_default_context()
