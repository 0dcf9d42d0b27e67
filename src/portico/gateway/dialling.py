"""A connection to a provider: name looked up, proxy asked, TLS spoken (RFC 9110 section 9.3.6 for CONNECT)."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aiohappyeyeballs
import aiohttp
from aiohttp.client_proto import ResponseHandler

from portico.errors import NetworkError
from portico.oauth.http_errors import network_error
from portico.oauth.resolver import DaemonResolver

if TYPE_CHECKING:
    import ssl

    from portico.oauth.proxy import Proxy

CONNECT_TIMEOUT_S: Final = 8.0
_NEXT_ADDRESS_S: Final = 0.25  # RFC 8305 section 8
_LONGEST_REPLY: Final = 16 << 10
_OK: Final = b" 200"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections to one provider go. `trust` is None for plain HTTP; `proxy` is asked for a tunnel where there is one."""

    host: str
    port: int
    trust: ssl.SSLContext | None
    proxy: Proxy | None


async def dial(origin: Origin, url: str) -> ResponseHandler:
    """An open connection for requests to `url`, within eight seconds.

    Raises:
        NetworkError: it cannot be made; nothing was sent.
    """
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            return await _dialled(origin)
    except NetworkError:
        raise
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        failed = network_error(error, url)
        if failed.id == "network" and isinstance(error, OSError) and not isinstance(error, TimeoutError):
            failed.why = _reason(error)
        failed.unsent = True
        raise failed from None


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    # asyncio's own text repeats the address; the number behind it says what happened.
    return os.strerror(error.errno) if error.errno is not None else str(error)


async def _dialled(origin: Origin) -> ResponseHandler:
    loop = asyncio.get_running_loop()
    opened = await _reached(origin)
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if origin.proxy is not None:
            await _tunnel(opened, origin, origin.proxy)
        name = origin.host if origin.trust is not None else None
        _, protocol = await loop.create_connection(
            lambda: ResponseHandler(loop), sock=opened, ssl=origin.trust, server_hostname=name
        )
    except BaseException:
        opened.close()
        raise
    return protocol


async def _reached(origin: Origin) -> socket.socket:
    """A connected socket to the server, or to the proxy on the way to it."""
    host, port = origin.host, origin.port
    if origin.proxy is not None:
        from yarl import URL

        proxy = URL(origin.proxy.url)
        host, port = proxy.host or "", proxy.port or 80
    found = await DaemonResolver().resolve(host, port, socket.AF_UNSPEC)
    addresses: list[aiohappyeyeballs.AddrInfoType] = [
        (each["family"], socket.SOCK_STREAM, each["proto"], "", (each["host"], each["port"])) for each in found
    ]
    return await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1)


async def _tunnel(opened: socket.socket, origin: Origin, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    target = f"[{origin.host}]:{origin.port}" if ":" in origin.host else f"{origin.host}:{origin.port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *(f"{name}: {value}" for name, value in proxy.headers().items())]
    await loop.sock_sendall(opened, ("\r\n".join(lines) + "\r\n\r\n").encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        # Byte by byte would be exact; whatever a proxy sends behind its head before it is spoken to is not TLS.
        chunk = await loop.sock_recv(opened, 4096)
        reply += chunk
        if not chunk or len(reply) > _LONGEST_REPLY:
            raise aiohttp.ServerDisconnectedError
    status = reply.split(b"\r\n", 1)[0]
    if _OK not in status or not reply.endswith(b"\r\n\r\n"):
        code = status.split(b" ")[1:2] or [b"?"]
        raise NetworkError(
            "network",
            "The server cannot be reached.",
            unsent=True,
            why=f"the proxy answered HTTP {code[0].decode(errors='replace')[:3]}",
        )
