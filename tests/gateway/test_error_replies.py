"""What programs read of a provider's error reaches the client, whether one candidate failed or several did."""

from __future__ import annotations

import json

import pytest

from portico.gateway.replies import provider_error_headers
from portico.models.provider_errors import ProviderError, read_provider_error
from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, configure, gateway
from tests.gateway.providers import DONE, END, STREAM_HEAD, WHOLE, answered, chunk, event, provider, word

pytestmark = pytest.mark.requirement("E147")

BODY = {"model": "acme/model", "messages": []}
TOO_LONG = {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
QUOTA = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}
LIMITS = {
    "x-request-id": "req_openai",
    "x-should-retry": "true",
    "retry-after": "7",
    "retry-after-ms": "6500",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-tokens": "6m0s",
}
ANTHROPIC_LIMITS = {
    "request-id": "req_anthropic",
    "x-should-retry": "false",
    "retry-after": "Fri, 31 Dec 2066 23:59:59 GMT",
    "anthropic-ratelimit-requests-remaining": "0",
}


def lines(headers):
    return [f"{name}: {value}" for name, value in headers.items()]


async def asked(paths, *answers, path=CHAT, api="openai-completions", key="acme-api-key"):
    """What a client gets where the first candidate answers with the first of `answers`, its fallback with the second, and so on."""
    names = ["acme", "backup"][: len(answers)]
    async with provider(answers[0]) as first, provider(answers[-1]) as second:
        bases = dict(zip(names, (first.base, second.base), strict=False))
        blocks = {name: {"baseUrl": base, "api": api, "apiKey": key} for name, base in bases.items()}
        configure(paths, blocks, fallbacks=[f"{name}/model" for name in names[1:]])
        async with gateway(paths) as here:
            return await here.json(path, BODY if len(answers) == 1 else {"messages": []})


@pytest.mark.parametrize(("path", "api"), [(CHAT, "openai-completions"), (RESPONSES, "openai-responses")])
async def test_an_error_of_openai_keeps_its_type_its_code_and_its_parameter(paths, path, api):
    status, body, headers = await asked(paths, answered({"error": TOO_LONG}, status=400), path=path, api=api)

    assert status == 400
    assert {name: body["error"][name] for name in ("type", "code", "param")} == {
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
        "param": "messages",
    }
    assert headers["x-portico-error"] == "provider-refused"


async def test_an_error_of_anthropic_keeps_its_type_and_its_request_id(paths):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_anthropic"}
    answer = answered(error, *lines(ANTHROPIC_LIMITS), status=503)
    status, body, headers = await asked(paths, answer, path=MESSAGES, api="anthropic-messages")

    assert (status, body["type"], body["error"]["type"], body["request_id"]) == (
        503,
        "error",
        "overloaded_error",
        "req_anthropic",
    )
    assert {name: headers[name] for name in ANTHROPIC_LIMITS} == ANTHROPIC_LIMITS


async def test_the_headers_that_tell_when_to_try_again_pass_as_they_came(paths):
    answer = answered({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, *lines(LIMITS), status=429)
    status, body, headers = await asked(paths, answer)

    assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
    passed = {name: headers[name] for name in LIMITS}
    assert 0 < int(passed.pop("retry-after-ms")) <= int(LIMITS["retry-after-ms"]), "what is left of it"
    assert passed.items() <= LIMITS.items()
    assert len(headers.getall("Retry-After")) == 1


async def test_the_headers_of_an_answer_that_is_none_of_an_error_pass_too(paths):
    _, _, headers = await asked(paths, answered({"choices": []}, "x-should-retry: false", "retry-after-ms: 12"))
    assert (headers["x-should-retry"], headers["retry-after-ms"]) == ("false", "12")


@pytest.mark.parametrize("size", [400, 3_000, 7_000])
async def test_a_message_comes_whole(paths, size):
    message = "in item 7: " + "x " * (size // 2) + "the end"
    _, body, _ = await asked(paths, answered({"error": {**TOO_LONG, "message": message}}, status=400))
    assert message in body["error"]["message"]


async def test_a_message_of_a_megabyte_is_bounded(paths):
    _, body, _ = await asked(paths, answered({"error": {"message": "y" * (1 << 20)}}, status=400))
    assert 200 < len(body["error"]["message"]) < 20_000


async def test_after_several_candidates_the_fields_headers_and_message_are_those_of_one_of_them(paths):
    def refusal(name):
        message = f"{name} says " + "so " * 300 + f"until {name} is done"
        error = {"message": message, "type": f"{name}_type", "param": f"{name}_param", "code": f"{name}_code"}
        return answered({"error": error}, f"x-request-id: req_{name}", "retry-after-ms: 6500", status=429)

    status, body, headers = await asked(paths, refusal("acme"), refusal("backup"))

    name = body["error"]["code"].removesuffix("_code")
    assert (status, name in {"acme", "backup"}) == (429, True)
    assert (body["error"]["type"], body["error"]["param"]) == (f"{name}_type", f"{name}_param")
    assert headers["x-request-id"] == f"req_{name}"
    assert 0 < int(headers["retry-after-ms"]) <= 6500, "what is left of it"
    assert f"until {name} is done" in body["error"]["message"]


async def test_an_error_in_a_streams_first_event_keeps_its_type(paths):
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}
    stream = STREAM_HEAD + chunk(b"event: error\n" + event(error))
    _, body, _ = await asked(paths, stream, path=MESSAGES, api="anthropic-messages")
    assert (body["error"]["type"], body["request_id"]) == ("overloaded_error", "req_1")


FIRST_EVENTS = {
    # https://platform.claude.com/docs/en/api/errors: each type stands for a status, which a stream has no room for.
    "invalid": (MESSAGES, {"type": "error", "error": {"type": "invalid_request_error", "message": "M"}}, 400),
    "limited": (MESSAGES, {"type": "error", "error": {"type": "rate_limit_error", "message": "M"}}, 429),
    "unpaid": (MESSAGES, {"type": "error", "error": {"type": "billing_error", "message": "M"}}, 402),
    "overloaded": (MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "M"}}, 502),
    # https://openrouter.ai/docs/api/reference/errors-and-debugging: `code` is the status.
    "numbered": (CHAT, {"error": {"code": 400, "message": "M"}}, 400),
    "numbered-limit": (CHAT, {"error": {"code": 429, "message": "M"}}, 429),
    "numbered-key": (CHAT, {"error": {"code": 401, "type": "invalid_request_error", "message": "M"}}, 502),
    "numbered-failure": (CHAT, {"error": {"code": 503, "message": "M"}}, 502),
    # https://platform.openai.com/docs/api-reference/responses-streaming: `error` and `response.failed`.
    "of-a-response": (
        RESPONSES,
        {"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "M"}}},
        429,
    ),
    "beside": (RESPONSES, {"type": "error", "code": "server_error", "message": "M", "param": "p"}, 502),
    "too-long": (RESPONSES, {"type": "error", "code": "context_length_exceeded", "message": "M", "param": "input"}, 400),
}
APIS = {CHAT: "openai-completions", MESSAGES: "anthropic-messages", RESPONSES: "openai-responses"}


@pytest.mark.parametrize("name", FIRST_EVENTS)
async def test_an_error_in_a_streams_first_event_is_what_its_type_says_in_the_shape_of_each_protocol(paths, name):
    path, sent, status = FIRST_EVENTS[name]
    found, body, _ = await asked(paths, STREAM_HEAD + chunk(event(sent)) + END, path=path, api=APIS[path])

    fields = sent.get("error") or sent.get("response", {}).get("error") or {**sent, "type": None}
    assert found == status
    assert "(200: M)" in body["error"]["message"], "and nothing else of the event"
    assert body["error"]["code"] == (fields.get("code") or {400: "provider-refused"}.get(status, body["error"]["code"]))
    assert body["error"].get("param") == fields.get("param")
    assert body["error"]["type"] == (fields.get("type") or body["error"]["type"]) != "error"


async def test_an_invalid_request_that_a_stream_tells_of_keeps_no_later_request_waiting(paths):
    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": "M"}}
    async with provider(STREAM_HEAD + chunk(event(refused)) + END) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "api": "anthropic-messages"}})
        async with gateway(paths) as here:
            for _ in range(2):
                await here.json(MESSAGES, BODY)
    assert len(acme.requests) == 2


async def test_a_used_up_quota_is_a_matter_of_payment_and_no_reason_to_wait(paths):
    status, body, headers = await asked(paths, answered({"error": QUOTA}, status=429))

    assert (status, body["error"]["code"], body["error"]["type"]) == (429, "insufficient_quota", "insufficient_quota")
    assert headers["x-portico-attempts"] == "acme/model; key; billing 429"
    assert (headers["x-portico-error"], headers["x-should-retry"]) == ("billing", "false")


@pytest.mark.parametrize("status", [403, 429, 200])
@pytest.mark.parametrize("code", ["insufficient_quota", "billing_not_active", "billing_hard_limit_reached"])
def test_each_code_that_asks_for_payment_is_read_as_that(status, code):
    body = json.dumps({"error": {"message": "See the documentation.", "code": code}}).encode()
    assert read_provider_error(status, {}, body, {}).kind == "billing"


def test_a_rejected_key_stays_a_rejected_key_whatever_else_the_error_says():
    body = json.dumps({"error": {"message": "No.", "type": "insufficient_quota", "code": "invalid_api_key"}}).encode()
    assert read_provider_error(401, {}, body, {}).kind == "auth"


async def test_the_gateways_own_rejected_credential_is_not_said_to_be_the_clients(paths):
    error = {"message": "Incorrect API key", "type": "authentication_error", "code": "invalid_api_key", "param": None}
    status, body, headers = await asked(paths, answered({"error": error}, "x-request-id: req_1", status=401))

    assert (status, body["error"]["type"], body["error"]["code"]) == (403, "permission_error", "credential-refused")
    assert headers["x-request-id"] == "req_1"


async def test_a_rejected_key_is_not_said_to_be_the_clients_whatever_status_the_provider_gives_it(paths):
    error = {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}
    status, body, _ = await asked(paths, answered({"error": error}, status=403))
    assert (status, body["error"]["type"], body["error"]["code"]) == (403, "permission_error", "credential-refused")


@pytest.mark.parametrize("octets", [b"a\x01b", b"a\x7fb", b"a\x1b[31mb", b"caf\xe9"])
@pytest.mark.parametrize("form", ["error", "whole", "stream"])
async def test_a_header_that_no_client_may_be_sent_is_left_out_and_the_answer_passes(paths, form, octets):
    forms = {
        "error": answered({"error": TOO_LONG}, status=400),
        "whole": answered(WHOLE),
        "stream": STREAM_HEAD + chunk(word("a") + DONE) + END,
    }
    first_line, rest = forms[form].split(b"\r\n", 1)
    answer = first_line + b"\r\nx-request-id: req_1\r\nx-ratelimit-note: " + octets + b"\r\n" + rest
    async with provider(answer) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask(CHAT, BODY) as got:
            text = await got.text()

    assert got.status == (400 if form == "error" else 200)
    assert ("choices" in text) == (form != "error")
    assert (got.headers["x-request-id"], got.headers.get("x-ratelimit-note")) == ("req_1", None)


async def test_no_field_and_no_header_shows_the_credential(paths):
    key = "q7ZtLw2RkN9xVb4Hc1MsPd"
    error = {"message": f"bad {key}", "type": f"t-{key}", "code": key, "param": f"Bearer {key}"}
    body = {"error": error, "request_id": key}
    answer = answered(body, f"x-request-id: {key}", f"x-ratelimit-{key}: 1", f"retry-after: {key}", status=400)
    status, reply, headers = await asked(paths, answer, key=key)
    assert status == 400
    assert key.lower() not in (json.dumps(reply) + str(headers)).lower()


@pytest.mark.parametrize(
    "error", ["text", 7, None, [], {"type": 7, "code": {"a": 1}, "param": [1]}, {"type": "x" * 5_000, "code": "c" * 5_000}]
)
async def test_fields_that_no_client_expects_are_replaced_by_the_gateways_own(paths, error):
    status, body, _ = await asked(paths, answered({"error": error, "request_id": 4}, status=400))
    assert (status, body["error"]["type"], body["error"]["code"], body["error"]["param"]) == (
        400,
        "invalid_request_error",
        "provider-refused",
        None,
    )


@pytest.mark.parametrize(
    ("kind", "wait_ms", "expected"),
    [
        ("plan-used-up", 3_600_000, "false"),
        ("plan-used-up", 20_000, None),
        ("rate-limit", None, None),
    ],
)
def test_a_plan_that_is_used_up_for_hours_is_not_worth_another_try(kind, wait_ms, expected):
    refusal = ProviderError(kind, "", status=429)
    assert provider_error_headers("plan-used-up", 429, refusal, wait_ms).get("x-should-retry") == expected
