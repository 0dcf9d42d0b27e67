"""A request that does not fit is answered with what to change: the path, the coding of its body, its Origin, its missing model."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest

from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, configure, gateway
from tests.gateway.helpers import body_of, status_of, talk
from tests.gateway.providers import WHOLE, answered, provider

BODY = b'{"messages":[]}'
JSON = "Content-Type: application/json"


@pytest.fixture
async def acme(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        yield acme


@pytest.fixture
async def here(paths, acme):
    async with gateway(paths) as here:
        yield here


async def raw(here, *headers, target=CHAT, method="POST", body=BODY, close=True):
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{here.port}", f"Authorization: Bearer {here.key}"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += ["Connection: close"] if close else []
    return await asyncio.to_thread(talk, here.port, "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body)


def header(answer, name):
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
    return next((line.partition(":")[2].strip() for line in head if line.lower().startswith(f"{name.lower()}:")), None)


def error_in(answer):
    return json.loads(body_of(answer))["error"]


ANTHROPIC, OPENAI = "anthropic", "openai"


@pytest.mark.requirement("E159")
@pytest.mark.parametrize(
    ("path", "meant", "base", "shape"),
    [
        ("/v1/v1/messages", MESSAGES, "", ANTHROPIC),
        ("/v1/v1/messages/count_tokens?beta=true", f"{MESSAGES}/count_tokens", "", ANTHROPIC),
        ("//v1/messages", MESSAGES, "", ANTHROPIC),
        ("/v1//messages", MESSAGES, "", ANTHROPIC),
        ("/v1/v1/chat/completions", CHAT, "", OPENAI),
        ("/v1/v1/v1/chat/completions", CHAT, "", OPENAI),
        ("//v1//chat/completions", CHAT, "", OPENAI),
        ("/v1/v1/models", "/v1/models", "", OPENAI),
        ("/v1/v1/models/acme%2Fmodel", "/v1/models", "", OPENAI),
        ("/messages", MESSAGES, "/v1", ANTHROPIC),
        ("/chat/completions", CHAT, "/v1", OPENAI),
        ("/responses", RESPONSES, "/v1", OPENAI),
        ("/models", "/v1/models", "/v1", OPENAI),
        ("/V1/Chat/Completions", CHAT, "/v1", OPENAI),
        ("/v1/chat/completions/", CHAT, "/v1", OPENAI),
        ("/v/chat/completions", CHAT, "/v1", OPENAI),
        ("/v2/responses", RESPONSES, "/v1", OPENAI),
        ("/api/v1/chat/completions", CHAT, "/v1", OPENAI),
        ("/anthropic/v1/messages", MESSAGES, "", ANTHROPIC),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_path_beside_the_one_that_was_meant_is_answered_with_it_and_with_the_base_url(
    here, acme, path, meant, base, shape, method
):
    answer = await raw(here, JSON, target=path, method=method)
    error, reply = error_in(answer), json.loads(body_of(answer))

    assert (status_of(answer), error["code"]) == (404, "not-found")
    assert f"Did you mean {meant}?" in error["message"]
    assert f"http://127.0.0.1:{here.port}{base}\n" in f"{error['message']}\n".replace(" ", "\n").replace(".\n", "\n")
    assert (reply.get("type"), error["type"]) == (
        ("error", "not_found_error") if shape == ANTHROPIC else (None, "invalid_request_error")
    )
    assert acme.requests == []


@pytest.mark.requirement("E159")
@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/embeddings", "/nowhere", "/v1/messagesx", "/xmessages", "/v1/../etc"])
async def test_of_a_path_that_is_near_to_none_it_is_said_what_there_is(here, path):
    error = error_in(await raw(here, target=path, method="GET", body=b""))
    assert "Did you mean" not in error["message"]
    assert f"http://127.0.0.1:{here.port}" in error["message"]


@pytest.mark.requirement("E159")
async def test_no_answer_repeats_a_path_that_was_received(here):
    for path in ("/v1/v1/models/<script>", "//evil.example/v1/messages", "/<b>/messages"):
        answer = await raw(here, JSON, target=path)
        assert status_of(answer) in {400, 404}
        assert b"<" not in body_of(answer)
        assert b"evil" not in body_of(answer)


@pytest.mark.requirement("E159")
async def test_the_base_url_is_the_one_that_the_client_reached(here):
    async with here.session.post(
        f"http://localhost:{here.port}/messages", data=BODY, headers={"x-api-key": here.key, "Content-Type": "application/json"}
    ) as answer:
        assert f"http://localhost:{here.port}/v1" in (await answer.json())["error"]["message"]


UPGRADES = [
    ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA"],
    ["Connection: Upgrade", "Upgrade: h2c"],
    ["Upgrade: h2c"],
    ["Connection: Upgrade", "Upgrade: TLS/1.0"],
    ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="],
    ["Connection: Upgrade", "Upgrade: websocket, h2c"],
]


@pytest.mark.requirement("E162")
@pytest.mark.parametrize("offer", UPGRADES)
async def test_an_offer_to_upgrade_is_ignored_and_the_request_answered(here, acme, offer):
    answer = await raw(here, JSON, *offer, "Connection: close", close=False)
    assert (status_of(answer), json.loads(body_of(answer))) == (200, WHOLE)
    assert acme.requests[0].json() == {"model": "model", "messages": []}
    assert {"upgrade", "http2-settings", "connection"}.isdisjoint(name.lower() for name, _ in acme.requests[0].headers)


@pytest.mark.requirement("E162")
@pytest.mark.parametrize("offer", UPGRADES)
async def test_after_such_an_offer_the_next_request_is_answered_too_or_the_connection_is_closed(here, offer):
    head = "\r\n".join(
        [
            f"POST {CHAT} HTTP/1.1",
            f"Host: 127.0.0.1:{here.port}",
            f"x-api-key: {here.key}",
            JSON,
            f"Content-Length: {len(BODY)}",
            *offer,
        ]
    ).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    try:
        async with asyncio.timeout(5):
            for _ in range(2):
                writer.write(head + b"\r\n\r\n" + BODY)
                received = await reader.readuntil(b"\r\n\r\n")
                assert received.startswith(b"HTTP/1.1 200")
                await reader.readexactly(int(header(received, "Content-Length")))
                if (header(received, "Connection") or "").lower() == "close":
                    assert await reader.read() == b""
                    break
    finally:
        writer.close()


@pytest.mark.requirement("E162")
@pytest.mark.parametrize("offer", UPGRADES)
async def test_a_request_sent_ahead_behind_such_an_offer_is_answered_or_the_connection_closed(here, offer):
    lines = [
        f"POST {CHAT} HTTP/1.1",
        f"Host: 127.0.0.1:{here.port}",
        f"x-api-key: {here.key}",
        JSON,
        f"Content-Length: {len(BODY)}",
    ]
    first, second = ("\r\n".join([*lines, *more, "", ""]).encode() + BODY for more in (offer, ["Connection: close"]))
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    try:
        async with asyncio.timeout(5):
            writer.write(first + second)
            answers = await reader.read()  # to the end of the connection, which comes at once and not when it has been idle
    finally:
        writer.close()
    head = answers.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 200")
    assert answers.count(b"HTTP/1.1 200") == (1 if (header(head, "Connection") or "").lower() == "close" else 2)


@pytest.mark.requirement("E162")
@pytest.mark.parametrize("path", ["/health", "/v1/models"])
async def test_a_page_that_is_read_ignores_the_offer_too(here, path):
    answer = await raw(here, *UPGRADES[0], "Connection: close", target=path, method="GET", body=b"", close=False)
    assert status_of(answer) == 200


@pytest.mark.requirement("E162")
async def test_a_websocket_of_a_web_page_is_refused_by_its_origin(here, acme):
    answer = await raw(here, JSON, *UPGRADES[4], "Origin: http://evil.example", "Connection: close", close=False)
    assert status_of(answer) == 403
    assert acme.requests == []


def squeezed(coding):
    return {"gzip": gzip.compress, "deflate": zlib.compress}.get(coding, lambda data: b"\x28\xb5\x2f\xfd" + data)(BODY)


@pytest.mark.requirement("E163")
@pytest.mark.parametrize("coding", ["zstd", "br", "compress", "nonsense", "gzip, zstd", "gzip, gzip"])
@pytest.mark.parametrize(("path", "shape"), [(CHAT, OPENAI), (MESSAGES, ANTHROPIC)])
async def test_a_coding_that_is_not_understood_is_named_with_those_that_are(here, acme, coding, path, shape):
    answer = await raw(here, JSON, f"Content-Encoding: {coding}", target=path, body=squeezed(coding))
    error = error_in(answer)

    assert (status_of(answer), error["code"], error["type"]) == (415, "wrong-content-coding", "invalid_request_error")
    assert header(answer, "Accept-Encoding") == "gzip, deflate"
    assert "Content-Encoding" in error["message"]
    assert "gzip" in error["message"]
    # What aiohttp cannot decode reaches no handler, so its path is unknown: that answer has both shapes at once.
    assert json.loads(body_of(answer)).get("type") == "error" or shape == OPENAI
    assert acme.requests == []


@pytest.mark.requirement("E163")
async def test_a_body_that_is_not_in_the_coding_it_names_is_a_broken_body(here, acme):
    answer = await raw(here, JSON, "Content-Encoding: gzip", body=b"not gzip at all")
    assert (status_of(answer), error_in(answer)["code"]) == (400, "body-broken")
    assert acme.requests == []


@pytest.mark.requirement("E163")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP", "identity"])
async def test_a_coding_that_is_understood_is_taken(here, acme, coding):
    body = BODY if coding == "identity" else squeezed(coding.lower())
    answer = await raw(here, JSON, f"Content-Encoding: {coding}", body=body)
    assert status_of(answer) == 200, body_of(answer)
    assert acme.requests[0].json() == {"model": "model", "messages": []}


@pytest.mark.requirement("E163")
@pytest.mark.parametrize(("path", "shape"), [(CHAT, OPENAI), (MESSAGES, ANTHROPIC), ("/v1/models", OPENAI), ("/health", OPENAI)])
@pytest.mark.parametrize(
    ("headers", "status", "named"),
    [
        (["Origin: http://evil.example"], 403, "Origin"),
        (["Sec-Fetch-Site: cross-site"], 403, "Sec-Fetch-Site"),
    ],
)
async def test_a_web_page_is_told_that_it_is_refused_for_being_one(here, path, shape, headers, status, named):
    answer = await raw(here, JSON, *headers, target=path)
    error = error_in(answer)
    assert (status_of(answer), error["code"], error["id"]) == (status, "wrong-origin", "wrong-origin")
    assert named in error["message"]
    assert (json.loads(body_of(answer)).get("type") == "error") is (shape == ANTHROPIC)
    assert b"evil" not in answer


@pytest.mark.requirement("E163")
async def test_another_host_is_told_the_address_to_use(here):
    lines = [f"POST {CHAT} HTTP/1.1", "Host: evil.example", "Connection: close", "", ""]
    answer = await asyncio.to_thread(talk, here.port, "\r\n".join(lines).encode())
    assert (status_of(answer), error_in(answer)["code"]) == (421, "wrong-host")
    assert f"127.0.0.1:{here.port}" in error_in(answer)["message"]


@pytest.mark.requirement("E163")
async def test_what_is_no_http_is_told_so(here):
    answer = await asyncio.to_thread(talk, here.port, b"nonsense\r\n\r\n")
    assert status_of(answer) == 400
    assert error_in(answer)["message"]


@pytest.mark.requirement("E163")
@pytest.mark.parametrize("path", [CHAT, MESSAGES])
@pytest.mark.parametrize(
    ("model", "body"),
    [
        (None, b'{"messages":[]}'),
        ({"fallbacks": []}, b'{"model":"","messages":[]}'),
        ({}, b'{"messages":[]}'),
    ],
)
async def test_without_a_default_model_a_client_is_told_to_name_one(paths, path, model, body):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        config = json.loads(paths.config.read_text())
        config["agents"]["defaults"] = {} if model is None else {"model": model}
        paths.config.write_text(json.dumps(config))
        async with gateway(paths) as here:
            status, reply, headers = await here.json(path, body)

    assert (status, reply["error"]["code"]) == (400, "no-default-model")
    assert "portico models set" in reply["error"]["message"]
    assert "model" in reply["error"]["message"]
    assert headers.get("x-should-retry") != "true"
    assert acme.requests == []
