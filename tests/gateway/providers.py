"""A provider of models whose every byte a test decides, over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
from dataclasses import dataclass, field


@dataclass
class Received:
    """One request as it came."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def path(self):
        return self.line.split(" ")[1]

    def header(self, name):
        return next((value for key, value in self.headers if key.lower() == name), None)

    def json(self):
        return json.loads(self.body)


@dataclass
class Provider:
    """Answers each request with the next of `answers`, the last one again and again: bytes, or a coroutine function of the writer."""

    answers: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    connections: int = 0
    open: int = 0
    port: int = 0

    @property
    def base(self):
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader, writer):
        self.connections += 1
        self.open += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.requests.append(request)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if callable(answer):
                    await while_connected(answer(writer), reader)
                else:
                    writer.write(answer)
                    await writer.drain()
                if writer.transport.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


async def while_connected(answer, reader):
    """Let the answer be given up when the other side goes away, as a provider would."""
    answering, gone = asyncio.ensure_future(answer), asyncio.ensure_future(reader.read(1))
    await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
    if answering.done():
        gone.cancel()
        await asyncio.wait([gone])
        answering.result()
        return
    answering.cancel()
    raise ConnectionResetError


async def read_request(reader):
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    line, *rest = head.decode("latin-1").split("\r\n")[:-2]
    headers = [(name, value.strip()) for name, _, value in (each.partition(":") for each in rest)]
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Received(line, headers, await reader.readexactly(length))


@contextlib.asynccontextmanager
async def provider(*answers):
    made = Provider([*answers])
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0, limit=1 << 20)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def answered(body, *headers, status=200, content_type="application/json"):
    """A whole answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


async def closed(writer):
    writer.close()


async def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def event(fields):
    return b"data: " + (fields if isinstance(fields, bytes) else json.dumps(fields).encode()) + b"\n\n"


def word(text):
    return event({"choices": [{"index": 0, "delta": {"content": text}}]})


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DONE = event({"choices": [], "usage": USAGE}) + event(b"[DONE]")
WHOLE = {"id": "c", "object": "chat.completion", "choices": [{"message": {"content": "yes"}}], "usage": USAGE}


def streamed(*events):
    return STREAM_HEAD + b"".join(map(chunk, events)) + END


MESSAGE_EVENTS = (
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "yes"}},
    {"type": "message_stop"},
)
RESPONSE_EVENTS = (
    {"type": "response.output_text.delta", "delta": "yes"},
    {"type": "response.completed", "response": {"usage": {"input_tokens": 1, "output_tokens": 1}}},
)
# The answer "yes" over each protocol, by its path.
STREAMS = {
    "/v1/chat/completions": streamed(word("yes"), DONE),
    "/v1/messages": streamed(*map(event, MESSAGE_EVENTS)),
    "/v1/responses": streamed(*map(event, RESPONSE_EVENTS)),
}


@contextlib.contextmanager
def provider_beside(*answers):
    """As `provider`, on a thread of its own, for a test that runs commands in this one."""
    loop, ready, over, made = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), []

    async def serve():
        async with provider(*answers) as one:
            made.append(one)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="a provider")
    thread.start()
    assert ready.wait(5)
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(5)
        loop.close()
