"""Every request leaves one row in the history: what it took and came to, and nothing of what it said."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from portico.testing.canary import canary
from tests.gateway.fronts import MESSAGES, configure, gateway
from tests.gateway.providers import DONE, END, STREAM_HEAD, WHOLE, answered, chunk, provider, streamed, word

COST = {"input": 1.0, "output": 2.0}


def rows(paths):
    with closing(sqlite3.connect(paths.history)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute("select * from requests order by at_ms, rowid")]


def priced(base):
    return {"baseUrl": base, "models": [{"id": "model", "cost": COST}]}


@pytest.mark.requirement("P10")
async def test_an_answer_is_noted_with_its_counts_its_price_and_its_client(paths):
    prompt, reply = canary("prompt"), canary("reply")
    whole = {**WHOLE, "choices": [{"message": {"content": reply}}]}
    async with provider(answered(whole), streamed(word(reply), DONE)) as acme:
        configure(paths, {"acme": priced(acme.base)})
        async with gateway(paths) as here:
            await here.json(body={"messages": [{"role": "user", "content": prompt}]})
            async with here.ask(body={"stream": True, "messages": [{"role": "user", "content": prompt}]}) as answer:
                await answer.read()

    found = await asyncio.to_thread(rows, paths)
    assert len(found) == 2
    for row in found:
        assert (row["model"], row["client"], row["outcome"], row["attempts"]) == ("acme/model", "tool", "answered", 1)
        assert (row["input_tokens"], row["output_tokens"], row["api"]) == (7, 3, "openai-completions")
        assert row["cost_usd"] == pytest.approx((7 * 1.0 + 3 * 2.0) / 1e6)
        assert row["first_byte_ms"] <= row["latency_ms"]
    held = await asyncio.to_thread(lambda: b"".join(path.read_bytes() for path in paths.state.glob("history*")))
    assert prompt.encode() not in held
    assert reply.encode() not in held
    assert here.key.encode() not in held


async def test_what_did_not_come_to_an_answer_is_noted_as_what_it_was(paths):
    async def broken(writer):
        writer.write(STREAM_HEAD + chunk(word("one")))
        await writer.drain()
        writer.transport.abort()

    async def endless(writer):
        writer.write(STREAM_HEAD + chunk(word("one")))
        await asyncio.Event().wait()

    refused = answered({"error": {"message": "slow down"}}, status=429)
    async with provider(broken, endless, refused) as acme:
        configure(paths, {"acme": priced(acme.base)})
        async with gateway(paths) as here:
            with pytest.raises(Exception, match=r"payload|closed|reset"):
                async with here.ask(body={"stream": True}) as answer:
                    await answer.read()
            gone = await here.ask(body={"stream": True})
            await gone.content.readany()
            gone.close()
            async with asyncio.timeout(5):
                while len(here.outcomes) < 2:
                    await asyncio.sleep(0.01)
            await here.json()

    found = await asyncio.to_thread(rows, paths)
    assert [row["outcome"] for row in found] == ["cut", "left", "rate-limit"]
    assert [row["cost_usd"] for row in found] == [None, None, 0.0]


async def test_a_fallbacks_answer_is_the_fallbacks_with_the_tries_before_it(paths):
    async with provider(answered({"error": {"message": "no"}}, status=500)) as acme, provider(answered(WHOLE)) as backup:
        configure(paths, {"acme": acme.base, "backup": backup.base}, fallbacks=["backup/model"])
        async with gateway(paths) as here:
            await here.json()
    (row,) = await asyncio.to_thread(rows, paths)
    assert (row["model"], row["attempts"], row["outcome"], row["cost_usd"]) == ("backup/model", 2, "answered", None)


async def test_counting_tokens_is_no_use_of_a_model_and_a_history_that_is_off_is_empty(paths):
    async with provider(answered({"input_tokens": 3})) as acme:
        configure(paths, {"acme": {"baseUrl": acme.base, "api": "anthropic-messages"}})
        async with gateway(paths) as here:
            await here.json(f"{MESSAGES}/count_tokens")
        assert not paths.history.exists() or await asyncio.to_thread(rows, paths) == []
        configure(paths, {"acme": {"baseUrl": acme.base, "api": "anthropic-messages"}}, extra={"history": "off"})
        async with gateway(paths) as here:
            await here.json(MESSAGES)
    assert not paths.history.exists() or await asyncio.to_thread(rows, paths) == []
    assert END
