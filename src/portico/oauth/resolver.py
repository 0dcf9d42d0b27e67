"""Name look-up that a program can leave behind.

asyncio looks names up in its default executor, whose threads hold the interpreter at exit: without a network a failed command
would hang until the resolver gives up. Daemon threads do not.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Callable

_AddressInfo = Any  # typeshed names a union of tuples here that no function signature can repeat


class DaemonResolver(AbstractResolver):
    """The system's own look-up, each on a daemon thread."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await _on_daemon_thread(
            lambda: socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
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


async def _on_daemon_thread(look_up: Callable[[], list[_AddressInfo]]) -> list[_AddressInfo]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[list[_AddressInfo]] = loop.create_future()

    def settle(result: list[_AddressInfo] | None, error: OSError | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result or [])

    def run() -> None:
        result, failure = None, None
        try:
            result = look_up()
        except OSError as error:
            failure = error
        except UnicodeError:
            failure = OSError("the name cannot be looked up")
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="portico-resolver", daemon=True).start()
    return await future
