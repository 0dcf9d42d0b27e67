"""Requests and responses that reach the gateway in several TCP segments: read whole, or refused when they break off."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from portico.gateway.access import ROUTES
from portico.gateway.forward import Call, Parts, StreamMeter, attempt_call
from portico.gateway.request_body import read_body
from portico.models.protocols import PROTOCOLS
from portico.models.provider_errors import AttemptFailed
from portico.net.client import HttpClient
from portico.net.sse import EventParser
from portico.secret import Secret
from portico.services import gateway_state
from portico.services.gateway_state import GatewayState, prove
from portico.util.clock import SystemClock
from tests.gateway.fronts import CHAT, configure, gateway
from tests.gateway.helpers import body_of, status_of
from tests.gateway.providers import DONE, WHOLE, answered, event, provider, word
from tests.models.test_client import a_model
from tests.segments import Cut, answer_to, cut_server, cuts, failures, outcome, padded, received, response

pytestmark = pytest.mark.requirement("E85")
LENGTH = 300
REFUSED = {
    200: {"base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}},
    401: {"error": {"message": "invalid api key (2049)"}},
    429: {"error": {"message": "usage limit exceeded (2056)"}},
}
ENDS = ["\n", "\r\n", "\r"]


@pytest.fixture
async def tried():
    """A provider's server, and what tries it once with a key."""
    call = Call(ROUTES[CHAT], read_body(b'{"messages": []}'), "tool", "", {})
    async with cut_server() as server, HttpClient(silence_s=5) as http:
        chat = {"api": "openai-completions", "base_url": f"{server.origin}/v1", "bases": {}}
        model = a_model(server, profile_id=None, key=Secret("sk-not-a-secret"), **chat)

        async def tried():
            parts = Parts(http, None, None, None, SystemClock(), None)
            accepted = await attempt_call(model, call, parts.upstream, parts.broker, parts.patience)
            try:
                rest = b"" if accepted.complete else b"".join([chunk async for chunk in accepted.rest()])
            finally:
                accepted.close()
            return accepted.start + rest, accepted.fields

        yield server, tried


async def refusal_of(tried):
    with pytest.raises(AttemptFailed) as caught:
        await tried()
    return caught.value.provider_error


@pytest.mark.parametrize("status", REFUSED)
async def test_a_refusal_is_the_same_wherever_its_response_is_cut(tried, status):
    server, ask = tried
    data = response(padded(REFUSED[status], LENGTH), status=status)
    whole, wrong = await failures(server, data, lambda: refusal_of(ask))

    assert whole.code in {2062, 2049, 2056}
    assert wrong == {}


async def test_a_response_in_one_piece_is_the_same_wherever_it_is_cut(tried):
    server, ask = tried
    body = padded(WHOLE, LENGTH)
    whole, wrong = await failures(server, response(body), ask)

    assert whole == (body, json.loads(body))
    assert wrong == {}


@pytest.mark.parametrize("end", ENDS)
async def test_a_stream_is_passed_on_the_same_wherever_it_is_cut(tried, end):
    server, ask = tried
    body = (word("a€") + DONE).replace(b"\n", end.encode())
    whole, wrong = await failures(server, response(body, content_type="text/event-stream"), ask)

    assert whole == (body, None)
    assert wrong == {}


@pytest.mark.parametrize("end", ENDS)
async def test_a_refusal_in_a_streams_first_event_is_seen_wherever_it_is_cut(tried, end):
    server, ask = tried
    body = (b": hello\n\n" + event({"error": {"message": "slow down € (2056)"}}) + DONE).replace(b"\n", end.encode())
    data = response(body, content_type="text/event-stream")
    whole, wrong = await failures(server, data, lambda: refusal_of(ask))

    assert whole.code == 2056
    assert wrong == {}


@pytest.mark.parametrize(("status", "kind"), [(200, "answer-unknown"), (401, "auth"), (429, "rate-limit"), (500, "server")])
async def test_of_a_response_that_breaks_off_its_status_holds_and_nothing_of_its_body_does(tried, status, kind):
    server, ask = tried
    server.data = response(padded(REFUSED[200], LENGTH), status=status, missing=1)
    with pytest.raises(AttemptFailed) as caught:
        await ask()

    assert caught.value.provider_error.kind == kind
    assert (caught.value.provider_error.unknown, caught.value.provider_error.code) == (status == 200, None)


def request(here, body, *, missing=0):
    lines = [
        f"POST {CHAT} HTTP/1.1",
        f"Host: 127.0.0.1:{here.port}",
        f"Authorization: Bearer {here.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body) + missing}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def test_a_clients_body_is_the_same_wherever_it_is_cut(paths):
    body = padded({"model": "acme/model", "messages": []}, LENGTH)
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            data = request(here, body)
            for at in cuts(body):
                cut = tuple(len(data) - len(body) + each for each in at)
                assert json.loads(body_of(await answer_to(here.port, data, cut))) == WHOLE
    assert {each.body for each in acme.requests} == {body.replace(b"acme/model", b"model")}
    assert len(acme.requests) == len(cuts(body))


async def test_a_clients_body_that_breaks_off_goes_to_no_provider_though_what_came_is_json(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            answer = await answer_to(here.port, request(here, b'{"messages": []}', missing=1), ends=True)
    assert answer == b"" or status_of(answer) == 400
    assert acme.requests == []


def counted(stream, *at):
    meter = StreamMeter(PROTOCOLS["openai-completions"])
    for start, end in zip((0, *at), (*at, len(stream)), strict=True):
        meter.feed(stream[start:end])
    return meter.usage, meter.complete, meter.error


@pytest.mark.parametrize("end", ENDS)
def test_counts_are_the_same_wherever_a_stream_is_cut(end):
    stream = (b": hello\n\n" + word("a€") + DONE).replace(b"\n", end.encode())
    whole = counted(stream.replace(end.encode(), b"\n"))

    assert whole[0].output == 3
    assert whole[1]
    for at in range(len(stream) + 1):
        assert counted(stream, at) == whole
        assert counted(stream, min(at, 7), at) == whole
        assert counted(stream, at, min(at + 1, len(stream))) == whole


@pytest.mark.parametrize("end", ENDS)
def test_the_first_event_is_the_same_however_much_has_come(end):
    stream = (b": hello\n\n" + event({"a": "€"}) + event({"b": 2})).replace(b"\n", end.encode())
    seen = [next(iter(EventParser().feed(stream[:at])), None) for at in range(len(stream) + 1)]

    assert seen[0] is None
    assert set(seen) == {None, json.dumps({"a": "€"}).encode()}
    assert seen == sorted(seen, key=lambda each: each is not None), "what was seen once stays"


async def test_a_gateway_proves_itself_wherever_its_response_is_cut():
    class Health(Cut):
        async def answer(self, reader, writer):
            head, _ = await received(reader)
            [challenge] = parse_qs(urlsplit(head.split(b" ")[1].decode()).query)["challenge"]
            body = padded({"proof": prove(here.key, challenge)}, LENGTH)
            await self.send(writer, response(body, missing=self.missing))

    async with cut_server(Health(), pause_s=0.001) as server:
        here = GatewayState(1, server.port, 1, "test", Secret("00" * 32))
        server.missing = 0
        for at in range(0, LENGTH + 100, 3):
            server.at = (at,)
            assert await outcome(lambda: asyncio.to_thread(gateway_state._answers, here)) is True
        server.missing = 1
        assert await outcome(lambda: asyncio.to_thread(gateway_state._answers, here)) is False


def places(st):
    return st.lists(st.integers(0, 1 << 20), max_size=6)


def few(hypothesis):
    return hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // 10)


def test_counts_are_the_same_in_any_number_of_pieces():
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    st = hypothesis.strategies

    @few(hypothesis)
    @hypothesis.given(st.sampled_from(ENDS), st.text(max_size=400), places(st))
    def check(end, text, at):
        stream = (b": hello\n\n" + word(text) + DONE).replace(b"\n", end.encode())
        usage, whole, refused = counted(stream, *sorted(each % len(stream) for each in at))
        assert (usage.output, whole, refused) == (3, True, None)

    check()


def test_larger_responses_are_read_whole_in_any_number_of_pieces():
    hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")
    st = hypothesis.strategies

    async def once(length, at):
        async with cut_server() as server, HttpClient(silence_s=5) as http:
            body = padded(WHOLE, length)
            server.data = response(body)
            server.at = tuple(each % len(server.data) for each in at)
            answer = await http.send(f"{server.origin}/v1/x", body=b"{}", headers={})
            assert await answer.read(1 << 20) == (body, True)
            answer.close()

    with asyncio.Runner() as runner:

        @few(hypothesis)
        @hypothesis.given(st.integers(LENGTH, 200_000), places(st))
        def check(length, at):
            runner.run(once(length, at))

        check()
