"""Answers that never come: what was sent is known, tried once more at once, and not again while that could do harm."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from portico.auth.fence import MAX_SENDS, MOST_SENDS
from portico.errors import NetworkError, SignInNeeded
from portico.testing.authorization_server import Fault, Gate
from tests.auth.parts import PROFILE, until


@pytest.mark.requirement("E32")
async def test_a_connection_dropped_before_the_request_was_seen_is_tried_again_at_once(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.add("/token", Fault(drop="before"))
    assert account.holds(await account.broker().access(PROFILE))
    assert account.posts == 2
    profile = account.index.get(PROFILE)
    assert (profile.fence, profile.failure) == (None, None)


@pytest.mark.requirement("E32")
@pytest.mark.parametrize("fault", [Fault(drop="after"), Fault(half=True)], ids=["no answer", "half an answer"])
async def test_a_lost_answer_that_the_server_does_not_give_again_ends_the_sign_in_and_says_why(account, fault):
    account.sign_in(ttl_s=100)
    account.clock.advance(90)
    account.server.faults.add("/token", fault)
    broker = account.broker()
    before = account.vault.read(PROFILE)
    assert (await broker.access(PROFILE)).token == before.access
    failure = account.index.get(PROFILE).failure
    assert (failure.id, failure.terminal, failure.code) == ("refresh-answer-lost", True, "invalid_grant")
    assert "lost on its way" in failure.message
    account.clock.advance(10)
    for _ in range(24):
        with pytest.raises(SignInNeeded, match="lost on its way"):
            await broker.access(PROFILE)
        account.clock.advance(3600)
    assert account.posts == 2
    assert account.vault.read(PROFILE) == before


@pytest.mark.requirement("E32")
async def test_answers_that_stay_lost_are_not_asked_for_again_while_the_access_token_serves(account):
    account.sign_in(ttl_s=1000)
    before = account.vault.read(PROFILE)
    account.clock.advance(850)
    account.server.faults.always("/token", Fault(drop="before"))
    broker = account.broker()
    for _ in range(60):
        assert (await broker.access(PROFILE)).token == before.access
        account.clock.advance(2)
    assert account.posts == MAX_SENDS
    fence, failure = account.index.get(PROFILE).fence, account.index.get(PROFILE).failure
    assert (fence.sends, failure.id, failure.terminal) == (MAX_SENDS, "refresh-answers-missing", False)
    assert before.refresh.reveal() not in account.paths.index.read_text()

    account.clock.advance(100)
    account.server.faults.always("/token", None)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == MAX_SENDS + 1


@pytest.mark.requirement("E32")
async def test_answers_that_stay_lost_are_asked_for_again_by_somebody_who_needs_one_and_by_no_timer(account):
    account.sign_in(ttl_s=60)
    account.server.faults.always("/token", Fault(drop="before"))
    broker = account.broker()
    account.clock.advance(60)
    for _ in range(24 * 6):
        with contextlib.suppress(NetworkError):
            await broker.refresh_if_due(PROFILE)
        account.clock.advance(600)
    assert account.posts == MAX_SENDS
    failure = account.index.get(PROFILE).failure
    assert failure.message.startswith(f"the answers to {MAX_SENDS} refreshes were lost; the sign-in may be over (sent at")

    account.server.faults.always("/token", None)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == MAX_SENDS + 1


@pytest.mark.requirement("E32")
async def test_a_timer_that_has_given_up_shuts_nobody_out(account):
    account.sign_in(ttl_s=60)
    account.server.faults.always("/token", Fault(drop="before"))
    broker = account.broker()
    account.clock.advance(60)
    while account.posts < MAX_SENDS:
        with contextlib.suppress(NetworkError):
            await broker.refresh_if_due(PROFILE)
        account.clock.advance(5)
    account.server.faults.always("/token", None)
    for _ in range(120):
        with contextlib.suppress(NetworkError):
            await broker.refresh_if_due(PROFILE)
        account.clock.advance(1)
    assert account.posts == MAX_SENDS
    assert account.holds(await broker.access(PROFILE))


@pytest.mark.requirement("E32")
async def test_answers_that_stay_lost_for_good_end_in_a_sign_in_after_a_dozen_sends_ever_more_rarely(account, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    account.sign_in(ttl_s=60)
    account.server.faults.always("/token", Fault(drop="before"))
    account.clock.advance(60)
    sent = []
    for minute in range(24 * 60):
        before = account.posts
        try:
            await account.broker().access(PROFILE)  # a new process each minute
        except SignInNeeded as error:
            ended = error
        except NetworkError:
            pass
        sent += [minute] * (account.posts - before)
        account.clock.advance(60)
    assert len(sent) == MOST_SENDS
    assert sent[-1] - sent[-2] >= 15
    assert "were lost" in str(ended)
    assert account.index.get(PROFILE).failure.terminal
    assert account.server.presented.total == MOST_SENDS


@pytest.mark.requirement("E32")
async def test_a_server_that_hangs_ends_at_the_deadline_on_either_clock(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gates = [Gate(), Gate()]
    account.server.faults.add("/token", *(Fault(gate=gate, drop="before") for gate in gates))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(10):
        await gates[0].reached()
        account.clock.advance(1)
        account.clock.advance(28)
        assert not caller.done()
        account.clock.advance(1)
        await gates[1].reached()
        await until(lambda: len(account.clock._sleepers) > 0)
        account.clock.advance(10)
        with pytest.raises(NetworkError) as raised:
            await caller
    assert raised.value.why == "no answer in time"
    assert account.posts == 2
    assert account.index.get(PROFILE).fence.sends == 2


@pytest.mark.requirement("E56")
async def test_a_machine_that_slept_during_a_request_asks_again_within_a_second_of_waking(account):
    account.sign_in(ttl_s=3600)
    account.clock.advance(3600)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate, drop="before"))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(10):
        await gate.reached()
        account.clock.jump(8 * 3600)  # the wall clock alone
        account.clock.advance(1)
        assert account.holds(await caller)
    assert account.posts == 2


@pytest.mark.requirement("E56")
async def test_without_a_network_nothing_counts_as_sent_and_it_is_looked_for_every_few_seconds(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        there = account.index.get(PROFILE).token_endpoint
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}/token"
        account.index.update(PROFILE, lambda profile: replace(profile, token_endpoint=nowhere))
        broker = account.broker()
        for _ in range(10):
            with pytest.raises(NetworkError):
                await broker.access(PROFILE)
            account.clock.advance(1)
    assert account.index.get(PROFILE).fence is None
    account.index.update(PROFILE, lambda profile: replace(profile, token_endpoint=there))
    account.clock.advance(5)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == 1


async def test_a_fence_of_tokens_that_were_replaced_means_nothing(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", Fault(drop="before"))
    with pytest.raises(NetworkError):
        await account.broker().access(PROFILE)
    account.server.faults.always("/token", None)
    account.sign_in(ttl_s=60)
    account.server.mint.revoke(account.vault.read(PROFILE).refresh.reveal())
    account.clock.advance(60)
    with pytest.raises(SignInNeeded):
        await account.broker().access(PROFILE)
    assert account.index.get(PROFILE).failure.id == "invalid-grant"


async def test_nothing_is_sent_where_the_fence_cannot_be_written(account):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    account.clock.advance(90)
    broker = account.broker()
    index = account.index.real
    honest = index.update

    def full(*_args):
        from portico.errors import StoreError

        raise StoreError("store-write-failed", "no space left")

    index.update = full
    assert (await broker.access(PROFILE)).token == before.access
    assert account.posts == 0
    index.update = honest
    account.clock.advance(10)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == 1
