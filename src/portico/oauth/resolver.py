"""Name look-up that a program can leave behind.

asyncio looks names up in its default executor, whose threads hold the interpreter at exit: without a network a failed command
would hang until the resolver gives up. Daemon threads do not.
"""

from __future__ import annotations

import socket
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from portico.store.off_loop import off_loop

_AddressInfo = Any  # typeshed names a union of tuples here that no function signature can repeat


class DaemonResolver(AbstractResolver):
    """The system's own look-up, each on a daemon thread."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        try:
            found = await off_loop(
                lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            )
        except UnicodeError:
            raise OSError("the name cannot be looked up") from None
        return [_result(host, info) for info in found]

    async def close(self) -> None:
        """Nothing is kept."""


def _result(host: str, info: _AddressInfo) -> ResolveResult:
    family, _, proto, _, address = info
    return ResolveResult(
        hostname=host,
        host=str(address[0]),
        port=int(str(address[1])),
        family=family,
        proto=proto,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
