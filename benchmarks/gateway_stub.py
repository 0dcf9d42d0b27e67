"""A provider of models for the gateway's benchmark: Chat Completions in one piece or in 200 events, as fast as asyncio writes."""

from __future__ import annotations

import asyncio
import json
import sys

EVENTS = 200
PAUSE = b'"pause":true'
_USAGE = {"prompt_tokens": 12, "completion_tokens": 200, "total_tokens": 212}
_CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "model": "bench",
    "choices": [{"index": 0, "delta": {"content": "word "}}],
}
_WHOLE = {
    "id": "c",
    "object": "chat.completion",
    "model": "bench",
    "choices": [{"message": {"content": "word " * 200}}],
    "usage": _USAGE,
}
_LAST = {**_CHUNK, "choices": [], "usage": _USAGE}
_JSON = json.dumps(_WHOLE).encode()
_EVENT = b"data: " + json.dumps(_CHUNK).encode() + b"\n\n"
_END = b"data: " + json.dumps(_LAST).encode() + b"\n\ndata: [DONE]\n\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_JSON)
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stub(asyncio.Protocol):
    """One connection. With `"stream":true` it answers in events; with `"pause":true` in one each half second, for a minute."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        self._received = b""
        if head.startswith(b"POST /fail/"):
            self._transport.write(b"HTTP/1.1 529 Overloaded\r\nContent-Length: 0\r\n\r\n")
        elif b'"stream":true' not in body:
            self._transport.write(_HEAD + _JSON)
        else:
            self._transport.write(_STREAM)
            self._send(0, slow=PAUSE in body)

    def _send(self, number: int, *, slow: bool) -> None:
        """Each event is a write of its own: a pass-through sees them come one by one."""
        if self._transport.is_closing():
            return
        if number == EVENTS or (slow and number == EVENTS * 3 // 5):
            self._transport.write(_chunked(_END) + b"0\r\n\r\n")
            return
        self._transport.write(_chunked(_EVENT))
        loop = asyncio.get_running_loop()
        if slow:
            loop.call_later(0.5, lambda: self._send(number + 1, slow=True))
        else:
            loop.call_soon(lambda: self._send(number + 1, slow=False))


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
