"""Who is let in, and what is kept out in both directions: every hostile request is refused, and no provider hears of it."""

from __future__ import annotations

import asyncio
import logging

import pytest

from portico.secret import Secret
from portico.testing.canary import canary, in_text
from tests.gateway.fronts import CHAT, MESSAGES, a_key, configure, gateway
from tests.gateway.helpers import body_of, status_of, talk
from tests.gateway.providers import WHOLE, answered, provider
from tests.key_index import key_index

BODY = b'{"messages":[]}'
PATHS = [CHAT, MESSAGES, "/v1/models", "/metrics", "/health", "/nowhere", "/"]


@pytest.fixture
async def acme(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        yield acme


@pytest.fixture
async def here(paths, acme):
    async with gateway(paths) as here:
        yield here


async def raw(here, *headers, target=CHAT, method="POST", body=BODY, host=True, key=None):
    lines = [f"{method} {target} HTTP/1.1", "Connection: close"]
    lines += [f"Host: 127.0.0.1:{here.port}"] if host else []
    lines += [f"Authorization: Bearer {key or here.key}"] if key != "" else []
    lines += [f"Content-Length: {len(body)}"] if body is not None else []
    head = "\r\n".join([*lines, *headers, "", ""]).encode("latin-1")
    return await asyncio.to_thread(talk, here.port, head + (body or b""))


JSON = "Content-Type: application/json"


@pytest.mark.requirement("E63")
@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["Authorization: Bearer wrong"],
        ["Authorization: Bearer "],
        ["Authorization: {key}"],
        ["Authorization: Basic {key}"],
        ["Authorization: Bearer {key}", "Authorization: Bearer {key}"],
        ["x-api-key: {key}", "x-api-key: {key}"],
        ["Authorization: Bearer {key}x"],
        ["Authorization: Bearer " + "k" * 600],
        ["Proxy-Authorization: Bearer {key}"],
        ["Cookie: key={key}"],
    ],
)
async def test_without_its_key_nobody_is_let_in(here, acme, headers):
    given = [each.replace("{key}", here.key) for each in headers]
    for target in (CHAT, f"{CHAT}?key={here.key}&api_key={here.key}", "/v1/models", "/metrics", "/nowhere"):
        answer = await raw(here, JSON, *given, target=target, key="")
        assert status_of(answer) == 401, target
        assert in_text(answer.decode()) == []
    assert acme.requests == []


@pytest.mark.parametrize("header", ["Authorization: Bearer {key}", "authorization: bearer {key}", "X-API-Key: {key}"])
async def test_the_key_comes_as_either_vendor_sends_it(here, header):
    assert status_of(await raw(here, JSON, header.replace("{key}", here.key), key="")) == 200


async def test_a_key_counts_from_its_making_to_its_revocation_without_a_restart(here, paths):
    index, key = key_index(paths), canary("gatewaykey")
    assert status_of(await raw(here, JSON, key=key)) == 401
    await asyncio.to_thread(index.put, a_key("other", key))
    assert status_of(await raw(here, JSON, key=key)) == 200
    rotated = canary("gatewaykey")
    await asyncio.to_thread(index.put, a_key("other", rotated))
    assert status_of(await raw(here, JSON, key=key)) == 401, "the old one has ended"
    assert status_of(await raw(here, JSON, key=rotated)) == 200
    await asyncio.to_thread(index.edit, lambda draft: draft.remove("gateway:other"))
    assert status_of(await raw(here, JSON, key=rotated)) == 401
    assert status_of(await raw(here, JSON)) == 200, "another tool's key is untouched"


async def test_an_index_of_keys_that_cannot_be_read_lets_nobody_in(here, paths):
    assert status_of(await raw(here, JSON)) == 200
    await asyncio.to_thread(key_index(paths).path.write_text, "{ damaged")
    assert status_of(await raw(here, JSON)) == 401


HOSTILE = [
    ("Host: evil.example", 421),
    ("Host: 127.0.0.1", 421),
    ("Host: 127.evil.com:{port}", 421),
    ("Host: localhost.evil.com:{port}", 421),
    ("Host: 0x7f.1:{port}", 421),
    ("Host: [::ffff:127.0.0.1]:{port}", 421),
    ("Host: 127.0.0.1@evil.com:{port}", 421),
    ("Host: evil.example:{port}\r\nOrigin: http://evil.example:{port}", 421),
    ("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example", 403),
    ("Host: 127.0.0.1:{port}\r\nOrigin: null", 403),
    ("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}", 403),
    ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: cross-site", 403),
    ("Host: 127.0.0.1:{port}\r\nSec-Fetch-Site: same-site", 403),
    ("Host: localhost:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: http://evil.example", 403),
]


@pytest.mark.requirement("E64")
@pytest.mark.parametrize(("headers", "status"), HOSTILE)
@pytest.mark.parametrize("method", ["POST", "GET", "OPTIONS"])
async def test_a_web_page_is_refused_on_every_path_even_with_the_key(here, acme, headers, status, method):
    for target in PATHS:
        answer = await raw(here, JSON, headers.replace("{port}", str(here.port)), target=target, method=method, host=False)
        assert status_of(answer) == status, target
        assert b"Access-Control" not in answer
    assert acme.requests == []


@pytest.mark.requirement("E64")
@pytest.mark.parametrize(
    "content", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx"]
)
async def test_only_json_is_taken(here, acme, content):
    assert status_of(await raw(here, f"Content-Type: {content}")) == 415
    assert status_of(await raw(here)) == 415
    assert acme.requests == []


@pytest.mark.requirement("E65")
@pytest.mark.parametrize(
    "target",
    [
        "/v1/../v1/chat/completions",
        "/v1/%2e%2e/chat/completions",
        "/v1/%252e%252e/chat/completions",
        "//evil.example/v1/chat/completions",
        "/v1/chat\\completions",
        "/v1/chat/completions/",
        "/v1/chat/completions/../../../secret",
        "/V1/CHAT/COMPLETIONS",
        "http://evil.example/v1/chat/completions",
        "evil.example:443",
        "*",
        "/v1/chat/completions;x",
        "/v1/chat/completions#x",
        "/" + "a" * 10_000,
        "/v1/models/../chat/completions",
    ],
)
async def test_no_path_changes_where_a_request_goes(here, acme, target):
    answer = await raw(here, JSON, target=target)
    assert status_of(answer) in {400, 404, 405, 421}, answer[:200]
    assert acme.requests == []


@pytest.mark.requirement("E65")
@pytest.mark.parametrize("query", ["?a=1&b=%2e%2e", "?x=//evil.example/", "?http://evil.example"])
async def test_a_query_passes_as_it_was_written_and_stays_a_query(here, acme, query):
    assert status_of(await raw(here, JSON, target=CHAT + query)) == 200
    assert acme.requests[-1].path == CHAT + query


@pytest.mark.requirement("E66")
async def test_what_is_between_client_and_gateway_stays_there(here, acme):
    kept = [
        "Cookie: a=b",
        "X-Forwarded-For: 10.0.0.1",
        "Forwarded: for=10.0.0.1",
        "Proxy-Authorization: Basic eDp5",
        "Referer: http://127.0.0.1/secret",
        "Connection: keep-alive, X-Named",
        "X-Named: hop",
        "Keep-Alive: timeout=5",
        "TE: trailers",
        "X-Stainless-OS: Linux",
        "x-api-key: not-the-key",
        "Accept-Encoding: gzip",
    ]
    passed = ["Accept: text/event-stream", "User-Agent: tool/1", "anthropic-beta: x-2025", "OpenAI-Beta: y", "Idempotency-Key: z"]
    assert status_of(await raw(here, JSON, *kept, *passed)) == 200

    names = {name.lower() for name, _ in acme.requests[0].headers}
    assert names == {
        "host",
        "accept",
        "user-agent",
        "anthropic-beta",
        "openai-beta",
        "idempotency-key",
        "content-type",
        "accept-encoding",
        "content-length",
    }
    assert acme.requests[0].header("user-agent") == "tool/1"
    assert in_text("".join(value for _, value in acme.requests[0].headers)) == []


@pytest.mark.requirement("E66")
async def test_what_a_provider_means_for_browsers_is_not_handed_on(paths):
    dropped = [
        "Set-Cookie: a=b",
        "Strict-Transport-Security: max-age=1",
        "Alt-Svc: h3",
        "WWW-Authenticate: Basic",
        "Server: x",
        "X-Own: y",
    ]
    passed = ["Retry-After: 3", "request-id: r", "x-ratelimit-remaining: 5", "anthropic-ratelimit-x: 1"]
    async with provider(answered(WHOLE, *dropped, *passed)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask() as answer:
            names = {name.lower() for name in answer.headers}

    assert not names & {each.split(":")[0].lower() for each in dropped}
    assert names >= {each.split(":")[0].lower() for each in passed}


@pytest.mark.requirement("E66")
@pytest.mark.parametrize(
    "header", ["X-A: b\rc", "X-A: b\nc", "X-A: b\0c", "User-Agent: a\rHost: evil", "X A: b", "User-Agent: a\x0bb"]
)
async def test_a_line_break_in_a_header_is_refused(here, acme, header):
    answer = await raw(here, JSON, header)
    assert status_of(answer) in {200, 400}
    if status_of(answer) == 200:  # a lone LF ends a line: what follows is a header of its own, and is dropped
        assert not any("evil" in value or "\n" in value for _, value in acme.requests[0].headers)


SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: evil\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.requirement("E67")
@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 15", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: chunked", "Content-Length: 15"],
        ["Content-Length: 15", "Content-Length: 16"],
        ["Content-Length: +15"],
        ["Content-Length: 1_5"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding : chunked"],
    ],
)
async def test_a_body_whose_length_is_said_in_two_ways_is_refused(here, acme, headers):
    body = b"0\r\n\r\n" + SMUGGLED if "chunked" in headers[0] else BODY + SMUGGLED
    answer = await raw(here, JSON, *headers, body=None)
    assert status_of(answer) == 400
    head = "\r\n".join(
        [f"POST {CHAT} HTTP/1.1", f"Host: 127.0.0.1:{here.port}", f"Authorization: Bearer {here.key}", JSON, *headers, "", ""]
    )
    assert (await asyncio.to_thread(talk, here.port, head.encode() + body)).count(b"HTTP/1.") == 1
    assert acme.requests == []


@pytest.mark.requirement("E67")
async def test_a_chunked_body_with_extensions_and_trailers_is_one_body(here, acme):
    body = b"8;x=y\r\n" + BODY[:8] + b"\r\n%x\r\n" % len(BODY[8:]) + BODY[8:] + b"\r\n0\r\nX-Trailer: " + b"t" * 20 + b"\r\n\r\n"
    lines = [f"POST {CHAT} HTTP/1.1", f"Host: 127.0.0.1:{here.port}", f"Authorization: Bearer {here.key}", JSON]
    head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "Connection: close", "", ""]).encode()

    answer = await asyncio.to_thread(talk, here.port, head + body)

    assert status_of(answer) == 200
    assert acme.requests[0].body == b'{"model":"model","messages":[]}'
    assert acme.requests[0].header("transfer-encoding") is None


@pytest.mark.requirement("E67")
async def test_a_client_that_waits_for_100_continue_is_told_to_go_on(here):
    head = "\r\n".join(
        [
            f"POST {CHAT} HTTP/1.1",
            f"Host: 127.0.0.1:{here.port}",
            f"Authorization: Bearer {here.key}",
            JSON,
            "Expect: 100-continue",
            "Connection: close",
            f"Content-Length: {len(BODY)}",
            "",
            "",
        ]
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    writer.write(head.encode())
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert status_of(await reader.read()) == 200
    writer.close()


async def test_a_request_without_the_key_is_not_asked_for_its_body(here):
    answer = await raw(here, JSON, "Expect: 100-continue", key="wrong")
    assert status_of(answer) == 401


@pytest.mark.requirement("E71")
async def test_a_body_over_the_limit_is_refused_before_it_is_read(here, acme):
    answer = await raw(here, JSON, f"Content-Length: {(32 << 20) + 1}", body=None)
    assert status_of(answer) == 413
    assert b"body-too-long" in body_of(answer)
    assert acme.requests == []


async def test_the_log_and_the_counters_hold_no_credential(here, caplog):
    caplog.set_level(logging.DEBUG)
    await raw(here, JSON)
    await raw(here, JSON, key=canary("gatewaykey"))
    text = await (await here.get("/metrics")).text()
    assert "portico_refused_total" in text
    assert in_text(caplog.text + text) == []
    assert Secret(here.key).reveal() not in caplog.text
