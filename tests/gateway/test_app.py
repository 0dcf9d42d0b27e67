"""Who the gateway answers, over raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest
from aiohttp import web

from portico.gateway.port import bind_port
from portico.gateway.server import BOUNDS, make_server
from portico.net.server import QuietServer
from portico.services.gateway_state import GatewayState, is_proof, new_challenge, new_key
from tests.gateway.helpers import body_of, status_of, talk

KEY = new_key()


@contextlib.asynccontextmanager
async def serving(bounds=BOUNDS):
    listener = bind_port(0)
    state = GatewayState(4711, listener.getsockname()[1], 1_700_000_000_000, "abcd", KEY)
    runner = web.ServerRunner(make_server(state, None, bounds))
    await runner.setup()
    await web.SockSite(runner, listener).start()
    yield state.port
    await runner.cleanup()


@pytest.fixture
async def port():
    async with serving() as port:
        yield port


async def ask(port, *headers, target="/health", method="GET", host=True):
    lines = [f"{method} {target} HTTP/1.1", *([f"Host: 127.0.0.1:{port}"] if host else []), "Connection: close", *headers]
    return await asyncio.to_thread(talk, port, ("\r\n".join(lines) + "\r\n\r\n").encode())


@pytest.mark.requirement("S9")
async def test_health_says_which_gateway_it_is_and_nothing_secret(port):
    head, _, body = (await ask(port)).partition(b"\r\n\r\n")
    fields = json.loads(body)
    version = fields.pop("version")
    assert version
    assert fields == {"status": "ok", "pid": 4711, "port": port, "startedAt": 1_700_000_000_000, "instance": "abcd"}
    assert b"Access-Control" not in head
    assert b"aiohttp" not in head
    assert b"Cache-Control: no-store" in head
    assert b"X-Content-Type-Options: nosniff" in head


async def test_a_challenge_is_answered_with_what_only_the_key_can_make(port):
    challenge, other = new_challenge(), new_challenge()
    proof = json.loads(body_of(await ask(port, target=f"/health?challenge={challenge}")))["proof"]
    assert is_proof(KEY, challenge, proof)
    assert not is_proof(KEY, other, proof), "an answer that was heard cannot be used again"
    assert not is_proof(new_key(), challenge, proof)
    assert KEY.reveal() not in proof


@pytest.mark.parametrize("challenge", ["", "00", "zz" * 32, "0" * 65, "%C3%A9"])
async def test_what_is_no_challenge_is_not_signed(port, challenge):
    assert "proof" not in json.loads(body_of(await ask(port, target=f"/health?challenge={challenge}")))


async def test_localhost_is_another_name_for_it(port):
    assert status_of(await ask(port, f"Host: localhost:{port}", host=False)) == 200


@pytest.mark.parametrize("target", ["/health", "/", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil.example:{port}",
        "127.evil.com:{port}",
        "",
    ],
)
async def test_a_foreign_host_is_refused_on_every_path(port, host, method, target):
    answer = await ask(port, f"Host: {host.format(port=port)}", host=False, target=target, method=method)
    assert status_of(answer) == 421
    assert b"abcd" not in answer


async def test_a_missing_double_or_absolute_host_is_refused(port):
    assert status_of(await ask(port, host=False)) in {400, 421}
    assert status_of(await ask(port, "Host: evil.example")) in {400, 421}
    assert status_of(await ask(port, target="http://evil.example/health")) == 421


@pytest.mark.parametrize(
    "header",
    ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"],
)
@pytest.mark.parametrize(("method", "target"), [("GET", "/health"), ("OPTIONS", "/health"), ("POST", "/nowhere")])
async def test_what_a_web_page_sends_is_refused(port, header, method, target):
    answer = await ask(port, header, method=method, target=target)
    assert status_of(answer) == 403
    assert b"Access-Control" not in answer


async def test_there_is_nothing_else_yet(port):
    assert status_of(await ask(port, target="/v1/models")) == 404
    assert status_of(await ask(port, method="POST", target="/health")) == 405


RUBBISH = [
    b"GET /CANARY HTTP/9.9\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: {host}\r\nAuthorization Bearer CANARY\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: {host}\r\nHost: CANARY\r\n\r\n",
    b"GET /" + b"CANARY" * 6000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
    b"CANARY\x00\xff\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: {host}\r\nContent-Length: CANARY\r\n\r\n",
    b"GET /CANARY HTTP/1.1\r\nHost: CANARY\r\nExpect: CANARY\r\nConnection: close\r\n\r\n",
    b"GET /CANARY HTTP/1.1\r\nHost: {host}\r\nExpect: CANARY\r\nConnection: close\r\n\r\n",
]


@pytest.mark.parametrize("request_", RUBBISH)
async def test_rubbish_is_refused_as_quietly_as_anything_else(port, request_, caplog):
    caplog.set_level("INFO")
    answer = await asyncio.to_thread(talk, port, request_.replace(b"{host}", f"127.0.0.1:{port}".encode()))
    assert status_of(answer) in {400, 404, 421}
    assert b"CANARY" not in answer
    assert b"aiohttp" not in answer
    assert b"Cache-Control: no-store" in answer
    assert json.loads(body_of(answer))["error"]["id"]
    assert caplog.text == ""


async def test_a_head_that_does_not_end_is_not_waited_for():
    async with serving(replace(BOUNDS, idle_s=0.1)) as port:
        for begun in (b"", b"G", b"GET /health HTTP/1.1\r\nHost: a\r\n"):
            assert await asyncio.to_thread(talk, port, begun) == b""


async def test_the_longest_waiting_connection_makes_room_for_a_new_one():
    async with serving(replace(BOUNDS, connections=2)) as port:
        first, second = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for _, writer in (first, second):
            writer.write(b"GET /health")
        assert status_of(await ask(port)) == 200
        assert await first[0].read() == b""
        second[1].write(f" HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert status_of(await second[0].read()) == 200
        for _, writer in (first, second):
            writer.close()


async def test_a_new_connection_is_closed_if_no_other_waits_for_a_request():
    answer = asyncio.Event()

    async def handle(_request):
        await answer.wait()
        return web.Response(text="answered")

    server = QuietServer(handle, lambda status: web.Response(status=status), replace(BOUNDS, connections=2))
    runner = web.ServerRunner(server)
    await runner.setup()
    listener = bind_port(0)
    await web.SockSite(runner, listener).start()
    port = listener.getsockname()[1]
    busy = [asyncio.create_task(ask(port)) for _ in range(2)]
    async with asyncio.timeout(5):
        while server.requests_count < 2:
            await asyncio.sleep(0.01)
        new, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await new.read() == b""
        answer.set()
        assert [body_of(each) for each in await asyncio.gather(*busy)] == [b"answered"] * 2
    writer.close()
    await runner.cleanup()
