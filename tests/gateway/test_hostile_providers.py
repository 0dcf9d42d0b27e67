"""Providers and clients that hang, break off, send too much or go away, and what the other side sees of it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import aiohttp
import pytest

from portico.errors import NetworkError
from portico.gateway.access import Limits
from portico.net.client import HttpClient
from tests.gateway.fronts import CHAT, configure, gateway
from tests.gateway.helpers import status_of
from tests.gateway.providers import DONE, END, STREAM_HEAD, WHOLE, answered, chunk, closed, provider, reset, word

BODY = {"stream": True, "messages": []}


async def until(condition, timeout_s=5.0):
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)


async def hang(writer):
    await asyncio.Event().wait()


async def half_a_head(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-")
    await hang(writer)


async def half_a_stream(writer):
    writer.write(STREAM_HEAD + chunk(word("one")))
    await hang(writer)


def breaking(how):
    async def answer(writer):
        writer.write(STREAM_HEAD + chunk(word("one")) + b'40\r\ndata: {"cho')
        await writer.drain()
        if how == "reset":
            writer.transport.abort()
        else:
            writer.close()

    return answer


@pytest.mark.requirement("E68")
@pytest.mark.parametrize("how", ["reset", "closed"])
async def test_a_provider_that_breaks_off_is_an_abort_at_the_client_and_never_a_clean_end(paths, how):
    async with provider(breaking(how)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            with pytest.raises(aiohttp.ClientPayloadError):
                async with here.ask(body=BODY) as answer:
                    await answer.read()
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(request(here, json.dumps(BODY).encode()).replace(b"HTTP/1.1", b"HTTP/1.0"))
            with pytest.raises(ConnectionResetError):
                while await reader.read(65536):
                    pass
            writer.close()
            await until(lambda: len(here.outcomes) == 2)
    assert {(each.end, "broke off" in each.why) for each in here.outcomes} == {("cut", True)}


@pytest.mark.requirement("E68")
async def test_a_client_that_goes_away_ends_the_providers_work_within_a_second(paths):
    async with provider(half_a_stream) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            answer = await here.ask(body=BODY)
            assert await answer.content.readany() == word("one")
            assert acme.open == 1
            answer.close()
            await until(lambda: acme.open == 0, 1.0)
            await until(lambda: here.outcomes)
            assert here.front.metrics.in_progress == 0
    assert here.outcomes[0].end == "client-gone"


async def test_a_client_that_goes_away_before_the_answer_begins_does_so_too(paths):
    async with provider(hang) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            asking = asyncio.create_task(here.json(body=BODY))
            await until(lambda: acme.requests)
            asking.cancel()
            await until(lambda: acme.open == 0, 1.0)
            await until(lambda: here.front.shares.requests == 0, 1.0)
            assert (here.front.metrics.in_progress, here.front.shares.body_bytes) == (0, 0)


@pytest.mark.requirement("E72")
@pytest.mark.parametrize("answer", [hang, half_a_head])
async def test_a_provider_that_says_nothing_is_given_up(answer):
    async with provider(answer) as acme, HttpClient(silence_s=0.2) as http:
        with pytest.raises(NetworkError, match="no answer in time"):
            await asyncio.wait_for(http.send(acme.base + "/x", body=b"{}", headers={}), 5)


@pytest.mark.requirement("E72")
async def test_a_provider_that_falls_silent_within_a_stream_is_given_up():
    async with provider(half_a_stream) as acme, HttpClient(silence_s=0.2) as http:
        answer = await http.send(acme.base + "/x", body=b"{}", headers={})
        chunks = answer.chunks()
        assert await anext(chunks) == word("one")
        with pytest.raises(NetworkError, match=r"broke off.*no answer in time"):
            await asyncio.wait_for(anext(chunks), 5)
        answer.close()


@pytest.mark.requirement("E72")
@pytest.mark.parametrize(
    ("base", "status", "why"),
    [
        ("http://127.0.0.1:{port}/v1", 502, "refused"),
        ("https://127.0.0.1:{port}/v1", 502, "refused"),
        ("https://no-such-host.invalid/v1", 502, "cannot be resolved"),
    ],
)
async def test_a_provider_that_cannot_be_reached_is_told_with_its_cause(paths, unused_tcp_port, base, status, why):
    configure(paths, {"acme": {"baseUrl": base.format(port=unused_tcp_port), "apiKey": "sk-secret-1234567890"}})
    async with gateway(paths) as here:
        got, reply, _ = await here.json(body=BODY)
    assert got == status
    assert why in reply["error"]["message"]
    assert "sk-secret" not in json.dumps(reply)


@pytest.mark.requirement("E72")
async def test_a_certificate_that_nobody_trusts_is_named(paths):
    import ssl

    trustme = pytest.importorskip("trustme", reason="trustme is not installed")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    configure(paths, {"acme": f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"})
    async with gateway(paths) as here:
        got, reply, _ = await here.json(body=BODY)
    server.close()
    assert got == 502
    assert "certificate cannot be trusted" in reply["error"]["message"]


@pytest.mark.requirement("E71")
async def test_a_client_that_reads_slowly_holds_the_provider_back(paths):
    sent = 0

    async def flood(writer):
        nonlocal sent
        writer.write(STREAM_HEAD)
        for _ in range(2000):
            writer.write(chunk(word("y" * 16_000)))
            await writer.drain()
            sent += 16_000
        writer.write(chunk(DONE) + END)

    async with provider(flood) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port, limit=1 << 16)
            writer.write(request(here, json.dumps(BODY).encode()))
            before = -1
            while before != sent:
                before = sent
                await asyncio.sleep(0.1)
            assert 0 < sent < 16_000_000, "most of 32 MB waits at the provider"
            received = 0
            while data := await reader.read(1 << 20):
                received += len(data)
                if data.endswith(END):
                    break
            assert received > 32_000_000
            writer.close()


@pytest.mark.linux
@pytest.mark.requirement("E71")
@pytest.mark.parametrize(
    ("streams", "seconds"), [(50, 2), pytest.param(500, 60, marks=[pytest.mark.slow, pytest.mark.timeout(180)])]
)
async def test_many_streams_take_no_more_memory_files_or_tasks_the_longer_they_last(paths, streams, seconds):
    over = asyncio.Event()

    async def steady(writer):
        writer.write(STREAM_HEAD)
        while not over.is_set():
            writer.write(chunk(word("z" * 200)))
            await asyncio.sleep(0.1)
        writer.write(chunk(DONE) + END)

    async def read(session, here):
        async with session.post(here.url + CHAT, json=BODY, headers={"x-api-key": here.key}) as answer:
            received = 0
            async for piece in answer.content.iter_any():
                received += len(piece)
            return received

    async with provider(steady) as acme, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            reading = [asyncio.create_task(read(session, here)) for _ in range(streams)]
            await until(lambda: acme.open == streams, timeout_s=20)
            await asyncio.sleep(seconds / 4)
            early = held()
            await asyncio.sleep(seconds * 3 / 4)
            late = held()
            over.set()
            received = await asyncio.gather(*reading)
            await until(lambda: len(here.outcomes) == streams)

    assert min(received) > 200 * seconds
    assert {outcome.end for outcome in here.outcomes} == {"answered"}
    assert late[1:] == early[1:]
    assert late[0] - early[0] < 4096 * streams, "bytes of memory"


def held():
    """Bytes of memory, open files, and tasks of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len([*Path("/proc/self/fd").iterdir()]), len(asyncio.all_tasks())


@pytest.mark.requirement("E71")
async def test_a_body_as_long_as_is_allowed_passes_and_one_byte_more_does_not(paths):
    long = b'{"messages":"' + b"x" * ((32 << 20) - 15) + b'"}'
    assert len(long) == 32 << 20
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for body, status in ((long, 200), (long + b" ", 413)):
                headers = {"x-api-key": here.key, "Content-Type": "application/json"}
                async with here.session.post(here.url + CHAT, data=pieces(body), headers=headers) as answer:
                    assert answer.status == status
    (passed,) = acme.requests
    assert len(passed.body) == len(long) + len('"model":"model",')


async def pieces(data):
    for at in range(0, len(data), 1 << 20):
        yield data[at : at + (1 << 20)]


@pytest.mark.parametrize(
    ("body", "id"),
    [
        (b"", "bad-json"),
        (b"[]", "bad-json"),
        (b'{"model"', "bad-json"),
        (b'{"a":1} x', "bad-json"),
        (b"\xff{}", "bad-json"),
        (b"[" * 100_000, "bad-json"),
        (b'{"a":' + b"[" * 100_000 + b"}", "bad-json"),
        (b'{"model":"acme/model","model":"other/model"}', "model-twice"),
        (b'{"model":"acme/model","mod\\u0065l":"other/model"}', "model-twice"),
        (b'{"model":5}', "bad-model-name"),
        (b'{"model":null}', "bad-model-name"),
    ],
)
async def test_a_body_that_is_not_one_is_refused_and_nobody_is_asked(paths, body, id):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, _ = await here.json(body=body)
    assert (status, reply["error"]["code"]) == (400, id)
    assert acme.requests == []


async def test_a_body_that_does_not_come_is_not_waited_for(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths, limits=Limits(silence_s=0.1)) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(request(here, b"", length=100))
        assert status_of(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)) == 408
        writer.close()


@pytest.mark.requirement("E70")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed_and_takes_no_credential_along(paths, status):
    async with provider(answered(WHOLE)) as elsewhere, provider() as acme:
        acme.answers = [answered(b"", f"Location: {elsewhere.base}/chat/completions", status=status)]
        configure(paths, {"acme": {"baseUrl": acme.base, "apiKey": "sk-1234567890"}})
        async with gateway(paths) as here:
            got, reply, headers = await here.json(body=BODY)
    assert elsewhere.requests == []
    assert got == 502
    assert "redirects" in reply["error"]["message"]
    assert "Location" not in headers


def request(here, body, *, length=None):
    lines = [
        f"POST {CHAT} HTTP/1.1",
        f"Host: 127.0.0.1:{here.port}",
        f"Authorization: Bearer {here.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) if length is None else length}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


@pytest.mark.requirement("E68")
@pytest.mark.parametrize("end", [closed, reset])
async def test_an_answer_without_a_length_whose_connection_ends_in_the_middle_is_an_abort_and_not_a_whole_answer(paths, end):
    half_a_json = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(WHOLE).encode()[:-9]
    half_a_stream = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + word("one") + word("two")[:-9]

    def broken(data):
        async def answer(writer):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0.05)
            await end(writer)

        return answer

    async with provider(broken(half_a_json), broken(half_a_stream)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, _ = await here.json()
            async with here.ask() as answer:
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
            await until(lambda: len(here.outcomes) == 2)
    assert (status, reply["error"]["code"]) == (502, "answer-unknown")
    assert here.outcomes[1].end == "cut"


@pytest.mark.parametrize(
    "end",
    [DONE, DONE.rstrip(b"\n"), word("two"), word("two").rstrip(b"\n")],
    ids=["done", "done, no line", "event", "event, no line"],
)
async def test_a_stream_of_the_old_protocol_is_whole_though_its_end_is_not_by_the_letter(paths, end):
    head = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    async def answer(writer):
        writer.write(head + word("one") + end)
        await writer.drain()
        writer.close()

    async with provider(answer) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask() as response:
            assert await response.read() == word("one") + end
            await until(lambda: here.outcomes)
    assert here.outcomes[0].end == "answered"


async def test_an_answer_of_the_old_protocol_is_as_long_as_its_connection(paths):
    async def old(writer):
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + json.dumps(WHOLE).encode())
        await writer.drain()
        writer.close()

    async with provider(old) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            assert [(await here.json())[:2] for _ in range(2)] == [(200, WHOLE)] * 2


async def test_a_client_of_the_old_protocol_gets_a_stream_as_long_as_its_connection(paths):
    async with provider(STREAM_HEAD + chunk(word("one")) + chunk(DONE) + END) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            writer.write(request(here, json.dumps(BODY).encode()).replace(b"HTTP/1.1", b"HTTP/1.0"))
            answer = await reader.read()
            writer.close()
    assert answer.endswith(b"\r\n\r\n" + word("one") + DONE)
    assert isinstance(here.session, aiohttp.ClientSession)


async def test_a_providers_header_of_two_lines_stays_with_the_gateway(paths):
    async with provider(answered(WHOLE, "x-request-id: one\r\n two: 2")) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, _, headers = await here.json(body={"messages": []})
    assert (status, "two" in headers, "\n" in headers.get("x-request-id", "")) == (200, False, False)


@pytest.mark.parametrize("status", [200, 204])
async def test_an_old_client_gets_an_answer_in_one_piece_with_its_length_and_may_keep_the_connection(paths, status):
    whole = answered(WHOLE) if status == 200 else b"HTTP/1.1 204 X\r\n\r\n"
    async with provider(whole) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
            asked = (
                request(here, b"{}").replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n")
            )
            heads = []
            for _ in range(2):
                writer.write(asked)
                heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
                if status == 200:
                    await reader.readexactly(int(heads[-1].partition("content-length: ")[2].split("\r\n")[0]))
            writer.close()
    assert all(head.startswith(f"http/1.0 {status} ") and "connection: keep-alive\r\n" in head for head in heads)
    assert all(("content-length" in head) is (status == 200) for head in heads)
