"""Responses of model APIs that arrive in several TCP segments, break off or are too long."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from portico.errors import NetworkError, PorticoError
from portico.models import client
from portico.models import client as discovery
from portico.models.acceptance import Patience
from portico.models.client import ListUnreadable, discover
from portico.models.protocols import Question
from portico.models.provider_errors import AttemptFailed
from portico.net import client as net_client
from portico.net.client import HttpClient
from portico.secret import Secret
from tests.models.test_client import STOP, Broker, a_model, delta, sse
from tests.segments import Cut, cut_server, cuts, failures, padded, response

pytestmark = pytest.mark.requirement("E85")
LENGTH = 300
LISTED = {"data": [{"id": "MiniMax-M2.1", "display_name": "M2.1 €"}, {"id": "other"}]}
USED_UP = {"type": "error", "error": {"type": "rate_limit_error", "message": "usage limit exceeded (2056)"}}
NO_PLAN = {"base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}
NOT_KNOWN = {"type": "error", "error": {"type": "authentication_error", "message": "invalid api key (2049)"}}


def of_key(server):
    """A model with a key, so that a 401 causes no refresh."""
    return a_model(server, profile_id=None, key=Secret("sk-not-a-secret"), base_url=server.origin)


async def asked(server, http):
    answer = await client.begin(of_key(server), Question("Why?", 10), http=http, broker=Broker())
    return [piece.text async for piece in answer.pieces() if piece.text]


async def refused(server, http):
    with pytest.raises(AttemptFailed) as raised:
        await asked(server, http)
    return raised.value.provider_error


async def test_a_single_read_of_this_server_is_cut_at_every_place():
    """The control: without it the tests below could pass because nothing was cut."""
    body = padded(LISTED, LENGTH)
    data = response(body)
    head = len(data) - len(body)
    async with cut_server() as server, aiohttp.ClientSession() as session:
        server.data = data
        for at in cuts(body)[1:]:
            server.at = (head + at[0],)
            async with session.get(server.origin) as answer:
                assert await answer.content.read(1 << 20) == body[: at[0]]


@pytest.mark.parametrize(
    ("status", "fields", "kind", "code"),
    [
        (200, NO_PLAN, "no-plan", 2062),
        (429, USED_UP, "plan-used-up", 2056),
        (401, NOT_KNOWN, "auth", 2049),
    ],
)
async def test_an_error_is_the_same_wherever_its_response_is_cut(status, fields, kind, code):
    async with cut_server() as server, HttpClient() as http:
        data = response(padded(fields, LENGTH), status=status)
        whole, wrong = await failures(server, data, lambda: refused(server, http))

    assert (whole.kind, whole.code) == (kind, code)
    assert wrong == {}


async def test_a_list_of_models_is_the_same_wherever_its_response_is_cut():
    async with cut_server() as server, HttpClient() as http:
        data = response(padded(LISTED, LENGTH))
        whole, wrong = await failures(server, data, lambda: discover(of_key(server), http=http, broker=Broker()))

    assert [each.id for each in whole] == ["MiniMax-M2.1", "other"]
    assert wrong == {}


async def test_a_refused_list_is_the_same_wherever_its_response_is_cut():
    async with cut_server() as server, HttpClient() as http:
        data = response(padded(NOT_KNOWN, LENGTH), status=401)
        whole, wrong = await failures(server, data, lambda: discover(of_key(server), http=http, broker=Broker()))

    assert "2049" in str(whole)
    assert wrong == {}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_a_stream_is_the_same_wherever_its_response_is_cut(end):
    events = sse(delta("a€"), delta("b"), STOP).replace(b"\n", end.encode())
    async with cut_server() as server, HttpClient() as http:
        data = response(events, content_type="text/event-stream")
        whole, wrong = await failures(server, data, lambda: asked(server, http))

    assert whole == ["a€", "b"]
    assert wrong == {}


@pytest.mark.parametrize(("status", "kind"), [(200, "answer-unknown"), (401, "auth"), (429, "rate-limit"), (500, "server")])
async def test_of_an_error_that_breaks_off_only_the_status_is_used(status, kind):
    async with cut_server() as server, HttpClient() as http:
        server.data = response(padded(NO_PLAN, LENGTH), status=status, missing=1)
        with pytest.raises(AttemptFailed) as raised:
            await asked(server, http)

    assert raised.value.provider_error.kind == kind
    assert (raised.value.provider_error.unknown, raised.value.provider_error.code) == (status == 200, None)


@pytest.mark.parametrize(("status", "error"), [(200, "answer-cut"), (401, "credential-refused"), (500, "provider-failed")])
async def test_a_list_that_breaks_off_is_a_broken_answer_though_what_came_is_json_and_the_status_of_an_error_holds(status, error):
    async with cut_server() as server, HttpClient() as http:
        server.data = response(padded(LISTED, LENGTH), status=status, missing=1)
        with pytest.raises(PorticoError) as raised:
            await discover(of_key(server), http=http, broker=Broker())

    assert raised.value.id == error


async def test_a_list_that_is_too_long_is_refused_for_its_length(monkeypatch):
    monkeypatch.setattr(discovery, "_MAX_BYTES", 1 << 20)
    async with cut_server() as server, HttpClient() as http:
        server.data = response(padded(LISTED, (1 << 20) + 1))
        with pytest.raises(NetworkError, match="longer than 1 MiB") as raised:
            await discover(of_key(server), http=http, broker=Broker())
        server.data = response(padded(LISTED, 1 << 20))
        assert len(await discover(of_key(server), http=http, broker=Broker())) == 2

    assert type(raised.value) is ListUnreadable


async def test_an_error_that_never_ends_is_abandoned(monkeypatch):
    monkeypatch.setattr(client, "ASKING", Patience(error_s=0.2))

    class Endless(Cut):
        async def answer(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 429 X\r\nContent-Type: text/plain\r\n\r\n")
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)

    async with cut_server(Endless()) as server, HttpClient() as http:
        with pytest.raises(AttemptFailed) as raised:
            await asyncio.wait_for(asked(server, http), 5)

    assert raised.value.provider_error.kind == "rate-limit"


async def test_the_shared_reader_says_whether_the_body_is_complete():
    async with cut_server() as server, HttpClient() as http:
        for length, complete in ((99, True), (100, True), (101, False)):
            server.data = response(b"x" * length)
            server.at = (len(server.data) - length + 50,)
            async with await http.send(server.origin, headers={}) as answer:
                body, whole = await answer.read(100)
            assert (body, whole) == (b"x" * length, complete)


def test_larger_bodies_are_read_whole_in_any_number_of_pieces():
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    st = hypothesis.strategies

    async def once(length, at):
        async with cut_server() as server, HttpClient() as http:
            listed = padded(LISTED, length)
            server.data = response(listed)
            server.at = tuple(each % len(server.data) for each in at)
            assert len(await discover(of_key(server), http=http, broker=Broker())) == 2
            server.data = response(padded(NO_PLAN, min(length, 60_000)))
            server.at = tuple(each % len(server.data) for each in at)
            assert (await refused(server, http)).code == 2062

    with asyncio.Runner() as runner:

        @hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // 10)
        @hypothesis.given(st.integers(301, 200_000), st.lists(st.integers(0, 1 << 20), max_size=6))
        def check(length, at):
            runner.run(once(length, at))

        check()


def test_json_of_the_samples_is_what_it_says():
    assert len(padded(LISTED, LENGTH)) == LENGTH
    assert json.loads(padded(LISTED, LENGTH))["data"] == LISTED["data"]


INVALID_TOKEN = b'{"error": {"code": "invalid_token", "message": "The access token expired"}}'


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("status", [401, 403, 500])
async def test_an_errors_body_counts_though_its_connection_stays_open(monkeypatch, status):
    monkeypatch.setattr(net_client, "ERROR_BODY_S", 0.2)
    monkeypatch.setattr(net_client, "FORBIDDEN_BODY_S", 0.2, raising=False)

    class Open(Cut):
        async def answer(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n\r\n".encode() + INVALID_TOKEN)
            await writer.drain()
            await asyncio.sleep(60)

    async with cut_server(Open()) as server, HttpClient() as http, asyncio.timeout(10):
        answer = await http.send(server.origin, headers={})
        assert await answer.read_error() == INVALID_TOKEN
        answer.close()


@pytest.mark.requirement("E101")
@pytest.mark.parametrize(("status", "body"), [(403, INVALID_TOKEN), (401, b""), (500, b"")])
async def test_only_a_403_is_waited_for_longer_since_its_body_tells_whether_to_refresh(monkeypatch, status, body):
    monkeypatch.setattr(net_client, "ERROR_BODY_S", 0.1)
    gone_on = asyncio.Event()

    class Late(Cut):
        async def answer(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            head, _, remainder = response(INVALID_TOKEN, status=status).partition(b"\r\n\r\n")
            writer.write(head + b"\r\n\r\n")
            await writer.drain()
            await gone_on.wait()
            writer.write(remainder)
            await writer.drain()

    async with cut_server(Late()) as server, HttpClient() as http, asyncio.timeout(10):
        answer = await http.send(server.origin, headers={})
        reading = asyncio.create_task(answer.read_error())
        await asyncio.wait([reading], timeout=0.5)
        gone_on.set()
        assert await reading == body
        answer.close()


@pytest.mark.requirement("E101")
async def test_a_list_whose_403_hangs_is_refused_within_its_own_time(monkeypatch):
    monkeypatch.setattr(discovery, "TIMEOUT_S", 1.0)

    class Hung(Cut):
        async def answer(self, reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(response(b"", status=403, missing=9))
            await writer.drain()
            await asyncio.sleep(60)

    async with cut_server(Hung()) as server, HttpClient() as http:
        with pytest.raises(PorticoError) as raised:
            await discover(of_key(server), http=http, broker=Broker())

    assert (raised.value.id, raised.value.why) == ("provider-refused", "HTTP 403")
