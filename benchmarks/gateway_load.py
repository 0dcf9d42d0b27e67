"""Load for the gateway's benchmark: so many clients at once, each asking again as soon as it was answered."""

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
        self.going = True
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
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
            self._transport.close()

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

    def connection_lost(self, exc: Exception | None) -> None:
        if self.going or exc is not None:
            self.failed += 1
        if not self.over.done():
            self.over.set_result(None)


async def load(request: Request, *, clients: int, seconds: float) -> dict[str, float]:
    """Answers a second, and the median seconds to the first byte."""
    ends = b"\r\n0\r\n\r\n" if b'"stream":true' in request.body else None
    loop = asyncio.get_running_loop()
    opened = [
        await loop.create_connection(lambda: Client(request.raw(), ends), "127.0.0.1", request.port) for _ in range(clients)
    ]
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    done = sum(len(client.times) for _, client in opened)
    took = time.perf_counter() - began
    for _, client in opened:
        client.going = False
    await asyncio.wait([client.over for _, client in opened], timeout=90)
    times = [times for _, client in opened for times in client.times]
    failed = sum(client.failed for _, client in opened)
    firsts = [first for first, _ in times] or [0.0]
    return {"rate": done / took, "first": statistics.median(firsts), "failed": failed}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    request = Request(given["port"], sys.stdin.readline().strip(), given["body"].encode())
    print(json.dumps(asyncio.run(load(request, clients=given["clients"], seconds=given["seconds"]))))
