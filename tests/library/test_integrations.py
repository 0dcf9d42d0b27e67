"""`portico.integrations`: the official SDKs against the emulated provider."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import sys
import tracemalloc
import zlib

import pytest
from aiohttp import web

from minimax_portal_auth.portals import OPENCLAW_CLIENT
from portico import integrations
from portico.errors import UsageError
from portico.library.model import load_model
from portico.net.errors import BODY_LIMIT
from portico.testing.canary import canary
from portico.util.clock import SystemClock
from tests.gateway.providers import END, WHOLE, answered, chunk, provider, provider_beside
from tests.library.test_load_model import M21, session  # noqa: F401 - a fixture
from tests.needs import late

httpx = pytest.importorskip("httpx2", reason="httpx2, which the SDKs stand on, is not installed")
late("anthropic", "the official anthropic SDK is not installed")
openai = late("openai", "the official openai SDK is not installed")

from portico.integrations import httpx_auth  # noqa: E402 - it imports httpx
from portico.integrations.httpx_auth import PorticoAuth  # noqa: E402 - see above

QUESTION = [{"role": "user", "content": "Why?"}]
ANSWER = "answering as MiniMax-M2.1. You said: Why?"


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


@pytest.mark.interop
def test_the_anthropic_sdk_asks_and_streams(signed_in):
    with integrations.anthropic_client() as client:
        complete = client.messages.create(model="MiniMax-M2.1", max_tokens=100, messages=QUESTION)
        with client.messages.stream(model="MiniMax-M2.1", max_tokens=100, messages=QUESTION) as stream:
            streamed = stream.get_final_text()

    assert ANSWER in complete.content[-1].text
    assert ANSWER in streamed


@pytest.mark.interop
@pytest.mark.parametrize(("kind", "other"), [("anthropic", "openai"), ("openai", "anthropic")])
def test_one_sdk_is_enough(kind, other, signed_in, monkeypatch):
    importlib.import_module(kind)  # before the other is hidden: each renames what both share after itself
    monkeypatch.delitem(sys.modules, "portico.integrations.sdks", raising=False)
    monkeypatch.setitem(sys.modules, other, None)
    with getattr(integrations, f"{kind}_client")(M21) as client:
        assert client.models is not None


@pytest.mark.interop
def test_the_openai_sdk_asks_over_both_of_its_protocols(signed_in):
    with integrations.openai_client(M21) as client:
        chat = client.chat.completions.create(model="MiniMax-M2.1", messages=QUESTION)
        response = client.responses.create(model="MiniMax-M2.1", input="Why?")
        listed = [model.id for model in client.models.list()]

    assert ANSWER in chat.choices[0].message.content
    assert ANSWER in response.output_text
    assert "MiniMax-M2.1" in listed


@pytest.mark.interop
def test_the_asynchronous_clients_do_the_same(signed_in):
    model = load_model(M21)

    async def ask():
        async with integrations.async_anthropic_client(model) as first, integrations.async_openai_client(model) as second:
            message = await first.messages.create(model=model.name, max_tokens=100, messages=QUESTION)
            chat = await second.chat.completions.create(model=model.name, messages=QUESTION)
        return message.content[-1].text, chat.choices[0].message.content

    assert all(ANSWER in answer for answer in asyncio.run(ask()))


@pytest.mark.interop
def test_a_token_that_the_server_refuses_is_replaced_and_the_request_sent_again(signed_in):
    model = load_model(M21)
    before = model.credential()
    revoke(before.token)

    with integrations.openai_client(model) as client:
        chat = client.chat.completions.create(model=model.name, messages=QUESTION)

    assert ANSWER in chat.choices[0].message.content
    assert model.credential().generation == before.generation + 1


@pytest.mark.interop
@pytest.mark.requirement("E101")
@pytest.mark.parametrize("status", ["403", "200"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_token_that_is_rejected_without_401_is_replaced_too(minimax, monkeypatch, later, status, stream):
    emulated = minimax(knobs={"refusal": status})
    for name, value in emulated.run_portico.environment(emulated.env).items():
        monkeypatch.setenv(name, value)
    emulated.sign_in("--region", "global")
    model = load_model(M21)

    def ended():
        later()
        revoke(model.credential().token)
        return model.credential().generation

    async def ask_later():
        async with integrations.async_openai_client(model, max_retries=0) as client:
            if not stream:
                return (await client.chat.completions.create(model=model.name, messages=QUESTION)).choices[0].message.content
            chunks = await client.chat.completions.create(model=model.name, messages=QUESTION, stream=True)
            return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])

    before = ended()
    with integrations.anthropic_client(model, max_retries=0) as client:
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

    assert all(ANSWER in text for text in (first, second, third))
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

    raw, complete = await asyncio.to_thread(blocking)
    async with httpx.AsyncClient(auth=auth) as client:
        async with client.stream("GET", url) as response:
            araw = b"".join([part async for part in response.aiter_raw()])
        awhole = (await client.get(url)).content
    assert raw == araw == gzip.compress(sent, mtime=0)
    assert complete == awhole == sent


ENDED = json.dumps({"error": {"type": "authentication_error", "message": "token expired"}}).encode()
INVALID = 'WWW-Authenticate: Bearer error="invalid_token"'


def loaded():
    """The model, after its first credential: the engine is started on the thread that asks."""
    model = load_model(M21)
    model.credential()
    return model


def to(server, model):
    """The auth for `model`, as if it were served at `far`."""
    auth = PorticoAuth(model)
    auth._origins = {httpx.URL(server.base.removesuffix("/v1"))}
    return auth


async def post(how, auth, url, **options):
    """Status, headers and body of a response, by a client of either kind; the body None where it breaks off."""
    if how == "blocking":

        def blocking():
            with httpx.Client(auth=auth, timeout=30) as client, client.stream("POST", url, json={}, **options) as response:
                try:
                    return response.status_code, response.headers, response.read()
                except httpx.TransportError:
                    return response.status_code, response.headers, None

        return await asyncio.to_thread(blocking)
    async with (
        httpx.AsyncClient(auth=auth, timeout=30) as client,
        client.stream("POST", url, json={}, **options) as response,
    ):
        try:
            return response.status_code, response.headers, await response.aread()
        except httpx.TransportError:
            return response.status_code, response.headers, None


HOW = pytest.mark.parametrize("how", ["blocking", "asynchronous"])


def unending(status, *, pause_s, part=b" ", first=b"", kind="application/json"):
    """An answer in chunks that never ends: a part after each pause."""

    async def answer(writer):
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{INVALID}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        writer.write(chunk(first) if first else b"")
        while True:
            await writer.drain()
            await asyncio.sleep(pause_s)
            writer.write(chunk(part))

    return answer


@pytest.mark.requirement("E101")
@HOW
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("pause_s", "part"), [(60, b" "), (0.01, b" "), (0, b" " * 65536)], ids=["hangs", "trickles", "floods"])
async def test_a_rejection_whose_body_never_ends_is_answered_with_a_fresh_token(
    signed_in, monkeypatch, how, status, pause_s, part
):
    monkeypatch.setattr(httpx_auth, "_BODY_TIMEOUT_S", 0.2)
    model = await asyncio.to_thread(loaded)
    async with provider(unending(status, pause_s=pause_s, part=part), answered(WHOLE)) as server, asyncio.timeout(20):
        received = await post(how, to(server, model), server.base)
        assert (received[0], json.loads(received[2])) == (200, WHOLE)
        sent = [request.header("authorization") for request in server.requests]
        assert len(set(sent)) == len(sent) == 2
        while server.open > 1:  # the first connection is released
            await asyncio.sleep(0.01)


@pytest.mark.requirement("E101")
@HOW
@pytest.mark.parametrize("sized", [True, False])
async def test_a_403_whose_body_hangs_is_handed_on_after_a_moment(signed_in, monkeypatch, how, sized):
    monkeypatch.setattr(httpx_auth, "_BODY_TIMEOUT_S", 0.2)
    model = await asyncio.to_thread(loaded)

    async def hangs(writer):
        length = "Content-Length: 99" if sized else "Transfer-Encoding: chunked"
        writer.write(f"HTTP/1.1 403 X\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(60)

    async with provider(hangs) as server, asyncio.timeout(10):
        status, _, body = await post(how, to(server, model), server.base)
    assert (status, body, len(server.requests)) == (403, b"", 1)


@pytest.mark.requirement("E101")
@HOW
async def test_a_403_that_falls_silent_once_it_was_looked_at_ends_with_what_came(signed_in, monkeypatch, how):
    """httpcore keeps the shorter timeout for the rest of a body."""
    monkeypatch.setattr(httpx_auth, "_BODY_TIMEOUT_S", 0.5)
    model = await asyncio.to_thread(loaded)

    async def trickles(writer):
        writer.write(b"HTTP/1.1 403 X\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(7):
            writer.write(chunk(b"x"))
            await writer.drain()
            await asyncio.sleep(0.1)
        await asyncio.sleep(60)

    async with provider(trickles) as server, asyncio.timeout(10):
        status, _, body = await post(how, to(server, model), server.base)
    assert (status, body, len(server.requests)) == (403, b"x" * 7, 1)


@pytest.mark.requirement("E101")
@HOW
async def test_a_shorter_timeout_of_the_client_holds_for_the_body_of_a_403(signed_in, how):
    model = await asyncio.to_thread(loaded)

    async def hangs(writer):
        writer.write(b"HTTP/1.1 403 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(60)

    async with provider(hangs) as server, asyncio.timeout(3):
        status, _, body = await post(how, to(server, model), server.base, timeout=0.5)
    assert (status, body, len(server.requests)) == (403, None, 1)


@pytest.mark.interop
@pytest.mark.requirement("E101")
async def test_an_sdk_gets_the_status_of_a_403_whose_body_hangs_and_asks_once(signed_in, monkeypatch):
    monkeypatch.setattr(httpx_auth, "_BODY_TIMEOUT_S", 0.2)
    model = await asyncio.to_thread(loaded)

    async def hangs(writer):
        writer.write(b"HTTP/1.1 403 X\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
        await writer.drain()
        await asyncio.sleep(60)

    async with provider(hangs) as server, asyncio.timeout(10):
        http = httpx.AsyncClient(auth=to(server, model), timeout=30)
        async with openai.AsyncOpenAI(base_url=server.base, api_key="unused", http_client=http) as client:
            with pytest.raises(openai.PermissionDeniedError) as raised:
                await client.chat.completions.create(model=model.name, messages=QUESTION)
    assert (raised.value.status_code, len(server.requests)) == (403, 1)


LOGIN_FAIL = json.dumps({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}).encode()
LOGIN_FAIL_IN_CHAT = json.dumps(
    {"id": "", "choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}
).encode()


@pytest.mark.requirement("E101")
@HOW
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize(
    ("body", "pieces"),
    [(LOGIN_FAIL, 1), (LOGIN_FAIL_IN_CHAT, 1), (LOGIN_FAIL, 2)],
    ids=["whole", "of a chat", "in two pieces"],
)
async def test_minimaxs_error_under_200_is_understood_without_a_length_too(signed_in, how, encoding, body, pieces):
    """In gzip the first of two pieces is the header alone, as some servers send it."""
    model = await asyncio.to_thread(loaded)
    sent = gzip.compress(body) if encoding == "gzip" else body
    at = len(sent) if pieces == 1 else 10 if encoding == "gzip" else 20

    async def ended(writer):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n"
        writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk(sent[:at]))
        await writer.drain()
        if pieces > 1:
            await asyncio.sleep(0.1)
            writer.write(chunk(sent[at:]))
        writer.write(END)
        await writer.drain()

    async with provider(ended, answered(WHOLE)) as server:
        status, _, received = await post(how, to(server, model), server.base)
    assert (status, json.loads(received), len(server.requests)) == (200, WHOLE, 2)


@pytest.mark.requirement("E101")
@HOW
async def test_json_without_a_length_is_handed_on_as_it_comes(signed_in, how):
    model = await asyncio.to_thread(loaded)
    received = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(writer):
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b'["one",')
        )
        await writer.drain()
        await received.wait()
        writer.write(chunk(b'"two"]') + END)
        await writer.drain()

    async with provider(slow) as server, asyncio.timeout(10):
        auth = to(server, model)

        def blocking():
            parts = []
            with httpx.Client(auth=auth) as client, client.stream("POST", server.base) as response:
                for part in response.iter_bytes():
                    parts.append(part)
                    loop.call_soon_threadsafe(received.set)
            return parts

        async def asynchronous():
            parts = []
            async with httpx.AsyncClient(auth=auth) as client, client.stream("POST", server.base) as response:
                async for part in response.aiter_bytes():
                    parts.append(part)
                    received.set()
            return parts

        parts = await (asyncio.to_thread(blocking) if how == "blocking" else asynchronous())
    assert parts == [b'["one",', b'"two"]']


def deflated(data):
    packing = zlib.compressobj(wbits=-15)
    return packing.compress(data) + packing.flush()


@pytest.mark.requirement("E101")
@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("deflate", deflated), ("identity", bytes)],
    ids=["gzip", "deflate", "deflate without its header", "identity"],
)
@HOW
async def test_a_rejection_is_understood_in_each_encoding_that_is_asked_for(signed_in, how, encoding, pack):
    model = await asyncio.to_thread(loaded)
    ended = answered(pack(ENDED), f"Content-Encoding: {encoding}", status=403)
    async with provider(ended, answered(WHOLE)) as server:
        status, _, body = await post(
            how, to(server, model), server.base, headers={"Accept-Encoding": "gzip, deflate, br;q=0.9, zstd"}
        )
    assert (status, json.loads(body), len(server.requests)) == (200, WHOLE, 2)
    assert {request.header("accept-encoding") for request in server.requests} == {"gzip, deflate"}


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate"])
@pytest.mark.parametrize("status", [200, 403])
async def test_a_short_body_that_unpacks_to_a_huge_one_takes_no_memory(signed_in, status, encoding):
    model = await asyncio.to_thread(loaded)
    body = b"\0" * (32 << 20)
    for each in encoding.split(", "):
        body = gzip.compress(body) if each == "gzip" else zlib.compress(body)
    assert len(body) < BODY_LIMIT
    async with provider(answered(body, f"Content-Encoding: {encoding}", status=status)) as server:
        auth = to(server, model)
        tracemalloc.start()
        try:
            async with httpx.AsyncClient(auth=auth) as client, client.stream("POST", server.base) as response:
                raw = b"".join([part async for part in response.aiter_raw()])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (raw, len(server.requests)) == (body, 1)
    assert peak < 4 << 20


@pytest.mark.requirement("E101")
async def test_an_api_that_rejects_every_token_costs_one_refresh_and_not_one_for_each_request(signed_in):
    model = await asyncio.to_thread(loaded)
    before = (await model.acredential()).generation
    gateway_error = answered({"message": "Missing Authentication Token"}, status=403)
    async with provider(answered({}, status=401)) as server:
        for _ in range(10):
            assert (await post("asynchronous", to(server, model), server.base))[0] == 401
    async with provider(gateway_error) as wrong:
        assert (await post("asynchronous", to(wrong, model), wrong.base))[0] == 403
    assert (len(server.requests), len(wrong.requests)) == (11, 1)
    assert (await model.acredential()).generation == before + 1


@pytest.mark.interop
def test_nothing_of_another_providers_environment_is_sent_and_no_other_host_is_asked(signed_in):
    model = load_model(M21)
    with integrations.openai_client(model) as client:
        request = client._client.build_request("POST", f"{client.base_url}chat/completions", headers={"x-api-key": "other"})
        flow = client._client.auth.sync_auth_flow(request)
        sent = next(flow)
        elsewhere = client._client.build_request("GET", "https://elsewhere.example/v1/models")
        with pytest.raises(UsageError, match="does not serve"):
            next(client._client.auth.sync_auth_flow(elsewhere))

    assert sent.headers["authorization"] == f"Bearer {model.credential().token.reveal()}"
    assert not {"x-api-key", "openai-organization", "openai-project"} & set(sent.headers)


@pytest.mark.interop
def test_the_error_for_a_missing_protocol_names_those_of_the_model(signed_in):
    signed_in.ok(
        "config",
        "set",
        "models.providers.acme",
        "{ baseUrl: 'https://a.example/v1', apiKey: 'x', api: 'openai-completions', models: [{ id: 'thing' }] }",
    )
    with pytest.raises(UsageError) as raised:
        integrations.anthropic_client("acme/thing")
    assert (raised.value.id, "openai-completions" in (raised.value.hint or "")) == ("no-such-protocol", True)


@pytest.mark.interop
@pytest.mark.requirement("E158")
@pytest.mark.parametrize("end", ["", "/v1"])
def test_the_anthropic_sdk_finds_the_messages_whether_or_not_the_base_has_a_version(paths, end):
    answer = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "yes"}]}
    answer |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
    with provider_beside(answered(answer)) as acme:
        block = {"baseUrl": f"http://127.0.0.1:{acme.port}{end}", "api": "anthropic-messages", "apiKey": "sk-acme"}
        config = {"models": {"providers": {"acme": {**block, "models": [{"id": "m"}]}}}}
        paths.config.write_text(json.dumps(config), encoding="utf-8")
        with integrations.anthropic_client("acme/m") as client:
            complete = client.messages.create(model="m", max_tokens=100, messages=QUESTION)

    (request,) = acme.requests
    assert (complete.content[0].text, request.path) == ("yes", "/v1/messages")
    assert (request.header("x-api-key"), request.header("authorization")) == ("sk-acme", None)
