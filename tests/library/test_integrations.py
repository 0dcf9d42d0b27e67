"""`portico.integrations`: the official SDKs with a model of this machine, against the emulated provider."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from aiohttp import web

from minimax_portal_auth.families import OPENCLAW_CLIENT
from portico.clock import SystemClock
from portico.errors import UsageError
from portico.library.loading import load_model
from portico.testing.canary import canary
from tests.library.test_load_model import M21, session  # noqa: F401 - a fixture

httpx = pytest.importorskip("httpx2", reason="httpx2, which the SDKs stand on, is not installed")
pytest.importorskip("anthropic", reason="the official anthropic SDK is not installed")
pytest.importorskip("openai", reason="the official openai SDK is not installed")

from portico.integrations import (  # noqa: E402 - each SDK is imported with its client
    anthropic_client,
    async_anthropic_client,
    async_openai_client,
    openai_client,
)
from portico.integrations.httpx_auth import PorticoAuth  # noqa: E402 - see above

QUESTION = [{"role": "user", "content": "Why?"}]
SAID = "answering as MiniMax-M2.1. You said: Why?"


@pytest.fixture
def later(monkeypatch):
    """Moves this machine's clocks on, by ten minutes for each call."""
    passed = [0]
    wall_ms, monotonic = SystemClock.wall_ms, SystemClock.monotonic
    monkeypatch.setattr(SystemClock, "wall_ms", lambda clock: wall_ms(clock) + passed[0] * 1000)
    monkeypatch.setattr(SystemClock, "monotonic", lambda clock: monotonic(clock) + passed[0])
    return lambda: passed.append(passed.pop() + 600)


@pytest.fixture
def signed_in(session, monkeypatch):  # noqa: F811
    """Signed in to MiniMax, with keys for other providers in the environment that may not be sent there."""
    session.sign_in("--region", "global")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, canary("other"))
    return session


def revoke(token):
    """RFC 7009, at the emulated portal: an access token takes only itself with it."""
    form = {"token": token.reveal(), "client_id": OPENCLAW_CLIENT}
    assert httpx.post("https://account.minimax.io/oauth2/revoke", data=form).status_code == 200


def test_the_anthropic_sdk_asks_and_streams(signed_in):
    with anthropic_client() as client:
        whole = client.messages.create(model="MiniMax-M2.1", max_tokens=100, messages=QUESTION)
        with client.messages.stream(model="MiniMax-M2.1", max_tokens=100, messages=QUESTION) as stream:
            streamed = stream.get_final_text()

    assert SAID in whole.content[-1].text
    assert SAID in streamed


def test_the_openai_sdk_asks_over_both_of_its_protocols(signed_in):
    with openai_client(M21) as client:
        chat = client.chat.completions.create(model="MiniMax-M2.1", messages=QUESTION)
        response = client.responses.create(model="MiniMax-M2.1", input="Why?")
        listed = [model.id for model in client.models.list()]

    assert SAID in chat.choices[0].message.content
    assert SAID in response.output_text
    assert "MiniMax-M2.1" in listed


def test_the_asynchronous_clients_do_the_same(signed_in):
    model = load_model(M21)

    async def ask():
        async with async_anthropic_client(model) as first, async_openai_client(model) as second:
            message = await first.messages.create(model=model.name, max_tokens=100, messages=QUESTION)
            chat = await second.chat.completions.create(model=model.name, messages=QUESTION)
        return message.content[-1].text, chat.choices[0].message.content

    assert all(SAID in answer for answer in asyncio.run(ask()))


def test_a_token_that_the_server_refuses_is_replaced_and_the_request_sent_again(signed_in):
    model = load_model(M21)
    before = model.credential()
    revoke(before.token)

    with openai_client(model) as client:
        chat = client.chat.completions.create(model=model.name, messages=QUESTION)

    assert SAID in chat.choices[0].message.content
    assert model.credential().generation == before.generation + 1


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("refusal", ["403", "200"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_token_that_is_rejected_in_another_way_than_401_is_replaced_too(minimax, monkeypatch, later, refusal, stream):
    emulated = minimax(knobs={"refusal": refusal})
    for name, value in emulated.run_portico.environment(emulated.env).items():
        monkeypatch.setenv(name, value)
    emulated.sign_in("--region", "global")
    model = load_model(M21)

    def ended():
        later()
        revoke(model.credential().token)
        return model.credential().generation

    async def ask_later():
        async with async_openai_client(model, max_retries=0) as client:
            if not stream:
                return (await client.chat.completions.create(model=model.name, messages=QUESTION)).choices[0].message.content
            chunks = await client.chat.completions.create(model=model.name, messages=QUESTION, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    before = ended()
    with anthropic_client(model, max_retries=0) as client:
        if stream:
            with client.messages.stream(model=model.name, max_tokens=100, messages=QUESTION) as opened:
                first = opened.get_final_text()
        else:
            first = client.messages.create(model=model.name, max_tokens=100, messages=QUESTION).content[-1].text
    assert ended() == before + 1
    second = asyncio.run(ask_later())
    assert model.credential().generation == before + 2
    ended()
    third = model.ask("Why?").text

    assert all(SAID in text for text in (first, second, third))
    assert model.credential().generation == before + 3


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("size", [10, 1000, 200_000])
@pytest.mark.parametrize("sized", [True, False])
async def test_a_body_that_was_looked_at_is_read_as_it_came(signed_in, aiohttp_server, size, sized):
    """Small or not, with a length or without: raw bytes, text and JSON are those of the server."""
    sent = json.dumps({"choices": "x" * size}).encode()

    async def answer(_request):
        packed = gzip.compress(sent, mtime=0)
        if sized:
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"}, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})
        await response.prepare(_request)
        await response.write(packed[:7])
        await response.write(packed[7:])
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    server = await aiohttp_server(app)
    model = await asyncio.to_thread(load_model, M21)
    auth = PorticoAuth(model)
    auth._origins = {httpx.URL(str(server.make_url("")).rstrip("/"))}
    url = str(server.make_url("/"))

    def blocking():
        with httpx.Client(auth=auth) as client, client.stream("GET", url) as response:
            raw = b"".join(response.iter_raw())
        with httpx.Client(auth=auth) as client:
            return raw, client.get(url).content

    raw, whole = await asyncio.to_thread(blocking)
    async with httpx.AsyncClient(auth=auth) as client:
        async with client.stream("GET", url) as response:
            araw = b"".join([part async for part in response.aiter_raw()])
        awhole = (await client.get(url)).content
    assert raw == araw == gzip.compress(sent, mtime=0)
    assert whole == awhole == sent


def test_nothing_of_another_providers_environment_is_sent_and_no_other_host_is_asked(signed_in):
    model = load_model(M21)
    with openai_client(model) as client:
        request = client._client.build_request("POST", f"{client.base_url}chat/completions", headers={"x-api-key": "other"})
        flow = client._client.auth.sync_auth_flow(request)
        sent = next(flow)
        elsewhere = client._client.build_request("GET", "https://elsewhere.example/v1/models")
        with pytest.raises(UsageError, match="is not where"):
            next(client._client.auth.sync_auth_flow(elsewhere))

    assert sent.headers["authorization"] == f"Bearer {model.credential().token.reveal()}"
    assert not {"x-api-key", "openai-organization", "openai-project"} & set(sent.headers)


def test_a_model_that_is_not_served_over_the_protocol_says_which_it_has(signed_in):
    signed_in.ok(
        "config",
        "set",
        "models.providers.acme",
        "{ baseUrl: 'https://a.example/v1', apiKey: 'x', api: 'openai-completions', models: [{ id: 'thing' }] }",
    )
    with pytest.raises(UsageError) as caught:
        anthropic_client("acme/thing")
    assert (caught.value.id, "openai-completions" in (caught.value.hint or "")) == ("no-such-protocol", True)
