"""A server that sends its response in pieces, each only after its client had time to read the one before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from dataclasses import dataclass, field
from itertools import pairwise

from tests.session_rules import is_long_run

# A client on the same event loop takes four turns from readable bytes to a reader that waits for more.
TURNS = 12


async def turns(count=TURNS):
    """Let every task and socket of this loop do what it can."""
    for _ in range(count):
        await asyncio.sleep(0)


def response(body, *, status=200, content_type="application/json", headers=(), missing=0):
    """A whole response, or one whose body lacks its last `missing` bytes."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(body) + missing}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


def padded(fields, length, *, name="pad"):
    """`fields` as a JSON body of exactly `length` bytes."""
    short = json.dumps({**fields, name: ""}).encode()
    return json.dumps({**fields, name: "x" * (length - len(short))}).encode()


@dataclass
class Cut:
    """Answers each connection with `data`, cut at the offsets in `at`, after it has read the request."""

    data: bytes = b""
    at: tuple[int, ...] = ()
    pause_s: float = 0.0
    port: int = 0
    requests: list = field(default_factory=list)
    handling: set = field(default_factory=set)

    @property
    def origin(self):
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader, writer):
        self.handling.add(asyncio.current_task())
        try:
            await self.answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            self.handling.discard(asyncio.current_task())

    async def answer(self, reader, writer):
        self.requests.append(await received(reader))
        await self.send(writer, self.data)

    async def send(self, writer, data):
        await write_cut(writer, data, self.at, pause_s=self.pause_s)


async def received(reader):
    """The head and the body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    return head, await reader.readexactly(length)


async def write_cut(writer, data, at, *, pause_s=0.0):
    """Write `data` in the pieces that the offsets `at` cut it into."""
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start, end in pairwise([0, *sorted(at), len(data)]):
        writer.write(data[start:end])
        await writer.drain()
        await (asyncio.sleep(pause_s) if pause_s else turns())


async def answer_to(port, request, at=(), *, ends=False):
    """The whole response to `request` from a server of this loop, sent in the pieces that `at` cuts it into.

    With `ends` the client closes its side of the connection behind the request.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        await write_cut(writer, request, at)
        if ends:
            writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def cut_server(made=None, *, pause_s=0.0):
    """A `Cut` on a port of its own. A client in another thread or process needs `pause_s` seconds to read a piece."""
    made = made or Cut(pause_s=pause_s)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0, limit=1 << 20)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in made.handling:
            task.cancel()
        await asyncio.gather(*made.handling, return_exceptions=True)


def cuts(data):
    """Ways to send `data` in two pieces, and the one in one piece.

    In `make chaos` every one; else those at line ends, in and beside a character of several bytes, and at each eleventh byte.
    """
    return [(), *((at,) for at in range(1, len(data)) if is_long_run() or at % 11 == 0 or _is_seam(data[at - 1 : at + 1]))]


def _is_seam(pair):
    return any(byte in b"\r\n" or byte >= 0x80 for byte in pair)


async def failures(server, data, read):
    """The cuts of `data` for which `read()` does not return what it returns of `data` in one piece."""
    server.data, server.at = data, ()
    whole = await outcome(read)
    wrong = {}
    for at in cuts(data):
        server.at = at
        got = await outcome(read)
        if got != whole:
            wrong[at] = got
    return whole, wrong


async def outcome(read):
    """What `read()` returns, or the error that it raises, as something to compare."""
    try:
        return await read()
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is compared
        return type(error).__name__, getattr(error, "id", None), str(error)
