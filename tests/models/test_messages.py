"""One question over the Anthropic Messages protocol, against a real HTTP server."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from aiohttp import web

from portico.contracts import ModelSpec
from portico.errors import ConfigError, NetworkError, SignInNeeded
from portico.models.http import ModelHttp
from portico.models.loader import CallableModel
from portico.models.messages import messages_url, stream_answer
from portico.models.reference import ModelReference
from portico.secret import Secret
from portico.testing.canary import canary


@dataclass
class Token:
    token: Secret
    generation: int


class Broker:
    """Hands out a token per generation and remembers what it was asked."""

    def __init__(self):
        self.tokens = [Token(Secret(canary("at")), 1), Token(Secret(canary("at")), 2)]
        self.asked = []

    async def access(self, profile_id, *, rejected_generation=None):
        self.asked.append((profile_id, rejected_generation))
        return self.tokens[0 if rejected_generation is None else 1]


class Api:
    """A Messages API: answers what it is told to, and keeps what it was sent."""

    def __init__(self):
        self.requests = []
        self.answers = []

    async def handle(self, request):
        self.requests.append((request.headers, await request.json()))
        status, body = self.answers.pop(0)
        content = "text/event-stream" if status == 200 else "application/json"
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
    app.router.add_post("/anthropic/v1/messages", api.handle)
    server = await aiohttp_server(app)
    api.base = str(server.make_url("/anthropic"))
    return api


async def ask(server, broker, **changes):
    known = {
        "reference": ModelReference("minimax-portal", "MiniMax-M2.1"),
        "spec": ModelSpec("MiniMax-M2.1", "M2.1"),
        "api": "anthropic-messages",
        "base_url": server.base,
        "source": "profile minimax-portal:default",
        "profile_id": "minimax-portal:default",
    }
    async with ModelHttp() as http:
        model = CallableModel(**{**known, **changes})
        return [piece async for piece in stream_answer(model, "Why?", http=http, broker=broker)]


async def test_the_answer_comes_piece_by_piece_with_the_profiles_token_and_the_exact_model_id(api):
    api.answers = [(200, sse({"type": "message_start"}, delta("Bec"), delta("ause"), STOP))]
    broker = Broker()

    assert await ask(api, broker) == ["Bec", "ause"]
    headers, body = api.requests[0]
    assert headers["Authorization"] == f"Bearer {broker.tokens[0].token.reveal()}"
    assert headers["anthropic-version"] == "2023-06-01"
    assert body == {
        "model": "MiniMax-M2.1",
        "max_tokens": 8192,
        "stream": True,
        "messages": [{"role": "user", "content": "Why?"}],
    }


async def test_a_refused_token_is_refreshed_once_and_the_question_sent_once_more(api):
    api.answers = [(401, b"{}"), (200, sse(delta("yes"), STOP))]
    broker = Broker()

    assert await ask(api, broker) == ["yes"]
    assert broker.asked == [("minimax-portal:default", None), ("minimax-portal:default", 1)]
    assert api.requests[1][0]["Authorization"].endswith(broker.tokens[1].token.reveal())


async def test_a_fresh_token_that_is_refused_asks_for_a_sign_in_and_is_not_tried_again(api):
    broker = Broker()
    echo = broker.tokens[1].token.reveal()
    api.answers = [(401, b"{}"), (401, json.dumps({"error": {"message": f"invalid api key (2049) {echo}\x1b[2J"}}).encode())]

    with pytest.raises(SignInNeeded) as caught:
        await ask(api, broker)

    assert caught.value.id == "credential-refused"
    assert "2049" in caught.value.why
    assert echo not in str(caught.value)
    assert "\x1b" not in caught.value.why
    assert len(api.requests) == 2


async def test_an_api_key_travels_as_its_provider_wants_it_and_is_not_retried(api):
    key = canary("key")
    api.answers = [(401, b"{}")]

    with pytest.raises(SignInNeeded):
        await ask(api, Broker(), profile_id=None, key=Secret(key), auth_header="x-api-key")

    assert api.requests[0][0]["x-api-key"] == key
    assert "Authorization" not in api.requests[0][0]
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "id"), [(400, "provider-refused"), (307, "provider-refused"), (429, "rate-limited"), (529, "provider-failed")]
)
async def test_each_kind_of_refusal_has_its_own_id_and_no_redirect_is_followed(api, status, id):
    api.answers = [(status, b'{"error": {"message": "said so"}}')]

    with pytest.raises(NetworkError) as caught:
        await ask(api, Broker())

    assert caught.value.id == id
    assert f"{status}: said so" == caught.value.why
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    "body",
    [sse(delta("half")), sse(delta("half"), {"type": "error", "error": {"message": "overloaded"}}), b"data: not json\n\n"],
)
async def test_a_stream_without_its_end_is_an_error_and_never_a_short_answer(api, body):
    api.answers = [(200, body)]

    with pytest.raises(NetworkError) as caught:
        await ask(api, Broker())

    assert caught.value.id == "answer-cut"


async def test_a_host_that_is_not_there_is_a_network_error_that_names_the_emulator(api, unused_tcp_port):
    with pytest.raises(NetworkError) as caught:
        await ask(api, Broker(), base_url=f"http://127.0.0.1:{unused_tcp_port}")

    assert caught.value.id == "network"
    assert "emulator" in caught.value.hint


async def test_a_model_of_another_protocol_is_refused_before_anything_is_sent(api):
    with pytest.raises(ConfigError) as caught:
        await ask(api, Broker(), api="openai-responses")

    assert caught.value.id == "protocol-unknown"
    assert not api.requests


def test_the_version_is_not_put_into_the_url_twice():
    assert messages_url("https://api.minimax.io/anthropic") == "https://api.minimax.io/anthropic/v1/messages"
    assert messages_url("https://gateway.example/v1") == "https://gateway.example/v1/messages"
