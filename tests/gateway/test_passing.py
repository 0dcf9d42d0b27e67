"""Requests and answers pass the gateway byte for byte but for the model's name and the credentials."""

from __future__ import annotations

import asyncio
import json

import pytest

from portico.models.protocols import PROTOCOLS
from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, configure, gateway
from tests.gateway.providers import DONE, END, STREAM_HEAD, USAGE, WHOLE, answered, chunk, event, provider, streamed, word

BODY = (
    b'{ "stream": false,\n  "model" : "acme/model", "messages":[{"role":"user","content":"\xc3\xa9 \\u00e9 model"}] , "x":1e400 }'
)


async def test_the_body_passes_as_it_was_written_but_for_the_models_name(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, answer, headers = await here.json(body=BODY)

    (request,) = acme.requests
    assert (status, answer) == (200, WHOLE)
    assert request.line == f"POST {CHAT} HTTP/1.1"
    assert request.body == BODY.replace(b'"acme/model"', b'"model"')
    assert headers["x-portico-model"] == "acme/model"
    assert headers["x-portico-attempts"] == "acme/model; key; answered"


async def test_a_body_without_a_model_gets_the_default_one(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            await here.json(body=b"{ }")
            await here.json(body=b'{"stream":false}')

    assert [request.body for request in acme.requests] == [b'{"model":"model" }', b'{"model":"model","stream":false}']


@pytest.mark.parametrize(
    ("api", "path", "sent"),
    [
        ("openai-completions", CHAT, "/v1/chat/completions"),
        ("openai-responses", RESPONSES, "/v1/responses"),
        ("anthropic-messages", MESSAGES, "/v1/messages"),
        ("anthropic-messages", f"{MESSAGES}?beta=true", "/v1/messages?beta=true"),
        ("anthropic-messages", f"{MESSAGES}/count_tokens", "/v1/messages/count_tokens"),
    ],
)
async def test_each_path_goes_to_the_providers_own_path_of_its_protocol(paths, api, path, sent):
    async with provider(answered({"choices": []})) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "api": api}})
        async with gateway(paths) as here:
            assert (await here.json(path))[0] == 200

    assert acme.requests[0].path == sent
    assert acme.requests[0].header("anthropic-version") == ("2023-06-01" if api.startswith("anthropic") else None)


@pytest.mark.parametrize(
    ("api", "path", "name"), [("openai-completions", CHAT, "Authorization"), ("anthropic-messages", MESSAGES, "X-Api-Key")]
)
async def test_the_credential_wins_over_a_configured_header_in_every_spelling(paths, api, path, name):
    async with provider(answered({"choices": []})) as acme:
        headers = dict.fromkeys((name, name.lower(), name.upper()), "other")
        configure(paths, {"acme": {"baseUrl": acme.base, "api": api, "headers": headers, "apiKey": "the-key"}})
        async with gateway(paths) as here:
            assert (await here.json(path))[0] == 200

    values = [value for each, value in acme.requests[0].headers if each.lower() == name.lower()]
    assert [value.removeprefix("Bearer ") for value in values] == ["the-key"]


def test_the_headers_of_a_protocol_are_lower_case_as_the_gateway_merges_them():
    assert [name for protocol in PROTOCOLS.values() for name in protocol.headers() if name != name.lower()] == []


async def test_a_stream_passes_as_it_comes(paths):
    """Each event is with the client before the provider sends the next one."""
    heard = asyncio.Event()

    async def one_by_one(writer):
        writer.write(STREAM_HEAD)
        for text in ("one", "two", "three"):
            heard.clear()
            writer.write(chunk(word(text)))
            async with asyncio.timeout(5):
                await heard.wait()
        writer.write(chunk(DONE) + END)

    async with provider(one_by_one) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask(body={"stream": True}) as answer:
            received = []
            async for data in answer.content.iter_any():
                received.append(data)
                heard.set()

    assert b"".join(received) == word("one") + word("two") + word("three") + DONE
    assert len(received) >= 4
    (outcome,) = here.outcomes
    assert (outcome.end, outcome.usage.input, outcome.usage.output) == ("answered", 7, 3)


async def test_an_event_that_is_split_over_pieces_arrives_whole_and_is_counted(paths):
    whole = word("one") + DONE
    pieces = [whole[at : at + 3] for at in range(0, len(whole), 3)]

    async with provider(streamed(*pieces)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask(body={"stream": True}) as answer:
            assert await answer.read() == whole

    assert here.outcomes[0].usage.output == 3


async def test_an_answer_that_comes_packed_passes_untouched(paths):
    import gzip

    packed = gzip.compress(json.dumps(WHOLE).encode())
    async with provider(answered(packed, "Content-Encoding: gzip")) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask() as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert await answer.read() == packed

    assert acme.requests[0].header("accept-encoding") == "identity"


async def test_an_answer_too_long_to_be_held_passes_as_it_comes(paths):
    body = b'{"choices":[],"x":"' + b"y" * (9 << 20) + b'"}'
    async with provider(answered(body)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask() as answer:
            assert await answer.read() == body


async def test_a_connection_to_the_provider_is_used_again(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for _ in range(3):
                assert (await here.json())[0] == 200
    assert acme.connections == 1


async def test_a_kept_connection_that_its_server_has_closed_is_replaced_unseen(paths):
    async def once(writer):
        writer.write(answered(WHOLE))
        await writer.drain()
        writer.close()

    async with provider(once) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for _ in range(3):
                assert (await here.json())[0] == 200
    assert acme.connections == 3


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"])
async def test_an_interim_answer_is_passed_over(paths, interim):
    async with provider(interim + answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            assert (await here.json())[:2] == (200, WHOLE)


async def test_the_counts_of_an_answer_in_one_piece_are_told(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            await here.json()
            text = await (await here.get("/metrics")).text()

    (outcome,) = here.outcomes
    assert (outcome.call.client, str(outcome.model.reference)) == ("tool", "acme/model")
    assert (outcome.usage.input, outcome.usage.output) == (USAGE["prompt_tokens"], USAGE["completion_tokens"])
    assert 'portico_tokens_total{model="acme/model",kind="input"} 7' in text
    assert 'portico_requests_total{path="/v1/chat/completions",end="answered",status="200"} 1' in text


async def test_anthropics_stream_is_counted_from_its_first_event_and_its_last(paths):
    events = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": 'usage":{'}},
        {"type": "message_delta", "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    async with provider(streamed(*map(event, events))) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "api": "anthropic-messages"}})
        async with gateway(paths) as here, here.ask(MESSAGES, {"stream": True}) as answer:
            await answer.read()

    usage = here.outcomes[0].usage
    assert (usage.input, usage.output, usage.cache_read) == (5, 9, 2)
