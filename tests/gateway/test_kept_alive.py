"""What a provider sends to keep a client waiting reaches the client, and costs the fallback no more than it must."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from portico.gateway.forward import COMMENTS_S, HEAD_ALONE_S
from portico.testing.clock import FakeClock
from tests.gateway.fronts import CHAT, MESSAGES, configure, gateway
from tests.gateway.providers import DONE, END, STREAM_HEAD, USAGE, WHOLE, answered, chunk, event, provider, word

pytestmark = pytest.mark.requirement("E148")

BREAK = b"the connection breaks"
COMMENT = b": keep-alive\n\n"
ERROR = b"event: error\n" + event({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
JSON_HEAD = STREAM_HEAD.replace(b"text/event-stream", b"application/json")


class Slow:
    """A provider whose stream comes when the test says so."""

    def __init__(self, *first):
        self.first = first
        self.rest = asyncio.Queue()
        self.sent = asyncio.Event()

    async def __call__(self, writer):
        writer.write(b"".join(self.first))
        self.sent.set()
        while (piece := await self.rest.get()) is not None:
            if piece == BREAK:
                writer.transport.abort()
            writer.write(piece)

    def send(self, *pieces, ends=False):
        for piece in (*pieces, *([None] if ends else [])):
            self.rest.put_nowait(piece)


@contextlib.asynccontextmanager
async def waiting(paths, slow, path=CHAT, api="openai-completions"):
    """A client that waits for the answer of `slow`; another provider would answer in its place."""
    clock = FakeClock(auto=False)
    async with provider(slow) as acme, provider(answered({**WHOLE, "id": "other"})) as backup:
        configure(
            paths,
            {name: {"baseUrl": one.base, "api": api} for name, one in (("acme", acme), ("backup", backup))},
            fallbacks=["backup/model"],
        )
        async with gateway(paths, clock=clock) as here:
            asking = asyncio.create_task(here.ask(path, {"messages": []}).__aenter__())
            try:
                await slow.sent.wait()
                yield here, clock, asking, acme, backup
            finally:
                asking.cancel()
                await asyncio.wait([asking])
                if not asking.cancelled():
                    asking.result().close()


async def passed(clock, seconds, *, of):
    """Let `seconds` pass once the gateway has begun to wait for no longer than `of`."""
    async with asyncio.timeout(5):
        while not any(0 < asked <= of for asked in clock.slept):
            await asyncio.sleep(0.001)
    clock.advance(seconds)


async def test_comments_alone_reach_the_client_after_a_moment_and_the_answer_follows(paths):
    slow = Slow(STREAM_HEAD, chunk(COMMENT))
    async with waiting(paths, slow) as (here, clock, asking, _, backup):
        await passed(clock, COMMENTS_S / 2, of=COMMENTS_S)
        await asyncio.sleep(0.02)
        assert not asking.done()

        clock.advance(COMMENTS_S / 2)
        answer = await asyncio.wait_for(asking, 5)
        assert (answer.status, answer.headers["x-portico-model"]) == (200, "acme/model")
        assert await asyncio.wait_for(answer.content.readany(), 5) == COMMENT

        slow.send(chunk(COMMENT))
        assert await asyncio.wait_for(answer.content.readany(), 5) == COMMENT
        slow.send(chunk(word("one")), chunk(DONE), END, ends=True)
        assert await asyncio.wait_for(answer.read(), 5) == word("one") + DONE
    assert backup.requests == []
    assert (here.outcomes[0].end, here.outcomes[0].usage.output) == ("answered", USAGE["completion_tokens"])


async def test_comments_that_keep_coming_do_not_put_that_moment_off(paths):
    slow = Slow(STREAM_HEAD, chunk(COMMENT))
    async with waiting(paths, slow) as (_, clock, asking, _, _):
        for _ in range(4):
            await passed(clock, COMMENTS_S / 4, of=COMMENTS_S)
            clock.slept.clear()
            slow.send(chunk(COMMENT))
        assert (await asyncio.wait_for(asking, 5)).status == 200


async def test_until_then_an_error_in_the_first_event_brings_in_the_fallback(paths):
    slow = Slow(STREAM_HEAD, chunk(COMMENT))
    async with waiting(paths, slow, MESSAGES, "anthropic-messages") as (_, clock, asking, _, backup):
        await passed(clock, COMMENTS_S / 2, of=COMMENTS_S)
        slow.send(chunk(ERROR), END, ends=True)
        answer = await asyncio.wait_for(asking, 5)
        assert (await answer.json())["id"] == "other"
    assert len(backup.requests) == 1


async def test_after_that_an_error_passes_as_it_is_and_nobody_else_is_asked(paths):
    slow = Slow(STREAM_HEAD, chunk(COMMENT))
    async with waiting(paths, slow, MESSAGES, "anthropic-messages") as (here, clock, asking, _, backup):
        await passed(clock, COMMENTS_S, of=COMMENTS_S)
        answer = await asyncio.wait_for(asking, 5)
        slow.send(chunk(ERROR), END, ends=True)
        assert await asyncio.wait_for(answer.read(), 5) == COMMENT + ERROR
    assert backup.requests == []
    assert (here.outcomes[0].end, here.outcomes[0].why) == ("cut", "Overloaded")


async def test_a_stream_that_breaks_after_its_comments_is_broken_at_the_client(paths):
    slow = Slow(STREAM_HEAD, chunk(COMMENT))
    async with waiting(paths, slow) as (here, clock, asking, _, backup):
        await passed(clock, COMMENTS_S, of=COMMENTS_S)
        answer = await asyncio.wait_for(asking, 5)
        slow.send(BREAK, ends=True)
        with pytest.raises(Exception, match=r"payload|closed|reset"):
            await asyncio.wait_for(answer.read(), 5)
    assert (backup.requests, here.outcomes[0].end) == ([], "cut")


async def test_a_head_alone_reaches_the_client_before_it_gives_up(paths):
    slow = Slow(STREAM_HEAD)
    async with waiting(paths, slow) as (_, clock, asking, _, backup):
        await passed(clock, HEAD_ALONE_S / 2, of=HEAD_ALONE_S)
        await asyncio.sleep(0.02)
        assert not asking.done()

        clock.advance(HEAD_ALONE_S / 2)
        answer = await asyncio.wait_for(asking, 5)
        slow.send(chunk(word("one")), chunk(DONE), END, ends=True)
        assert await asyncio.wait_for(answer.read(), 5) == word("one") + DONE
    assert backup.requests == []


async def test_a_client_that_leaves_takes_the_request_with_it(paths):
    slow = Slow(STREAM_HEAD, chunk(COMMENT))
    async with waiting(paths, slow) as (here, clock, asking, acme, _):
        await passed(clock, COMMENTS_S, of=COMMENTS_S)
        (await asyncio.wait_for(asking, 5)).close()
        async with asyncio.timeout(5):
            while acme.open or not here.outcomes:
                await asyncio.sleep(0.005)
        assert here.outcomes[0].end == "client-gone"


async def test_blank_lines_before_an_answer_in_one_piece_reach_the_client_too(paths):
    """DeepSeek sends empty lines while such a request waits for its turn (https://api-docs.deepseek.com/quick_start/rate_limit)."""
    slow = Slow(JSON_HEAD, chunk(b"\n"))
    async with waiting(paths, slow) as (here, clock, asking, _, backup):
        await passed(clock, COMMENTS_S, of=COMMENTS_S)
        answer = await asyncio.wait_for(asking, 5)
        assert await asyncio.wait_for(answer.content.readany(), 5) == b"\n"
        slow.send(chunk(b"\n" + json.dumps(WHOLE).encode()), END, ends=True)
        assert json.loads(await asyncio.wait_for(answer.read(), 5)) == WHOLE
    assert backup.requests == []
    assert (here.outcomes[0].end, here.outcomes[0].usage.output) == ("answered", USAGE["completion_tokens"])


async def test_an_answer_in_one_piece_is_judged_whole_however_slowly_it_comes(paths):
    reply = json.dumps({"base_resp": {"status_code": 1000, "status_msg": "unknown error"}}).encode()
    slow = Slow(JSON_HEAD, chunk(b"\n"), chunk(reply[:9]))
    async with waiting(paths, slow) as (_, clock, asking, _, backup):
        clock.advance(10 * COMMENTS_S)
        slow.send(chunk(reply[9:]), END, ends=True)
        answer = await asyncio.wait_for(asking, 5)
        assert (await answer.json())["id"] == "other"
    assert len(backup.requests) == 1
