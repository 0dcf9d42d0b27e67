"""Nothing that a client names is kept longer, or in more kinds, than a bound allows."""

from __future__ import annotations

import asyncio
import re

import pytest

from portico.models.failover import Cooldowns
from portico.models.provider_errors import ProviderError
from portico.testing.clock import FakeClock
from tests.gateway.fronts import CHAT, MESSAGES, RESPONSES, a_key, configure, gateway
from tests.gateway.providers import USAGE, WHOLE, answered, provider
from tests.key_index import key_index

pytestmark = pytest.mark.requirement("E126")
LONGEST = 256


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES, f"{MESSAGES}/count_tokens"])
@pytest.mark.parametrize("length", [LONGEST + 1, 1 << 20])
async def test_a_long_model_name_is_refused_and_kept_nowhere(paths, path, length, caplog):
    caplog.set_level("DEBUG")
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, headers = await here.json(path, {"model": ("acme/" + "long" * length)[:length], "messages": []})
            metrics = await (await here.get("/metrics")).text()
    assert (status, reply["error"]["code"]) == (400, "bad-model-name")
    assert reply["error"]["message"] == f"The model's name has more than 256 characters: {('acme/' + 'long' * 40)[:40]}..."
    assert acme.requests == []
    for kept in (metrics, caplog.text, str(headers)):
        assert "long" * 15 not in kept


async def test_a_name_of_the_longest_length_passes(paths):
    name = "m" * (LONGEST - len("acme/"))
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            assert (await here.json(body={"model": f"acme/{name}"}))[0] == 200
    assert acme.requests[0].json()["model"] == name


@pytest.mark.parametrize("name", ["acme/a\nb", "acme/\x1b[2J", "acme/\u202eb", "acme/a\0"])
async def test_a_name_that_cannot_be_seen_reaches_no_log(paths, name, caplog):
    caplog.set_level("DEBUG")
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            status, reply, _ = await here.json(body={"model": name})
    assert (status, reply["error"]["code"]) == (400, "bad-model-name")
    assert name not in caplog.text
    assert name not in reply["error"]["message"]


async def test_models_that_no_catalogue_lists_share_a_label_beyond_the_first_of_them(paths):
    async with provider(answered({**WHOLE, "usage": USAGE})) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for number in range(110):
                assert (await here.json(body={"model": f"acme/new-{number}"}))[0] == 200
            assert (await here.json(body={"model": "acme/model"}))[0] == 200
            metrics = await (await here.get("/metrics")).text()
    labels = set(re.findall(r'portico_attempts_total\{model="([^"]*)"', metrics))
    assert len(labels) == 102
    assert {"other", "acme/model", "acme/new-0"} < labels
    assert 'portico_tokens_total{model="other",kind="input"} 70' in metrics
    assert metrics.count('model="other"') == 3


def test_pauses_of_any_number_of_names_are_bounded_and_the_longest_stay():
    cooldowns = Cooldowns(FakeClock(auto=False))
    limited = ProviderError("rate-limit", "slow down", retry_after=3600.0)
    cooldowns.failed(("acme: key", "acme/model"), limited)
    for number in range(1100):
        cooldowns.failed(("acme: key", f"acme/{number}"), ProviderError("server", "it is down"))
    assert len(cooldowns.by_key) == 1000
    assert cooldowns.active(("acme: key", "acme/model")).provider_error is limited


async def test_names_of_models_and_queries_are_remembered_in_bounded_number(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            models = await here.front.models.now()
            for number in range(1050):
                models.candidates(f"acme/{number}", "openai-completions")
            upstream = here.front.parts.upstream
            for number in range(260):
                await upstream._route(f"{acme.base}/chat/completions?{number}{'x' * 2000}")
    assert len(models._known) <= 1000
    assert len(upstream._routes) <= 256


async def test_a_model_page_of_a_long_name_is_not_found(paths):
    configure(paths, {"acme": "http://127.0.0.1:9/v1"})
    async with gateway(paths) as here, here.get(f"/v1/models/acme/{'x' * 4000}") as answer:
        assert answer.status == 404
        assert "xxxx" not in await answer.text()


async def test_keys_that_come_and_go_leave_no_kinds_behind(paths):
    async with provider(answered(WHOLE)) as acme:
        configure(paths, {"acme": acme.base})
        async with gateway(paths) as here:
            for number in range(5):
                key = f"sk-portico-of-run-{number}"
                await asyncio.to_thread(key_index(paths).put, a_key(f"exec-tool-{number}", key))
                assert (await here.json(key=key))[0] == 200
            metrics = await (await here.get("/metrics")).text()
    assert "exec-tool" not in metrics
