"""One question to one model over each protocol, against a real HTTP server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from aiohttp import web

from portico.auth.backoff import SignInExpired
from portico.errors import NetworkError
from portico.interfaces.plugins import ModelSpec
from portico.models.acceptance import Patience
from portico.models.client import begin, discover
from portico.models.credentials import CredentialRefused
from portico.models.loader import CallableModel
from portico.models.protocols import Question, Usage
from portico.models.provider_errors import AttemptFailed, model_error
from portico.models.reference import ModelReference
from portico.net.client import HttpClient
from portico.secret import Secret
from portico.testing.canary import canary
from tests.gateway.providers import answered, event, provider, streamed


@dataclass
class Token:
    token: Secret
    generation: int


class Broker:
    """Returns one token for each generation, and records the requests."""

    def __init__(self):
        self.tokens = [Token(Secret(canary("at")), 1), Token(Secret(canary("at")), 2)]
        self.asked = []

    async def access(self, profile_id, *, rejected_generation=None):
        self.asked.append((profile_id, rejected_generation))
        return self.tokens[0 if rejected_generation is None else 1]


class Api:
    """A Messages API: returns the answers of the test, and records the requests."""

    def __init__(self):
        self.requests = []
        self.answers = []
        self.content = None

    async def handle(self, request):
        self.requests.append((request.headers, await request.json()))
        status, body = self.answers.pop(0)
        content = self.content or ("text/event-stream" if status == 200 else "application/json")
        location = {"Location": "https://elsewhere.example/"} if status == 307 else {}
        return web.Response(status=status, body=body, content_type=content, headers=location)


def sse(*events):
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)


def delta(text):
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


STOP = {"type": "message_stop"}


@pytest.fixture
async def api(aiohttp_server):
    api = Api()
    app = web.Application()
    for path in ("/anthropic/v1/messages", "/v1/chat/completions", "/v1/responses"):
        app.router.add_post(path, api.handle)
    server = await aiohttp_server(app)
    api.origin = str(server.make_url("")).rstrip("/")
    return api


def a_model(server, **changes):
    known = {
        "reference": ModelReference("minimax-portal", "MiniMax-M2.1"),
        "spec": ModelSpec("MiniMax-M2.1", "M2.1"),
        "api": "anthropic-messages",
        "base_url": f"{server.origin}/anthropic",
        "source": "profile minimax-portal:default",
        "profile_id": "minimax-portal:default",
        "error_codes": {2049: "auth", 2056: "plan-used-up", 2062: "no-plan"},
    }
    return CallableModel(**{**known, **changes})


async def ask(server, broker, *, question=Question("Why?", 8192), **changes):  # noqa: B008 - immutable
    """Return the text of the answer and its usage."""
    async with HttpClient() as http:
        answer = await begin(a_model(server, **changes), question, http=http, broker=broker)
        usage, text = Usage(), []
        async for piece in answer.pieces():
            text += [piece.text] if piece.text else []
            usage = usage.updated(piece.usage) if piece.usage is not None else usage
        return text, usage


async def provider_error_of(server, broker, **changes):
    with pytest.raises(AttemptFailed) as raised:
        await ask(server, broker, **changes)
    return raised.value.provider_error


async def test_the_answer_comes_piece_by_piece_with_the_profiles_token_and_the_exact_model_id(api):
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 3}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}}
    api.answers = [(200, sse(start, delta("Bec"), delta("ause"), end, STOP))]
    broker = Broker()

    assert await ask(api, broker) == (["Bec", "ause"], Usage(7, 9, 3))
    headers, body = api.requests[0]
    assert headers["Authorization"] == f"Bearer {broker.tokens[0].token.reveal()}"
    assert headers["anthropic-version"] == "2023-06-01"
    assert body == {
        "model": "MiniMax-M2.1",
        "max_tokens": 8192,
        "stream": True,
        "messages": [{"role": "user", "content": "Why?"}],
    }


CHUNKS = [
    {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Bec"}}]},
    {"choices": [{"index": 0, "delta": {"content": "ause"}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 3}}},
]
EVENTS = [
    {"type": "response.created", "response": {"status": "in_progress"}},
    {"type": "response.output_text.delta", "delta": "Bec"},
    {"type": "response.output_text.delta", "delta": "ause"},
    {
        "type": "response.completed",
        "response": {"usage": {"input_tokens": 10, "output_tokens": 9, "input_tokens_details": {"cached_tokens": 3}}},
    },
]


def lines(*events):
    return b"".join(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode() for event in events)


@pytest.mark.requirement("P7")
@pytest.mark.parametrize(
    ("kind", "stream", "asked"),
    [
        (
            "openai-completions",
            lines(*CHUNKS, "[DONE]"),
            {
                "model": "MiniMax-M2.1",
                "max_tokens": 8192,
                "stream": True,
                "stream_options": {"include_usage": True},
                "messages": [{"role": "user", "content": "Why?"}],
            },
        ),
        (
            "openai-responses",
            lines(*EVENTS),
            {"model": "MiniMax-M2.1", "max_output_tokens": 8192, "stream": True, "input": "Why?"},
        ),
    ],
)
async def test_the_other_two_protocols_ask_in_their_own_words_and_tell_the_same(api, kind, stream, asked):
    api.answers = [(200, stream)]

    got = await ask(api, Broker(), api=kind, base_url=f"{api.origin}/v1")

    assert got == (["Bec", "ause"], Usage(7, 9, 3))
    assert api.requests[0][1] == asked


async def test_a_refused_token_is_refreshed_once_and_the_question_sent_once_more(api):
    api.answers = [(401, b"{}"), (200, sse(delta("yes"), STOP))]
    broker = Broker()

    assert (await ask(api, broker))[0] == ["yes"]
    assert broker.asked == [("minimax-portal:default", None), ("minimax-portal:default", 1)]
    assert api.requests[1][0]["Authorization"].endswith(broker.tokens[1].token.reveal())


ENDED_403 = answered({"error": {"type": "authentication_error", "message": "token expired"}}, status=403)
ENDED_200 = answered({"base_resp": {"status_code": 1004, "status_msg": "login fail"}})
ENDED_STREAM = streamed(event({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}))
ENDED = pytest.mark.parametrize("ended", [ENDED_403, ENDED_200, ENDED_STREAM], ids=["403", "200 with 1004", "stream with 1004"])
FINE = answered(sse(delta("yes"), STOP), content_type="text/event-stream")
OF_RIGHTS = answered({"error": {"type": "permission_error", "message": "no access to this model"}}, status=403)


@pytest.mark.requirement("E101")
@ENDED
async def test_a_token_that_is_rejected_without_a_401_is_refreshed_once_too(ended):
    broker = Broker()
    async with provider(ended, FINE) as server:
        assert (await ask(SimpleNamespace(origin=server.base), broker))[0] == ["yes"]

    assert broker.asked == [("minimax-portal:default", None), ("minimax-portal:default", 1)]
    sent = [request.header("authorization") for request in server.requests]
    assert sent == [f"Bearer {token.token.reveal()}" for token in broker.tokens]


@pytest.mark.requirement("E101")
@ENDED
async def test_a_fresh_token_that_is_rejected_without_a_401_is_not_tried_again(ended):
    broker = Broker()
    async with provider(ended) as server:
        provider_error = await provider_error_of(SimpleNamespace(origin=server.base), broker)

    assert (provider_error.kind, len(server.requests), len(broker.asked)) == ("auth", 2, 2)


@pytest.mark.requirement("E101")
async def test_a_403_about_rights_costs_no_refresh():
    broker = Broker()
    async with provider(OF_RIGHTS, FINE) as server:
        provider_error = await provider_error_of(SimpleNamespace(origin=server.base), broker)

    assert (provider_error.kind, provider_error.status, len(server.requests), len(broker.asked)) == ("model-refused", 403, 1, 1)


@pytest.mark.requirement("E101")
@ENDED
async def test_a_stored_api_key_that_is_rejected_is_sent_once_and_the_provider_is_quoted(ended):
    class OneKey(Broker):
        async def access(self, profile_id, *, rejected_generation=None):
            return self.tokens[0]

    async with provider(ended, FINE) as server:
        provider_error = await provider_error_of(SimpleNamespace(origin=server.base), OneKey())

    assert (len(server.requests), provider_error.message) == (1, "token expired" if ended is ENDED_403 else "login fail")


@pytest.mark.requirement("E101")
async def test_the_error_of_a_model_that_the_plan_lacks_is_the_same_for_a_stream_and_a_whole_answer():
    broker = Broker()
    async with provider(streamed(event({"base_resp": {"status_code": 2062, "status_msg": "no plan"}}))) as server:
        provider_error = await provider_error_of(SimpleNamespace(origin=server.base), broker)

    assert (provider_error.kind, provider_error.message, len(server.requests), len(broker.asked)) == ("no-plan", "no plan", 1, 1)


@pytest.mark.requirement("E101")
async def test_the_same_number_in_a_later_event_is_no_reason_to_ask_again():
    late = event({"base_resp": {"status_code": 1004, "status_msg": "login fail"}})
    async with provider(streamed(sse(delta("half")), late)) as server:
        with pytest.raises(NetworkError, match="broke off"):
            await ask(SimpleNamespace(origin=server.base), Broker())

    assert len(server.requests) == 1


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("ended", [ENDED_403, ENDED_200], ids=["403", "200 with 1004"])
async def test_a_list_of_models_is_asked_for_again_with_a_refreshed_token(ended):
    broker = Broker()
    async with provider(ended, answered({"data": [{"id": "one"}]})) as server, HttpClient() as http:
        models = await discover(a_model(SimpleNamespace(origin=server.base)), http=http, broker=broker)

    assert [model.id for model in models] == ["one"]
    assert len(broker.asked) == len(server.requests) == 2


async def hangs(writer):
    writer.write(answered({}, status=401)[:-1])
    await writer.drain()
    await asyncio.sleep(60)


@pytest.mark.requirement("E101")
async def test_a_rejection_whose_body_hangs_is_waited_for_a_moment_and_the_token_refreshed(monkeypatch):
    monkeypatch.setattr("portico.net.client.ERROR_BODY_S", 0.1)
    monkeypatch.setattr("portico.models.client.ASKING", Patience(error_s=0.1))
    broker, other = Broker(), Broker()
    async with asyncio.timeout(4):
        async with provider(hangs, FINE) as server:
            assert (await ask(SimpleNamespace(origin=server.base), broker))[0] == ["yes"]
        async with provider(hangs, answered({"data": [{"id": "one"}]})) as server, HttpClient() as http:
            models = await discover(a_model(SimpleNamespace(origin=server.base)), http=http, broker=other)

    assert [model.id for model in models] == ["one"]
    assert len(broker.asked) == len(other.asked) == 2


async def test_a_fresh_token_that_is_refused_asks_for_a_sign_in_and_is_not_tried_again(api):
    broker = Broker()
    echo = broker.tokens[1].token.reveal()
    api.answers = [(401, b"{}"), (401, json.dumps({"error": {"message": f"invalid api key {echo}\x1b[2J (2049)"}}).encode())]

    provider_error = await provider_error_of(api, broker)

    error = model_error(a_model(api), provider_error)
    assert (type(error), error.id, provider_error.kind) == (CredentialRefused, "credential-refused", "auth")
    assert "2049" in error.why
    assert echo not in str(error)
    assert "\x1b" not in error.why
    assert len(api.requests) == 2


async def test_an_api_key_travels_as_its_provider_wants_it_and_is_not_retried(api):
    key = canary("key")
    api.answers = [(401, b"{}")]

    assert (await provider_error_of(api, Broker(), profile_id=None, key=Secret(key), auth_header="x-api-key")).kind == "auth"
    assert api.requests[0][0]["x-api-key"] == key
    assert "Authorization" not in api.requests[0][0]
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (400, "invalid-request", "no"),
        (307, "server", "the provider redirects, and Portico follows no redirect with a credential"),
        (429, "rate-limit", "no"),
        (529, "server", "no"),
    ],
)
async def test_each_kind_of_error_has_its_own_name_and_no_redirect_is_followed(api, status, kind, text):
    api.answers = [(status, b'{"error": {"message": "no"}}')]

    provider_error = await provider_error_of(api, Broker())

    assert (provider_error.kind, str(provider_error)) == (kind, f"HTTP {status}: {text}")
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}',
        b'{"id": "x", "base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}',
    ],
)
async def test_an_error_in_the_body_of_a_200_is_an_error(api, body):
    api.content = "application/json"
    api.answers = [(200, body)]

    provider_error = await provider_error_of(api, Broker(), subscribe_url="https://platform.example/subscribe")

    assert (provider_error.kind, provider_error.code) == ("no-plan", 2062)
    error = model_error(a_model(api, subscribe_url="https://platform.example/subscribe"), provider_error)
    assert (error.id, error.hint) == ("no-plan", "Subscribe: https://platform.example/subscribe")


async def test_an_answer_that_is_neither_a_stream_nor_an_error_is_named(api):
    api.content = "text/html"
    api.answers = [(200, b"<html>sign in to the hotel's network</html>")]

    with pytest.raises(AttemptFailed, match="instead of a stream"):
        await ask(api, Broker())


CUT = {"type": "error", "error": {"message": "overloaded"}}


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("anthropic-messages", sse(delta("half"))),
        ("anthropic-messages", sse(delta("half"), CUT)),
        ("anthropic-messages", b"data: not json\n\n"),
        ("anthropic-messages", b"data: " + b"[" * 9000 + b"\n\n"),
        ("openai-completions", lines(*CHUNKS)),
        ("openai-completions", lines(CHUNKS[0], {"error": {"message": "overloaded"}}, "[DONE]")),
        ("openai-responses", lines(*EVENTS[:-1])),
        ("openai-responses", lines(EVENTS[0], {"type": "response.failed", "response": {"error": {"message": "overloaded"}}})),
    ],
)
async def test_a_stream_without_its_end_is_an_error_and_never_a_short_answer(api, kind, body):
    api.answers = [(200, body)]

    with pytest.raises(NetworkError) as raised:
        await ask(api, Broker(), api=kind, base_url=f"{api.origin}/{'anthropic' if 'anth' in kind else 'v1'}")

    assert raised.value.id == "answer-cut"
    assert raised.value.why in {"overloaded", "minimax-portal closed the stream before its end"}


@pytest.mark.parametrize(
    ("kind", "body", "provider_error"),
    [
        ("anthropic-messages", b"", "answer-unknown: its stream ended before its first event"),
        ("anthropic-messages", b": wait\n\n", "answer-unknown: its stream ended before its first event"),
        ("anthropic-messages", sse(CUT), "HTTP 200: overloaded"),
        ("openai-completions", lines({"error": {"message": "overloaded"}}), "HTTP 200: overloaded"),
        ("openai-responses", lines({"type": "error", "message": "overloaded"}), "HTTP 200: overloaded"),
    ],
)
async def test_a_stream_that_begins_with_an_error_or_with_nothing_is_no_answer_so_that_another_may_be_asked(
    api, kind, body, provider_error
):
    api.answers = [(200, body)]

    failed = await provider_error_of(api, Broker(), api=kind, base_url=f"{api.origin}/{'anthropic' if 'anth' in kind else 'v1'}")

    assert (str(failed), failed.may_succeed_elsewhere) == (provider_error, True)


async def test_a_host_that_is_not_there_is_unreachable_and_its_error_names_the_check(api, unused_tcp_port):
    with pytest.raises(AttemptFailed) as raised:
        await ask(api, Broker(), base_url=f"http://127.0.0.1:{unused_tcp_port}")

    assert raised.value.provider_error.kind == "unreachable"
    assert "{prog} doctor" in raised.value.error.hint
    assert "emulator" not in raised.value.error.hint


@pytest.mark.requirement("E84")
@pytest.mark.parametrize("cut", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
async def test_a_question_whose_connection_breaks_was_sent_once_and_may_have_been_answered(cut):
    async def breaks(writer):
        writer.write(cut)
        await writer.drain()
        writer.close()

    fine = answered(b"data: {}\n\n", content_type="text/event-stream")
    async with provider(fine, breaks) as server, HttpClient() as http:
        asked = a_model(SimpleNamespace(origin=server.base))
        first = await begin(asked, Question("Why?", 10), http=http, broker=Broker())
        assert [chunk async for chunk in first.accepted.rest()] == []
        first.accepted.close()
        with pytest.raises(AttemptFailed) as raised:
            await begin(asked, Question("Why?", 10), http=http, broker=Broker())

    assert (len(server.requests), server.connections) == (2, 1)
    provider_error = raised.value.provider_error
    assert (provider_error.kind, provider_error.unknown) == ("answer-unknown", True)
    error = model_error(asked, provider_error)
    assert (error.id, error.exit_code) == ("answer-unknown", 8)
    assert "may bill it" in error.hint


async def test_a_profile_without_a_token_is_no_provider_error_and_another_candidate_may_answer(api):
    class Ended:
        async def access(self, _profile_id, **_rejected):
            raise SignInExpired("the sign-in has ended")

    with pytest.raises(AttemptFailed) as raised:
        await ask(api, Ended())

    assert (raised.value.provider_error.label, raised.value.provider_error.may_succeed_elsewhere) == ("sign-in-expired", True)
    assert raised.value.error.id == "sign-in-expired"
    assert not api.requests
