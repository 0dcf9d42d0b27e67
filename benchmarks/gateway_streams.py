"""A thousand streams at once for a minute: memory beside a plain pass-through's; and what a fallback's answer costs."""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from figures import Figure, compile_everything
from gateway import FAILING, MESSAGES, Server, servers
from gateway_load import Request

STREAMS = 1_000
SETTLED_S, WHOLE_S = 15.0, 55.0
ASKED = 200


def measure() -> list[Figure]:
    """Memory for each stream beyond the floor's, how much it grows, and the milliseconds of a failover."""
    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name, servers(Path(name)) as (gateway, floor):
        before = {server.port: server.memory_kib() for server in (gateway, floor)}
        held = {server.port: asyncio.run(_streaming(server)) for server in (floor, gateway)}
        each = {server.port: (held[server.port][0] - before[server.port]) / STREAMS for server in (gateway, floor)}
        early, late = held[gateway.port]
        plain, failed_over, resting = asyncio.run(_falling_back(gateway))
    return [
        Figure("memory of a stream beyond the floor's", each[gateway.port] - each[floor.port], 25, "KiB", "of 1,000 at once"),
        Figure("growth of memory in 40 s of 1,000 streams", (late - early) / max(early, 1), 0.05, "", "0.05 = 5 %"),
        Figure("a fallback's answer after a failed try", (failed_over - plain) * 1000, 50, "ms", "beyond a plain answer"),
        Figure("a fallback's answer while the first one rests", resting / plain, 1.5, "x", "x = a plain answer"),
    ]


async def _streaming(server: Server) -> tuple[int, int]:
    """Private memory in KiB, early and late, while every client reads an event each half second."""
    body = json.dumps({"model": "bench/model", "stream": True, "pause": True, "messages": MESSAGES}, separators=(",", ":"))
    raw = Request(server.port, server.key, body.encode()).raw()
    readers = []
    for _ in range(STREAMS):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw)
        readers.append((asyncio.create_task(_drain(reader)), writer))
    await asyncio.sleep(SETTLED_S)
    early = server.memory_kib()
    await asyncio.sleep(WHOLE_S - SETTLED_S)
    late = server.memory_kib()
    ended = [task for task, _ in readers if task.done()]
    if ended:
        raise RuntimeError(f"{len(ended)} streams ended early")
    for task, writer in readers:
        task.cancel()
        writer.close()
    await asyncio.sleep(2)
    return early, late


async def _drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _falling_back(gateway: Server) -> tuple[float, float, float]:
    """Median seconds of a plain answer, of one after a failed try, and of one while the failed model rests."""
    plain = statistics.median([await _one(gateway, "bench/model") for _ in range(ASKED)])
    failed_over = [await _one(gateway, f"failing{number}/model") for number in range(FAILING)]
    resting = statistics.median([await _one(gateway, f"failing{FAILING - 1}/model") for _ in range(FAILING)])
    return plain, statistics.median(failed_over), resting


async def _one(gateway: Server, model: str) -> float:
    body = json.dumps({"model": model, "messages": MESSAGES, "stream": False}, separators=(",", ":"))
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    began = time.perf_counter()
    writer.write(Request(gateway.port, gateway.key, body.encode()).raw())
    head = await reader.readuntil(b"\r\n\r\n")
    took = time.perf_counter() - began
    writer.close()
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    return took


if __name__ == "__main__":
    print(*measure(), sep="\n")
