"""The official SDKs, and curl's kind of request, at a gateway process: signed in by the vault, fresh, and nobody holds a token."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from minimax_portal_auth.portals import OPENCLAW_CLIENT
from portico.testing.canary import in_text
from tests.minimax_session import GLOBAL
from tests.needs import late

anthropic = late("anthropic", "the official anthropic SDK is not installed")
openai = late("openai", "the official openai SDK is not installed")
httpx = late("httpx2", "httpx2, which the SDKs stand on, is not installed")

pytestmark = pytest.mark.interop

QUESTION = [{"role": "user", "content": "Why?"}]
SAID = "answering as MiniMax-M2.1. You said: Why?"
M21 = "minimax-portal/MiniMax-M2.1"


@pytest.fixture
def served(minimax):
    """Signed in, with a gateway process before the emulator."""
    started = []

    def begin(**options):
        session = minimax(**options)
        session.sign_in("--region", "global")
        state = json.loads(session.ok("gateway", "start", "--port", "0", "--json"))
        started.append(session)
        session.url, session.key = f"http://127.0.0.1:{state['port']}", session.ok("gateway", "key", "show").strip()
        return session

    yield begin
    for session in started:
        session.run("gateway", "stop")
        assert in_text(session.paths.gateway_log.read_text(encoding="utf-8")) == []


def revoke_access_token(session):
    """RFC 7009: an access token takes only itself with it."""
    token = session.ok("auth", "token", GLOBAL).strip()
    proxy, trust = session.env["HTTPS_PROXY"], session.env["SSL_CERT_FILE"]
    import ssl

    with httpx.Client(proxy=proxy, verify=ssl.create_default_context(cafile=trust)) as client:
        form = {"token": token, "client_id": OPENCLAW_CLIENT}
        assert client.post("https://account.minimax.io/oauth2/revoke", data=form).status_code == 200


def generation(session):
    return session.profiles()[0]["generation"]


def test_each_sdk_asks_and_streams_over_its_own_protocol(served):
    session = served()
    with anthropic.Anthropic(base_url=session.url, auth_token=session.key, api_key=None) as client:
        whole = client.messages.create(model=M21, max_tokens=100, messages=QUESTION)
        with client.messages.stream(model="minimax-m2.1", max_tokens=100, messages=QUESTION) as stream:
            streamed = stream.get_final_text()
        counted = client.messages.count_tokens(model=M21, messages=QUESTION)
        listed = [model.id for model in client.models.list()]
    assert SAID in whole.content[-1].text
    assert SAID in streamed
    assert counted.input_tokens > 0
    assert M21 in listed

    with openai.OpenAI(base_url=f"{session.url}/v1", api_key=session.key) as client:
        chat = client.chat.completions.create(model=M21, messages=QUESTION)
        pieces = client.chat.completions.create(model="MiniMax-M2.1", messages=QUESTION, stream=True)
        text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
        response = client.responses.create(model=M21, input="Why?")
        with client.responses.stream(model=M21, input="Why?") as events:
            final = events.get_final_response()
        ids = [model.id for model in client.models.list()]
    assert SAID in chat.choices[0].message.content
    assert SAID in text
    assert SAID in response.output_text
    assert SAID in final.output_text
    assert M21 in ids


@pytest.mark.requirement("E144")
@pytest.mark.requirement("E180")
def test_each_sdk_asks_once_about_a_plan_that_is_used_up(served):
    session = served(knobs={"quota": "exhausted"})
    with (
        anthropic.Anthropic(base_url=session.url, auth_token=session.key, api_key=None) as messages,
        openai.OpenAI(base_url=f"{session.url}/v1", api_key=session.key) as client,
    ):
        asked = (
            (anthropic.RateLimitError, lambda: messages.messages.create(model=M21, max_tokens=10, messages=QUESTION)),
            (openai.RateLimitError, lambda: client.chat.completions.create(model=M21, messages=QUESTION)),
            (openai.RateLimitError, lambda: client.responses.create(model=M21, input="Why?")),
        )
        for kind, ask in asked:
            with pytest.raises(kind, match="usage limit exceeded") as raised:
                ask()
            assert 60 < int(raised.value.response.headers["retry-after"]) <= 7200
        counters = httpx.get(f"{session.url}/metrics", headers={"Authorization": f"Bearer {session.key}"}).text
    requests = [line for line in counters.splitlines() if line.startswith("portico_requests_total{")]
    assert sorted(line.rpartition(" ")[2] for line in requests) == ["1", "1", "1"], requests


def look(file: str) -> str:
    """Read a file.

    Args:
        file: its name
    """
    return {"word.txt": "xylophone"}[file]


SCHEMA = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"], "additionalProperties": False}
ASKED = [{"role": "user", "content": 'Call the tool look with {"file": "word.txt"}'}]
RETURNED = "answering as MiniMax-M2.1. The tool returned: xylophone"


@pytest.mark.requirement("E180")
def test_anthropics_sdk_runs_a_tool_whole_and_streamed(served):
    session = served()
    with anthropic.Anthropic(base_url=session.url, auth_token=session.key, api_key=None, max_retries=0) as client:
        arguments = {"model": M21, "max_tokens": 100, "messages": ASKED, "tools": [anthropic.beta_tool(look)]}
        whole = client.beta.messages.tool_runner(**arguments).until_done()
        streamed = client.beta.messages.tool_runner(**arguments, stream=True).until_done()
    assert RETURNED in whole.content[-1].text
    assert RETURNED in streamed.content[-1].text


@pytest.mark.requirement("E180")
def test_openais_sdk_runs_a_tool_over_chat_completions_whole_and_streamed(served):
    session = served()
    tools = [
        {"type": "function", "function": {"name": "look", "description": "Read a file", "parameters": SCHEMA, "strict": True}}
    ]

    def asked(client, streamed, messages):
        if not streamed:
            return client.chat.completions.create(model=M21, messages=messages, tools=tools)
        with client.chat.completions.stream(model=M21, messages=messages, tools=tools) as events:
            return events.get_final_completion()

    with openai.OpenAI(base_url=f"{session.url}/v1", api_key=session.key, max_retries=0) as client:
        for streamed in (False, True):
            first = asked(client, streamed, ASKED).choices[0]
            (call,) = first.message.tool_calls
            result = {"role": "tool", "tool_call_id": call.id, "content": look(**json.loads(call.function.arguments))}
            last = asked(client, streamed, [*ASKED, first.message.model_dump(include={"role", "tool_calls"}), result])
            assert (first.finish_reason, RETURNED in last.choices[0].message.content) == ("tool_calls", True)


@pytest.mark.requirement("E180")
def test_openais_sdk_runs_a_tool_over_responses_whole_and_streamed(served):
    session = served()
    tools = [{"type": "function", "name": "look", "description": "Read a file", "parameters": SCHEMA, "strict": True}]

    def asked(client, streamed, items):
        if not streamed:
            return client.responses.create(model=M21, input=items, tools=tools)
        with client.responses.stream(model=M21, input=items, tools=tools) as events:
            return events.get_final_response()

    with openai.OpenAI(base_url=f"{session.url}/v1", api_key=session.key, max_retries=0) as client:
        for streamed in (False, True):
            (call,) = asked(client, streamed, ASKED).output
            result = {"type": "function_call_output", "call_id": call.call_id, "output": look(**json.loads(call.arguments))}
            called = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
            assert RETURNED in asked(client, streamed, [*ASKED, called, result]).output_text


@pytest.mark.requirement("E69")
def test_a_token_that_was_revoked_is_replaced_once_for_a_burst_of_requests(served):
    session = served()
    before = generation(session)
    revoke_access_token(session)

    async def burst():
        async with openai.AsyncOpenAI(base_url=f"{session.url}/v1", api_key=session.key, max_retries=0) as client:
            asked = [client.chat.completions.create(model=M21, messages=QUESTION) for _ in range(100)]
            return await asyncio.gather(*asked)

    answers = asyncio.run(burst())

    assert all(SAID in answer.choices[0].message.content for answer in answers)
    assert generation(session) == before + 1


def test_a_token_that_ends_between_two_calls_is_replaced_before_the_second(served):
    session = served(access_ttl_s=2)
    with openai.OpenAI(base_url=f"{session.url}/v1", api_key=session.key, max_retries=0) as client:
        before = generation(session)
        deadline = time.monotonic() + 20
        while generation(session) < before + 2:
            assert SAID in client.chat.completions.create(model=M21, messages=QUESTION).choices[0].message.content
            assert time.monotonic() < deadline


@pytest.mark.requirement("E74")
@pytest.mark.requirement("E47")
def test_a_sign_out_ends_the_use_of_its_token_and_a_new_sign_in_begins_its_own(served):
    session = served()
    with openai.OpenAI(base_url=f"{session.url}/v1", api_key=session.key, max_retries=0) as client:

        def ask():
            return client.chat.completions.create(model=M21, messages=QUESTION).choices[0].message.content

        assert SAID in ask()
        session.ok("auth", "logout", "--yes")
        deadline = time.monotonic() + 1.5
        with pytest.raises(openai.PermissionDeniedError, match=r"You are not signed in|minimax-portal:default is not signed in"):
            while time.monotonic() < deadline:
                ask()
        session.sign_in("--region", "cn", "--profile", "other")
        assert SAID in ask()
        raw = client.chat.completions.with_raw_response.create(model=M21, messages=QUESTION)
        assert raw.headers["x-portico-attempts"] == f"{M21}; minimax-portal:other; answered"


def test_a_sign_in_that_the_portal_ended_says_so_in_the_clients_own_words(served):
    session = served()
    session.ok("auth", "logout", "--yes")
    client = anthropic.Anthropic(base_url=session.url, auth_token=session.key, api_key=None, max_retries=0)
    with client, pytest.raises(anthropic.PermissionDeniedError) as raised:
        client.messages.create(model=M21, max_tokens=10, messages=QUESTION)
    assert raised.value.body["error"]["type"] == "permission_error"
    assert "onboard --auth-choice minimax-portal" in raised.value.body["error"]["message"]


def test_another_key_than_the_gateways_is_told_apart_from_a_missing_sign_in(served):
    session = served()
    client = openai.OpenAI(base_url=f"{session.url}/v1", api_key="sk-wrong", max_retries=0)
    with client, pytest.raises(openai.AuthenticationError, match="portico gateway key show"):
        client.models.list()
