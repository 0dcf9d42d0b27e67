"""Load for the gateway's benchmark: so many clients at once, each asking again as soon as it was answered.

After the key, each line of standard input is how many seconds they go on for, and gets a line of JSON with what came of it.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """What each client sends, over and over."""

    port: int
    key: str
    body: bytes

    def raw(self) -> bytes:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        )
        return head.encode() + self.body


class Client(asyncio.Protocol):
    """One connection. `times` has the seconds to the first byte and to the end of each answer."""

    def __init__(self, request: bytes, ends: bytes | None) -> None:
        self._request = request
        self._ends = ends
        self.times: list[tuple[float, float]] = []
        self.failed = 0
        self.going = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def start(self) -> None:
        """Ask, until `going` is false; `over` is then done once the last answer has come."""
        self.going, self.times, self.over = True, [], asyncio.get_running_loop().create_future()
        self._ask()

    def _ask(self) -> None:
        self._received = b""
        self._first = 0.0
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        self._received = (
            (self._received + data) if self._ends is None else (self._received + data)[-4096:] if self._received else data
        )
        if not self._whole():
            return
        self.times.append((self._first - self._began, time.perf_counter() - self._began))
        if self.going:
            self._ask()
        else:
            self.over.set_result(None)

    def _whole(self) -> bool:
        if self._ends is not None:
            return self._received.endswith(self._ends)
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            self.failed += 1
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return len(body) >= length

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self.failed += 1
        if not self.over.done():
            self.over.set_result(None)


async def turn(clients: list[Client], seconds: float) -> dict[str, float]:
    """Answers in all, and a second, and the median seconds to the first byte."""
    began = time.perf_counter()
    for client in clients:
        client.start()
    await asyncio.sleep(seconds)
    for client in clients:
        client.going = False
    await asyncio.wait([client.over for client in clients], timeout=90)
    took = time.perf_counter() - began
    firsts = [first for client in clients for first, _ in client.times] or [0.0]
    failed = sum(client.failed for client in clients)
    return {"answers": len(firsts), "rate": len(firsts) / took, "first": statistics.median(firsts), "failed": failed}


async def main(request: Request, number: int) -> None:
    ends = b"\r\n0\r\n\r\n" if b'"stream":true' in request.body else None
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(lambda: Client(request.raw(), ends), "127.0.0.1", request.port) for _ in range(number)]
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await turn([client for _, client in opened], float(line))), flush=True)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    request = Request(given["port"], sys.stdin.readline().strip(), given["body"].encode())
    asyncio.run(main(request, given["clients"]))
