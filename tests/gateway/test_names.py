"""Which model a name in a request means, and the list of names: as the config and the sign-ins are now."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.gateway.fronts import MESSAGES, configure, gateway
from tests.gateway.providers import WHOLE, answered, provider


@pytest.fixture
async def acme():
    async with provider(answered(WHOLE)) as acme:
        yield acme


def two_models(acme):
    return {"baseUrl": acme.base, "models": [{"id": "model"}, {"id": "other", "name": "The Other"}]}


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("acme/other", "other"),
        ("other", "other"),
        ("short", "other"),
        ("SHORT", "other"),
        ("gpt-4o", "other"),
        ("claude-sonnet-4-5", "model"),
        ("claude-haiku-9", "other"),
        (None, "model"),
    ],
)
async def test_a_name_is_a_reference_an_alias_a_bare_id_or_mapped(paths, acme, name, sent):
    names = {"gpt-4o": "acme/other", "claude-*": "acme/model", "claude-haiku-*": "short"}
    agents = {"defaults": {"model": "acme/model", "models": {"acme/other": {"alias": "short"}}, "allow": "all"}}
    configure(paths, {"acme": two_models(acme)}, names=names, extra={"agents": agents})
    async with gateway(paths) as here:
        status, reply, _ = await here.json(body={"messages": [], **({} if name is None else {"model": name})})
    assert status == 200, reply
    assert acme.requests[0].json()["model"] == sent


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("acme/Model", 404, "Did you mean acme/model?"),
        ("nobody/model", 404, "Unknown model: nobody/model"),
        ("modle", 404, "Invalid model reference: modle"),
    ],
)
async def test_a_name_that_means_nothing_says_what_was_probably_meant(paths, acme, name, status, says):
    configure(paths, {"acme": two_models(acme)})
    async with gateway(paths) as here:
        got, reply, _ = await here.json(body={"model": name, "messages": []})
    assert got == status
    assert says in reply["error"]["message"]
    assert acme.requests == []


async def test_a_default_without_a_credential_leaves_the_answer_to_the_fallback_and_says_so(paths, acme):
    configure(paths, {"acme": two_models(acme)}, primary="minimax/MiniMax-M2.1", fallbacks=["acme/model"])
    async with gateway(paths) as here:
        status, _, headers = await here.json(body={"model": "minimax/MiniMax-M2.1", "messages": []})
    assert (status, headers["x-portico-model"]) == (200, "acme/model")
    assert headers["x-portico-attempts"] == "acme/model; key; answered, minimax/MiniMax-M2.1; unknown-model"


@pytest.mark.requirement("E146")
async def test_a_named_model_without_a_credential_says_so_and_no_other_answers(paths, acme):
    configure(paths, {"acme": two_models(acme)}, fallbacks=["acme/other"])
    async with gateway(paths) as here:
        status, reply, _ = await here.json(body={"model": "minimax/MiniMax-M2.1", "messages": []})
    assert (status, acme.requests) == (403, [])
    assert reply["error"]["message"].startswith("Unknown model: minimax/MiniMax-M2.1")


async def test_where_nothing_has_a_credential_the_ways_out_are_named(paths):
    configure(paths, {}, primary="minimax/MiniMax-M2.1")
    async with gateway(paths) as here:
        status, reply, _ = await here.json(body={"messages": []})
    assert status == 403
    assert reply["error"]["message"].startswith("Unknown model: minimax/MiniMax-M2.1")
    assert "MINIMAX_API_KEY" in reply["error"]["message"]


async def test_a_model_that_is_not_served_over_the_protocol_names_those_that_are(paths, acme):
    blocks = {"acme": acme.base, "claude": {"baseUrl": "http://127.0.0.1:9", "api": "anthropic-messages"}}
    configure(paths, blocks)
    async with gateway(paths) as here:
        status, reply, _ = await here.json(MESSAGES, {"model": "acme/model", "messages": []})
    assert status == 400
    assert reply["error"]["code"] == "no-such-protocol"
    assert "it is served over openai-completions" in reply["error"]["message"]
    assert "claude/model" in reply["error"]["message"]


async def test_a_model_off_the_allow_list_is_refused(paths, acme):
    agents = {"defaults": {"model": "acme/model", "models": {"acme/model": {}}}}
    configure(paths, {"acme": two_models(acme)}, extra={"agents": agents})
    async with gateway(paths) as here:
        status, reply, _ = await here.json(body={"model": "acme/other", "messages": []})
    assert (status, reply["error"]["code"]) == (403, "model-not-allowed")


async def test_the_list_has_both_vendors_fields_and_every_name(paths, acme):
    agents = {"defaults": {"model": "acme/model", "models": {"acme/other": {"alias": "short"}}, "allow": "all"}}
    configure(
        paths, {"acme": two_models(acme)}, names={"gpt-4o": "acme/other", "claude-*": "acme/model"}, extra={"agents": agents}
    )
    async with gateway(paths) as here:
        listed = await (await here.get("/v1/models")).json()
        one = await (await here.get("/v1/models/acme%2Fother")).json()
        none = await here.get("/v1/models/nothing")
    ids = [entry["id"] for entry in listed["data"]]
    assert ids == ["acme/model", "acme/other", "short", "gpt-4o"]
    assert (listed["object"], listed["has_more"], listed["first_id"], listed["last_id"]) == ("list", False, ids[0], ids[-1])
    assert one["display_name"] == "The Other"
    assert one.keys() >= {"object", "created", "owned_by", "type", "created_at"}
    assert none.status == 404


async def test_a_change_of_the_config_counts_while_the_gateway_runs(paths, acme):
    configure(paths, {"acme": two_models(acme)})
    async with gateway(paths) as here:
        await here.json()
        await asyncio.to_thread(configure, paths, {"acme": two_models(acme)}, primary="acme/other")
        async with asyncio.timeout(5):
            while (await here.json(), acme.requests[-1].json()["model"])[1] != "other":
                pass
        await asyncio.to_thread(paths.config.write_text, "{ broken")
        async with asyncio.timeout(5):
            while here.front.models.error is None:
                assert (await here.json())[0] == 200, "what was read last still counts"
        await asyncio.to_thread(configure, paths, {"acme": two_models(acme)})
        async with asyncio.timeout(5):
            while acme.requests[-1].json()["model"] != "model":
                await here.json()


async def test_a_config_that_was_never_readable_is_said_to_each_client(paths):
    await asyncio.to_thread(paths.config.parent.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(paths.config.write_text, "{}")
    async with gateway(paths, meanwhile=lambda: paths.config.write_text("{ agents: { defaults: 5 } }")) as here:
        status, reply, _ = await here.json()
    assert status == 500
    assert "portico.json5" in reply["error"]["message"]
    assert json.dumps(reply)


@pytest.mark.requirement("E178")
@pytest.mark.parametrize("asked", ["a question", "the list's page"])
async def test_signed_out_is_said_as_that_and_not_as_an_unknown_model(paths, asked):
    on = {"plugins": {"entries": {"minimax-portal-auth": {"enabled": True}}}}
    configure(paths, {}, primary="minimax-portal/MiniMax-M2.1", extra=on)
    async with gateway(paths) as here:
        if asked == "a question":
            status, reply, _ = await here.json(body={"messages": []})
        else:
            async with here.get("/v1/models/minimax-portal/MiniMax-M2.1") as response:
                status, reply = response.status, await response.json()
    message = reply["error"]["message"]
    assert (status, reply["error"]["code"]) == (403, "not-signed-in")
    assert message.startswith("You are not signed in to minimax-portal (no credential for provider minimax-portal")
    assert "Run `portico onboard --auth-choice minimax-portal`." in message
