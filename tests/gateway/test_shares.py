"""What one gateway key may take, so that everybody else is still served: places, memory, and seconds for a body."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import time
from dataclasses import replace

import pytest

from portico.gateway import control
from portico.gateway.access import Shares, ShareUsed, requests_within
from portico.gateway.server import BOUNDS
from portico.testing.canary import canary
from tests.gateway.fronts import CHAT, MESSAGES, Limits, a_key, configure, gateway, with_key
from tests.gateway.helpers import get, status_of, wait_until
from tests.gateway.providers import DONE, END, STREAM_HEAD, WHOLE, answered, chunk, provider, word
from tests.key_index import key_index

MIB = 1 << 20
requests = pytest.mark.requirement("E123")
slowly = pytest.mark.requirement("E124")


def head(here, length, *, path=CHAT, key=None, **more):
    fields = {"Host": f"127.0.0.1:{here.port}", "Authorization": f"Bearer {key or here.key}", "Content-Type": "application/json"}
    fields |= {"Content-Length": length} if length is not None else {"Transfer-Encoding": "chunked"}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**fields, **more}.items()), "", ""]
    return "\r\n".join(lines).encode()


@contextlib.asynccontextmanager
async def sending(here, *data):
    """Connections that each send one of `data`, and nothing more."""
    opened = []
    for each in data:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(each)
        opened.append((reader, writer))
    try:
        yield [reader for reader, _ in opened]
    finally:
        for _, writer in opened:
            writer.close()


async def answer_of(reader):
    """Status, headers and body of one response."""
    async with asyncio.timeout(5):
        first, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in fields)}
        return int(first.split(" ")[1]), headers, json.loads(await reader.readexactly(int(headers["content-length"])))


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def hanging():
    """A provider that answers nothing until `over` is set."""
    over = asyncio.Event()

    async def hang(writer):
        await over.wait()
        writer.write(answered(WHOLE))

    async with provider(hang) as acme:
        yield acme, over


@pytest.fixture
def two_keys(paths):
    """Another key beside the gateway's own."""
    return with_key(paths, "other")


@requests
def test_one_key_gets_half_two_get_a_third_each_and_some_is_left_however_many_there_are():
    shares = Shares(Limits(requests=1200))
    with contextlib.ExitStack() as stack:

        def taken(key):
            before = shares.requests
            with contextlib.suppress(ShareUsed):
                while True:
                    stack.enter_context(shares.request(key))
            return shares.requests - before

        assert (taken("first"), taken("second"), taken("first")) == (600, 300, 0)
        assert [taken(f"key {number}") for number in range(6)] == [150, 75, 37, 19, 9, 5]
        assert shares.requests < 1200
        assert min(taken(f"late {number}") for number in range(2)) >= 1
    with contextlib.ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(shares.request("first"))
            stack.enter_context(shares.request("second"))
        with pytest.raises(ShareUsed):
            stack.enter_context(shares.request("first"))
    assert shares.requests == 0


@requests
def test_a_gateway_of_any_size_keeps_connections_for_health_and_those_that_are_turned_away():
    assert [requests_within(connections) for connections in (1, 2, 12, 320, 2048)] == [1, 1, 9, 272, 2000]


@requests
@pytest.mark.parametrize("path", [CHAT, MESSAGES], ids=["openai", "anthropic"])
async def test_a_key_with_its_share_of_requests_is_asked_to_wait_and_another_key_is_served(paths, two_keys, path):
    async with hanging() as (acme, over):
        configure(
            paths, {"acme": {"baseUrl": acme.base, "api": "anthropic-messages" if path == MESSAGES else "openai-completions"}}
        )
        async with gateway(paths, limits=Limits(requests=6)) as here:
            waiting = [asyncio.create_task(here.json(path)) for _ in range(3)]
            await until(lambda: acme.open == 3)
            status, reply, headers = await here.json(path)
            assert (status, headers["Retry-After"], headers["x-should-retry"]) == (429, "1", "true")
            assert ("type" in reply) == (path == MESSAGES)
            assert (reply["error"]["type"], reply["error"]["code"]) == ("rate_limit_error", "too-many-requests")
            others = asyncio.create_task(here.json(path, key=two_keys))
            await until(lambda: acme.open == 4)
            over.set()
            assert {each[0] for each in await asyncio.gather(*waiting, others)} == {200}
            await until(lambda: here.front.shares.requests == 0)
            assert (await here.json(path))[0] == 200


@requests
@slowly
async def test_half_sent_bodies_of_one_key_take_no_place_of_another_key_nor_of_health(paths, two_keys):
    connections = 12
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, bounds=replace(BOUNDS, connections=connections), limits=Limits(requests=9)) as here:
            half = head(here, 1000) + b"{"
            async with sending(here, *[half] * 3 * connections):
                await asyncio.sleep(0.1)
                assert (await here.json(key=two_keys))[0] == 200
                assert status_of(await asyncio.to_thread(get, here.port)) == 200


@requests
async def test_bodies_of_one_key_beyond_its_memory_are_refused_before_they_come_and_another_keys_are_taken(paths, two_keys):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, limits=Limits(body_bytes=4 * MIB, wait_s=0.05)) as here:
            half = head(here, MIB - 4096)
            async with sending(here, half, half, half) as readers:
                status, headers, reply = await answer_of(readers[2])
                assert (status, headers["retry-after"], headers["x-should-retry"]) == (503, "1", "true")
                assert (reply["error"]["type"], reply["error"]["code"]) == ("server_error", "bodies-too-large")
                body = b'{"messages":"' + b"x" * (MIB - 20000) + b'"}'
                assert (await here.json(body=body, key=two_keys))[0] == 200


@requests
async def test_the_memory_of_bodies_is_refused_in_anthropics_words_too(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    limits = Limits(body_bytes=MIB, wait_s=0.0)
    async with gateway(paths, limits=limits) as here, sending(here, head(here, MIB, path=MESSAGES)) as (reader,):
        status, _, reply = await answer_of(reader)
    assert (status, reply["type"], reply["error"]["type"]) == (503, "error", "overloaded_error")


@requests
async def test_a_body_waits_a_moment_for_the_memory_of_another(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, limits=Limits(body_bytes=2 * MIB, wait_s=5.0)) as here:
            body = b'{"messages":"' + b"x" * (MIB - 20000) + b'"}'
            async with sending(here, head(here, len(body))) as (first,):
                await until(lambda: here.front.shares.body_bytes)
                second = asyncio.create_task(here.json(body=body))
                await asyncio.sleep(0.05)
                assert acme.requests == []
                del first
            assert (await second)[0] == 200


@requests
async def test_only_so_many_bodies_of_a_key_wait_for_memory(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths, limits=Limits(body_bytes=2 * MIB, wait_s=30.0, waiting=1)) as here:
        half = head(here, MIB - 4096) + b"{"
        async with sending(here, half, half, half) as readers:
            answers = [asyncio.ensure_future(answer_of(reader)) for reader in readers]
            done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            assert [each.result()[0] for each in done] == [503]
            for each in waiting:
                each.cancel()


@requests
@pytest.mark.parametrize("packed", [False, True], ids=["chunked", "gzip"])
async def test_a_body_whose_length_nobody_says_is_counted_as_it_comes(paths, packed):
    body = b'{"messages":"' + b"x" * (4 * MIB) + b'"}'
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths, limits=Limits(body_bytes=4 * MIB, wait_s=0.0)) as here:
        sent = gzip.compress(body) if packed else body
        more = {"Content-Encoding": "gzip"} if packed else {}
        async with sending(here, head(here, len(sent) if packed else None, **more) + (sent if packed else chunk(sent))) as (
            reader,
        ):
            status, _, reply = await answer_of(reader)
    assert (status, reply["error"]["code"]) == (503, "bodies-too-large")


@requests
@pytest.mark.parametrize("key", [None, "wrong"])
async def test_without_a_key_a_request_takes_nothing_but_its_head(paths, key):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths, limits=Limits(requests=2, body_bytes=MIB)) as here:
        more = {"Authorization": f"Bearer {canary('wrong')}"} if key else {"Authorization": ""}
        async with sending(here, *[head(here, 8 * MIB, **more)] * 4) as readers:
            for reader in readers:
                assert (await answer_of(reader))[0] == 401
            assert (here.front.shares.requests, here.front.shares.body_bytes) == (0, 0)


@requests
async def test_a_stream_does_not_keep_the_memory_of_its_request(paths):
    over = asyncio.Event()

    async def stream(writer):
        writer.write(STREAM_HEAD + chunk(word("a")))
        await over.wait()
        writer.write(chunk(DONE) + END)

    async with provider(stream) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, limits=Limits(requests=10)) as here:
            async with here.ask(body={"stream": True, "messages": "x" * MIB}) as answer:
                await answer.content.readany()
                assert (here.front.shares.requests, here.front.shares.body_bytes) == (1, 0)
                over.set()
                await answer.read()
            await until(lambda: here.front.shares.requests == 0)


@requests
async def test_a_provider_that_takes_no_body_still_has_its_answer_read(paths):
    over = asyncio.Event()

    async def early(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answered({"error": {"message": "too large"}}, status=413))
        await over.wait()
        writer.close()

    server = await asyncio.start_server(early, "127.0.0.1", 0, limit=1 << 16)
    async with server:
        configure(paths, {"acme": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})
        async with gateway(paths) as here:
            assert (await here.json(body={"messages": "x" * (16 * MIB)}))[0] == 413
        over.set()


@requests
async def test_a_head_that_does_not_end_is_cut_off(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{here.port}\r\n".encode())
        with contextlib.suppress(ConnectionError):
            for number in range(100):
                writer.write(b"X-%d: %s\r\n" % (number, b"x" * 8000))
                await writer.drain()
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


@requests
async def test_little_is_read_of_a_request_that_was_turned_away(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths, limits=Limits(body_bytes=MIB, wait_s=0.0)) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(head(here, 30 * MIB))
        assert (await answer_of(reader))[0] == 503
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 30 * MIB:
                writer.write(bytes(MIB))
                await writer.drain()
                sent += MIB
        writer.close()
    assert sent < 30 * MIB


@requests
async def test_nothing_about_a_key_is_remembered_once_its_requests_are_over(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for number in range(3):
                key = canary(f"gatewaykey{number}")
                await asyncio.to_thread(key_index(paths).put, a_key(f"exec-tool-{number}", key))
                assert (await here.json(key=key))[0] == 200
            await until(lambda: here.front.shares.requests == 0)
            assert here.front.shares._keys == {}


@slowly
async def test_a_body_that_trickles_loses_its_place(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths, limits=Limits(silence_s=1.0, grace_s=0.3, rate=MIB)) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(head(here, 1000))
        began = time.monotonic()
        answer = asyncio.create_task(answer_of(reader))
        while not answer.done() and time.monotonic() < began + 3:
            writer.write(b" ")
            await asyncio.sleep(0.02)
        status, _, reply = await answer
        writer.close()
    assert (status, reply["error"]["code"], reply["error"]["message"]) == (408, "body-late", "The body arrives too slowly.")
    assert time.monotonic() < began + 1.5


@slowly
async def test_a_body_that_comes_slowly_but_fast_enough_is_waited_for(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, limits=Limits(silence_s=0.2, grace_s=0.3, rate=40 << 10)) as here:
            body = b'{"messages":"' + b"x" * (64 << 10) + b'"}'
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(head(here, len(body)))
            for at in range(0, len(body), 4 << 10):
                writer.write(body[at : at + (4 << 10)])
                await asyncio.sleep(0.04)
            assert (await answer_of(reader))[0] == 200
            writer.close()


@slowly
async def test_a_gateway_that_stops_waits_for_no_half_sent_body(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    half = 12
    bounds, limits = replace(BOUNDS, connections=half), Limits(requests=3 * half)
    async with (
        gateway(paths, bounds=bounds, limits=limits) as here,
        sending(here, *[head(here, 1000) + b"{"] * half) as readers,
    ):
        await until(lambda: here.front.shares.requests == half)
        began = time.monotonic()
        here.server.pre_shutdown()
        await here.server.shutdown(20)
        assert time.monotonic() < began + 2
        assert {await reader.read() for reader in readers} == {b""}


@slowly
def test_a_gateway_whose_requests_are_all_half_sent_stops_within_seconds(gateway_paths):
    configure(gateway_paths, {"acme": "http://127.0.0.1:9/v1"})
    key = with_key(gateway_paths)
    state = control.start(gateway_paths, port=0)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            opened = stack.enter_context(socket.create_connection(("127.0.0.1", state.port), timeout=5))
            lines = [
                f"POST {CHAT} HTTP/1.1",
                f"Host: 127.0.0.1:{state.port}",
                f"Authorization: Bearer {key}",
                "Content-Type: application/json",
                "Content-Length: 1000",
            ]
            opened.sendall("\r\n".join([*lines, "", "{"]).encode())
        wait_until(lambda: status_of(get(state.port)) == 200)
        began = time.monotonic()
        assert control.stop(gateway_paths) is not None
        assert time.monotonic() < began + 5


@requests
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_requests_that_are_sent_ahead_of_an_answer_take_no_memory_that_nobody_counts(paths, packed):
    async with hanging() as (acme, _):
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            body = b"{}"
            large = b'{"messages":["' + b"x" * (100_000 if packed else 20_000) + b'"]}'
            sent = gzip.compress(large) if packed else large
            more = {"Content-Encoding": "gzip"} if packed else {}
            ahead = (head(here, len(sent), **more) + sent) * 10
            async with sending(here, head(here, len(body)) + body) as [reader]:
                await until(lambda: acme.requests)
                [handler] = here.server.connections
                handler.data_received(ahead)
                async with asyncio.timeout(5):
                    assert await reader.read() == b""
                await until(lambda: not here.server.connections)


@requests
async def test_small_requests_may_be_sent_ahead_of_an_answer(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            body = b'{"messages":[]}'
            async with sending(here, (head(here, len(body)) + body) * 20) as [reader]:
                for _ in range(20):
                    assert (await answer_of(reader))[0] == 200


@requests
async def test_one_large_request_may_be_sent_ahead_of_an_answer(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            body, large = b'{"messages":[]}', b'{"messages":["' + b"x" * MIB + b'"]}'
            async with sending(here, head(here, len(body)) + body + head(here, len(large)) + large) as [reader]:
                for _ in range(2):
                    assert (await answer_of(reader))[0] == 200
