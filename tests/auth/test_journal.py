"""Lost responses: a sent token is known, tried again at once, and then not while that could do harm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from dataclasses import replace

import pytest

from portico.auth.journal import IMMEDIATE_SENDS, new_entry
from portico.errors import NetworkError, SignInNeeded
from portico.testing.authorization_server import CLIENT_ID, Fault, Gate
from tests.auth.helpers import PROFILE, until


@pytest.mark.requirement("E32")
async def test_a_connection_dropped_before_the_request_was_seen_is_tried_again_at_once(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.add("/token", Fault(drop="before"))
    assert account.holds(await account.broker().access(PROFILE))
    assert account.posts == 2
    profile = account.index.get(PROFILE)
    assert (profile.journal_entry, profile.failure) == (None, None)


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
    assert (failure.id, failure.terminal, failure.code) == ("sign-in-ended", True, "invalid_grant")
    assert "The response with the new tokens was lost" in failure.message
    account.clock.advance(10)
    for _ in range(24):
        with pytest.raises(SignInNeeded, match="The response with the new tokens was lost"):
            await broker.access(PROFILE)
        account.clock.advance(3600)
    assert account.posts == 2
    assert account.vault.read(PROFILE) == before


MINUTE = 60


async def sends(account, hours, ask, *, step_s=MINUTE):
    """In which minutes a token was sent while `ask` came once in `step_s` seconds; several in a minute stand as often."""
    sent = []
    for step in range(hours * 3600 // step_s):
        before = account.posts
        with contextlib.suppress(NetworkError):
            await ask()
        sent += [step * step_s // MINUTE] * (account.posts - before)
        account.clock.advance(step_s)
    return sent


@pytest.mark.requirement("E96")
@pytest.mark.parametrize("who", ["a caller who needs one", "a timer", "a new process each time"])
async def test_a_token_whose_answers_stay_lost_is_sent_again_after_1_5_30_and_then_each_60_minutes(account, who):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", Fault(drop="before"))
    one = account.broker()

    async def ask():
        if who == "a timer":
            await one.refresh_if_due(PROFILE)
        else:
            await (one if who == "a caller who needs one" else account.broker()).access(PROFILE)

    sent = await sends(account, 6, ask, step_s=10)
    at_once, later = sent[:IMMEDIATE_SENDS], sent[IMMEDIATE_SENDS:]
    assert max(at_once) == 0
    gaps = [after - before for before, after in zip([0, *later], later, strict=False)]
    assert gaps == [1, 5, 30, 60, 60, 60, 60, 60]


@pytest.mark.requirement("E96")
@pytest.mark.parametrize("fault", [Fault(drop="before"), Fault(status=200, body=b"{}")])
async def test_no_number_of_lost_answers_ends_a_sign_in(account, fault):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", fault)
    broker = account.broker()
    sent = await sends(account, 24 * 3, lambda: broker.access(PROFILE), step_s=5 * MINUTE)
    assert len(sent) > 60
    profile = account.index.get(PROFILE)
    assert not profile.failure.terminal
    assert profile.journal_entry.sends == len(sent)
    account.server.faults.always("/token", None)
    account.clock.advance(3600)
    assert account.holds(await broker.access(PROFILE))
    profile = account.index.get(PROFILE)
    assert (profile.failure, profile.journal_entry) == (None, None)


@pytest.mark.requirement("E96")
async def test_an_hour_of_dropped_connections_is_reported_and_costs_nothing_once_it_is_over(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", Fault(drop="before"))
    await sends(account, 1, lambda: account.broker().access(PROFILE))
    failure = account.index.get(PROFILE).failure
    assert (failure.id, failure.terminal) == ("refresh-answers-missing", False)
    assert f"The responses to {account.posts} refreshes were lost (it hung up; sent at" in failure.message
    with pytest.raises(NetworkError, match="were lost"):
        await account.broker().access(PROFILE)
    account.server.faults.always("/token", None)
    account.clock.advance(3600)
    assert account.holds(await account.broker().access(PROFILE))


@pytest.mark.requirement("E96")
async def test_while_the_access_token_serves_it_is_handed_out_and_the_next_one_is_tried_for_as_rarely(account):
    account.sign_in(ttl_s=8 * 3600)
    before = account.vault.read(PROFILE)
    account.clock.advance(8 * 3600 - 290)
    account.server.faults.always("/token", Fault(drop="before"))
    broker = account.broker()
    for _ in range(28):
        assert (await broker.access(PROFILE)).token == before.access
        account.clock.advance(10)
    assert account.posts == IMMEDIATE_SENDS + 1
    assert before.refresh.reveal() not in account.paths.index.read_text()


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
    assert account.index.get(PROFILE).journal_entry.sends == 2


@pytest.mark.requirement("E56")
async def test_a_machine_that_slept_during_a_request_asks_again_within_a_second_of_waking(account):
    account.sign_in(ttl_s=3600)
    account.clock.advance(3600)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate, drop="before"))
    account.clock.boot_name = ""  # a system whose monotonic clock stands still in sleep
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
    assert account.index.get(PROFILE).journal_entry is None
    account.index.update(PROFILE, lambda profile: replace(profile, token_endpoint=there))
    account.clock.advance(5)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == 1


async def test_a_journal_entry_of_tokens_that_were_replaced_means_nothing(account):
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
    assert account.index.get(PROFILE).failure.id == "sign-in-ended"


async def test_nothing_is_sent_if_the_journal_entry_cannot_be_written(account):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    account.clock.advance(90)
    broker = account.broker()
    index = account.index.real
    original = index.update

    def full(*_args):
        from portico.errors import StoreError

        raise StoreError("file-failed", "no space left")

    index.update = full
    assert (await broker.access(PROFILE)).token == before.access
    assert account.posts == 0
    index.update = original
    account.clock.advance(10)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == 1


@pytest.mark.requirement("E100")
@pytest.mark.parametrize("step_s", [45, 3600, -3600])
async def test_a_clock_that_is_set_while_an_answer_is_awaited_ends_no_request(account, step_s):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(10):
        await gate.reached()
        account.clock.jump(step_s)
        account.clock.advance(1)
        await asyncio.sleep(0.1)
        gate.release()
        assert account.holds(await caller)
    assert account.posts == 1


@pytest.mark.requirement("E96")
async def test_a_page_in_the_servers_place_is_tried_again_within_a_minute_and_spends_nothing(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", Fault(status=200, body=b"<html>sign in to the hotel's network</html>"))
    broker = account.broker()
    await sends(account, 8, lambda: broker.access(PROFILE))
    assert account.index.get(PROFILE).journal_entry is None
    account.server.faults.always("/token", None)
    account.clock.advance(60)
    assert account.holds(await broker.access(PROFILE))


@pytest.mark.requirement("E97")
@pytest.mark.parametrize("body", [b'{"error": "server_error"}', b'{"error": "invalid_grant"}'])
async def test_a_failure_by_name_under_http_200_has_spent_nothing(account, body):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.add("/token", Fault(status=200, body=body))
    with pytest.raises(NetworkError):
        await account.broker().access(PROFILE)
    assert account.index.get(PROFILE).journal_entry is None


@pytest.mark.requirement("E96")
async def test_a_token_whose_senders_are_killed_is_not_sent_at_each_start(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    refresh = account.vault.read(PROFILE).refresh
    for _ in range(IMMEDIATE_SENDS):
        now = account.clock.wall_ms()
        account.index.update(PROFILE, lambda profile, now=now: replace(profile, journal_entry=new_entry(profile, refresh, now)))
    for _ in range(59):
        with pytest.raises(NetworkError, match="were lost"):
            await account.broker().access(PROFILE)
        account.clock.advance(1)
    assert account.posts == 0
    account.clock.advance(1)
    assert account.holds(await account.broker().access(PROFILE))


@pytest.mark.requirement("E91")
@pytest.mark.parametrize("access", [None, "a b", "at\n"])
async def test_a_refresh_token_that_comes_without_an_access_token_of_use_is_the_next_one(account, access):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    account.clock.advance(90)
    broker = account.broker()
    issued = account.server.mint.rotate(before.refresh.reveal(), CLIENT_ID)
    body = json.dumps({"access_token": access, "refresh_token": issued.refresh, "token_type": "Bearer"})
    account.server.faults.add("/token", Fault(status=200, body=body))
    for _ in range(5):
        assert (await broker.access(PROFILE)).token == before.access
        stored = account.vault.read(PROFILE)
        assert (stored.access, stored.refresh.reveal()) == (before.access, issued.refresh)
        assert account.index.get(PROFILE).failure.id == "sign-in-ended"
    assert account.posts == 1
    account.clock.advance(60)
    assert account.holds(await broker.access(PROFILE))


@pytest.mark.requirement("E91")
async def test_tokens_of_another_type_are_revoked_and_the_one_they_replaced_is_not_sent_again(account):
    account.sign_in(ttl_s=60)
    account.index.update(PROFILE, lambda now: replace(now, revocation_endpoint=f"{account.base}/revoke"))
    account.clock.advance(60)
    issued = account.server.mint.rotate(account.vault.read(PROFILE).refresh.reveal(), CLIENT_ID)
    body = json.dumps({"access_token": issued.access, "refresh_token": issued.refresh, "token_type": "DPoP"})
    account.server.faults.add("/token", Fault(status=200, body=body))
    for _ in range(5):
        with pytest.raises(SignInNeeded) as raised:
            await account.broker().access(PROFILE)
        assert "DPoP" in raised.value.why
        account.clock.advance(3600)
    assert account.posts == 1
    assert account.server.faults.requests["/revoke"] == 2
    assert account.server.mint.family_of(issued.access) is None


@pytest.mark.requirement("E51")
async def test_an_answer_that_was_cut_short_is_a_lost_one(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.mint.rotate(account.vault.read(PROFILE).refresh.reveal(), CLIENT_ID)
    account.server.faults.add("/token", Fault(status=200, body=b'{"access_token": "at", "refresh_to'))
    with pytest.raises(NetworkError):
        await account.broker().access(PROFILE)
    account.clock.advance(60)
    with pytest.raises(SignInNeeded, match="The response with the new tokens was lost"):
        await account.broker().access(PROFILE)


@pytest.mark.requirement("E60")
async def test_a_new_sign_in_is_adopted_by_a_refresh_that_brought_no_access_token_of_use(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    body = json.dumps({"refresh_token": "rt-late", "token_type": "Bearer"})
    account.server.faults.add("/token", Fault(gate=gate, status=200, body=body))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(10):
        await gate.reached()
        account.sign_in(ttl_s=60)
        gate.release()
        assert account.holds(await caller)
    assert account.index.get(PROFILE).failure is None


@pytest.mark.requirement("E52")
async def test_a_loop_that_stands_still_sends_no_token_twice(account, monkeypatch):
    monkeypatch.setattr("portico.auth.single_flight._STEP_S", 0.05)
    monkeypatch.setattr("portico.auth.single_flight._MAX_CHECKS", 2)
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(10):
        await gate.reached()
        blocked = time.monotonic() + 0.6
        while time.monotonic() < blocked:  # a program of somebody's, which does not know better
            pass
        gate.release()
        assert account.holds(await caller)
    assert account.posts == 1
