"""Another candidate answers where one cannot, only before the first byte, and the answer says so."""

from __future__ import annotations

import json

import pytest

from minimax_portal_auth.plugin import SPEC
from portico.testing.clock import FakeClock
from tests.gateway.fronts import MESSAGES, RESPONSES, configure, gateway
from tests.gateway.providers import DONE, STREAM_HEAD, WHOLE, answered, chunk, event, provider, streamed, word

OTHER = {**WHOLE, "id": "other"}
BODY = {"model": "acme/model", "messages": []}


def error(message="Overloaded"):
    return {"error": {"message": message, "type": "x"}}


@pytest.fixture
def clock():
    return FakeClock()


async def both(paths, *answers, clock=None, body=BODY, times=1, api=None, path="/v1/chat/completions"):
    """What a client gets, once or several times, where `acme` answers so and `backup` always does."""
    block = {} if api is None else {"api": api}
    async with provider(*answers) as acme, provider(answered(OTHER)) as backup:
        configure(
            paths,
            {"acme": {"baseUrl": acme.base, **block}, "backup": {"baseUrl": backup.base, **block}},
            fallbacks=["backup/model"],
        )
        async with gateway(paths, clock=clock) as here:
            for _ in range(times):
                status, answer, headers = await here.json(path, body)
    return status, answer, headers, acme, backup, here


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (answered(error(), status=529), "server 529"),
        (answered(error("boom"), status=500), "server 500"),
        (answered(error(), status=503), "server 503"),
        (answered(error("slow down"), status=429), "rate-limit 429"),
        (answered(error("invalid api key"), status=401), "auth 401"),
        (answered(error("no"), status=403), "model-refused 403"),
        (answered(error("This API key is disabled"), status=403), "auth 403"),
        (answered(error("pay"), status=402), "billing 402"),
        (answered(b"<html>bad gateway</html>", status=502, content_type="text/html"), "server 502"),
        (answered(b"", "Location: https://elsewhere.example/v1", status=307), "server 307"),
        (answered({"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}), "server 200"),
        (streamed(event({"error": {"message": "Overloaded", "type": "overloaded_error"}})), "server 200"),
        (STREAM_HEAD + b"0\r\n\r\n", "answer-unknown"),
        (b"garbage\r\n\r\n", "answer-unknown"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n{}", "answer-unknown"),
    ],
)
async def test_the_fallback_answers_and_the_headers_say_why(paths, answer, word):
    status, reply, headers, _, backup, here = await both(paths, answer)

    assert (status, reply) == (200, OTHER)
    assert headers["x-portico-model"] == "backup/model"
    assert headers["x-portico-attempts"] == f"acme/model; key; {word}, backup/model; key; answered"
    assert len(backup.requests) == 1
    assert backup.requests[0].json()["model"] == "model"
    assert [attempt.outcome for attempt in here.outcomes[0].attempts] == ["failed", "answered"]


async def test_a_provider_that_is_not_there_is_passed_over(paths, unused_tcp_port):
    async with provider(answered(OTHER)) as backup:
        configure(paths, {"acme": f"http://127.0.0.1:{unused_tcp_port}/v1", "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            status, _, headers = await here.json(body=BODY)
    assert (status, headers["x-portico-attempts"]) == (200, "acme/model; key; unreachable, backup/model; key; answered")


@pytest.mark.parametrize("status", [400, 404, 413, 422])
async def test_a_request_that_is_itself_at_fault_goes_back_to_its_sender(paths, status):
    got, reply, headers, _, backup, here = await both(paths, answered(error("the 3rd message is empty"), status=status))

    assert got == status
    assert "the 3rd message is empty" in reply["error"]["message"]
    assert backup.requests == []
    assert "x-portico-model" not in headers
    assert here.outcomes[0].end == "refused"


async def test_no_other_is_tried_once_a_byte_has_gone_out(paths):
    async def broken(writer):
        writer.write(STREAM_HEAD + chunk(word("one")))
        await writer.drain()
        writer.transport.abort()

    async with provider(broken) as acme, provider(answered(OTHER)) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here, here.ask(body=BODY) as answer:
            with pytest.raises(Exception, match=r"payload|closed|reset"):
                await answer.read()
    assert backup.requests == []
    assert here.outcomes[0].end == "cut"


async def test_a_failed_one_rests_and_is_asked_again_when_its_pause_is_over(paths, clock):
    failing, fine = answered(error(), status=500), answered(WHOLE)
    async with provider(failing, fine) as acme, provider(answered(OTHER)) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths, clock=clock) as here:
            await here.json(body=BODY)
            _, _, resting = await here.json(body=BODY)
            assert len(acme.requests) == 1, "nobody asks it while it rests"
            assert resting["x-portico-attempts"] == "acme/model; key; resting after server, backup/model; key; answered"
            clock.advance(3)
            _, reply, back = await here.json(body=BODY)
    assert reply == WHOLE
    assert back["x-portico-attempts"] == "acme/model; key; answered"


async def test_it_rests_as_long_as_its_provider_says(paths, clock):
    async with (
        provider(answered(error(), "Retry-After: 100", status=429), answered(WHOLE)) as acme,
        provider(answered(OTHER)) as backup,
    ):
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths, clock=clock) as here:
            await here.json(body=BODY)
            clock.advance(99)
            assert (await here.json(body=BODY))[1] == OTHER
            clock.advance(2)
            assert (await here.json(body=BODY))[1] == WHOLE


async def test_one_that_never_answers_does_not_hide_the_rest(paths, clock):
    answers = answered(error("first"), status=500), answered(error("second"), status=503)
    async with provider(answers[0]) as acme, provider(answers[1]) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths, clock=clock) as here:
            status, reply, headers = await here.json(body=BODY)
            again = await here.json(body=BODY)
    assert status == 500, "the first one's"
    assert "none of 2 candidates answered" in reply["error"]["message"]
    assert "first" in reply["error"]["message"]
    assert "second" in reply["error"]["message"]
    assert headers["x-portico-attempts"] == "acme/model; key; server 500, backup/model; key; server 503"
    assert again[0] == 500


async def test_where_all_of_them_rest_the_client_is_told_until_when(paths, clock):
    used_up = answered(error("usage limit exceeded, resets at 2036-01-01T00:00:00Z (2056)"), status=429)
    async with provider(used_up) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths, clock=clock) as here:
            assert (await here.json(body=BODY))[0] == 429
            status, reply, _ = await here.json(body=BODY)
    assert len(acme.requests) == 1
    assert status == 429
    assert "was not asked again: in cooldown until 20" in reply["error"]["message"]


@pytest.mark.parametrize(
    ("path", "api", "shape"),
    [
        (MESSAGES, "anthropic-messages", {"type": "error", "error": {"type": "overloaded_error"}}),
        (RESPONSES, "openai-responses", {"error": {"type": "server_error", "param": None}}),
        ("/v1/chat/completions", "openai-completions", {"error": {"type": "server_error", "param": None}}),
    ],
)
async def test_the_error_has_the_shape_of_the_clients_own_vendor(paths, path, api, shape):
    async with provider(answered({"error": {"message": "Overloaded"}}, status=529)) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "api": api}})
        async with gateway(paths) as here:
            status, reply, _ = await here.json(path, BODY)
    assert status == 529
    assert reply["error"].items() >= shape["error"].items()
    assert reply.get("type") == shape.get("type")
    assert "Overloaded" in reply["error"]["message"]


async def test_counting_tokens_says_nothing_of_the_model(paths):
    async with provider(answered(error(), status=500), answered(WHOLE)) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "api": "anthropic-messages"}})
        async with gateway(paths) as here:
            assert (await here.json(f"{MESSAGES}/count_tokens", BODY))[0] == 500
            assert (await here.json(MESSAGES, BODY))[0] == 200


def refused(code, status=200):
    return answered({"base_resp": {"status_code": code, "status_msg": f"said ({code})"}}, status=status)


@pytest.mark.requirement("E72")
@pytest.mark.parametrize("code", sorted(SPEC.error_codes))
async def test_each_of_minimaxs_codes_moves_on_or_comes_back_as_its_kind_says(paths, code, monkeypatch):
    from portico.models.provider_errors import ProviderError

    elsewhere = ProviderError(SPEC.error_codes[code], "").may_succeed_elsewhere
    async with provider(refused(code)) as acme, provider(answered(OTHER)) as backup:
        block = {"baseUrl": acme.base, "apiKey": "x"}
        configure(paths, {"minimax": {**block, "models": [{"id": "model"}]}, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            status, reply, _ = await here.json(body={"model": "minimax/model", "messages": []})
    assert (status == 200) == elsewhere
    if not elsewhere:
        assert f"said ({code})" in json.dumps(reply)


async def test_a_stream_that_ends_with_an_error_is_told_as_cut(paths):
    async with provider(streamed(word("one"), event({"error": {"message": "Overloaded"}}))) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask(body=BODY) as answer:
            await answer.read()
    assert (here.outcomes[0].end, here.outcomes[0].why) == ("cut", "Overloaded")


async def test_a_stream_whose_first_event_is_fine_is_not_held_back(paths):
    async with provider(streamed(b": comment\n\n", word("one"), DONE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here, here.ask(body=BODY) as answer:
            assert await answer.read() == b": comment\n\n" + word("one") + DONE
