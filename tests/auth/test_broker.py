from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from portico.errors import LockBusy, NetworkError, OAuthError, SignInNeeded, StoreError
from portico.oauth.standard import StandardDialect
from portico.secret import Secret
from portico.store.records import Tokens
from portico.store.token_store import refresh_lock
from portico.testing.authorization_server import CLIENT_ID, Fault, Gate
from portico.testing.canary import canary
from portico.util.lock import FileLock
from tests.auth.helpers import PROFILE, OffLoop, a_profile, let_loop_run, until


async def test_a_fresh_token_is_handed_out_without_asking_anybody(account):
    profile = account.sign_in()
    access = await account.broker().access(PROFILE)
    assert access.generation == profile.generation
    assert account.holds(access)
    assert account.posts == 0


@pytest.mark.requirement("E49")
@pytest.mark.requirement("S8")
@pytest.mark.parametrize("ttl_s", [1, 30, 60, 3600])
async def test_two_hundred_callers_at_expiry_make_one_request(account, ttl_s):
    account.sign_in(ttl_s=ttl_s)
    account.clock.advance(ttl_s)
    broker = account.broker()
    tokens = await asyncio.gather(*(broker.access(PROFILE) for _ in range(200)))
    assert account.posts == 1
    assert len({access.generation for access in tokens}) == 1
    assert account.holds(tokens[0])


async def test_a_token_is_replaced_in_its_margin_and_not_before(account):
    account.sign_in(ttl_s=3600)
    broker = account.broker()
    account.clock.advance(3299)
    await broker.access(PROFILE)
    assert account.posts == 0
    account.clock.advance(1)
    assert account.holds(await broker.access(PROFILE))
    assert account.posts == 1


async def test_what_the_index_says_follows_the_refresh(account):
    before = account.sign_in(ttl_s=60)
    account.clock.advance(60)
    access = await account.broker().access(PROFILE)
    after = account.index.get(PROFILE)
    assert after.generation == access.generation > before.generation
    assert after.expires_at == account.clock.wall_ms() + 60_000
    assert after.refreshed_at == account.clock.wall_ms()
    assert (after.created_at, after.failure) == (before.created_at, None)


@pytest.mark.requirement("S8")
async def test_the_token_is_stored_before_anybody_gets_it(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    steps = []
    stored_at = {}

    def look(step):
        steps.append(step)
        stored_at[step] = account.vault.real.read(PROFILE).generation

    access = await account.broker(crash_point=look).access(PROFILE)
    assert steps == ["locked", "decided", "journaled", "answered", "validated", "stored"]
    assert stored_at["validated"] < stored_at["stored"] == access.generation


@pytest.mark.requirement("E29")
async def test_the_old_refresh_token_stays_where_the_reply_brings_none(account):
    account.sign_in(ttl_s=60)
    old = account.vault.read(PROFILE).refresh
    account.clock.advance(60)
    reply = f'{{"access_token":"{canary("at")}","token_type":"Bearer","expires_in":60,"refresh_token":null}}'
    account.server.faults.add("/token", Fault(status=200, body=reply))
    await account.broker().access(PROFILE)
    assert account.vault.read(PROFILE).refresh == old
    assert account.index.get(PROFILE).has_refresh


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "{}"),
        (200, "[]"),
        (200, '{"access_token":"","token_type":"Bearer"}'),
        (200, '{"access_token":"a\\r\\nb","token_type":"Bearer"}'),
        (200, '{"access_token":"a","token_type":"mac"}'),
        (200, "<html>captive portal</html>"),
        (403, '{"message":"blocked"}'),
        (429, "{}"),
        (500, ""),
        (502, "<html>bad gateway</html>"),
        (503, '{"error":"temporarily_unavailable"}'),
    ],
)
async def test_a_bad_answer_leaves_the_stored_tokens_as_they_are_and_the_token_serves_to_its_end(account, status, body):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    account.clock.advance(90)
    account.server.faults.add("/token", Fault(status=status, body=body))
    broker = account.broker()
    assert (await broker.access(PROFILE)).token == before.access
    assert account.vault.read(PROFILE) == before
    failure = account.index.get(PROFILE).failure
    assert not failure.terminal
    account.clock.advance(10)
    account.server.faults.always("/token", Fault(status=status, body=body))
    account.clock.advance(60)
    with pytest.raises(NetworkError):
        await broker.access(PROFILE)


@pytest.mark.requirement("E58")
async def test_a_failing_server_is_asked_less_and_less_often(account):
    account.sign_in(ttl_s=3600)
    account.clock.advance(3600)
    account.server.faults.always("/token", Fault(status=503, body=b""))
    broker = account.broker()
    for _ in range(600):
        with pytest.raises(NetworkError):
            await broker.access(PROFILE)
        account.clock.advance(3)
    assert 30 <= account.posts <= 120
    account.server.faults.always("/token", None)
    account.clock.advance(60)
    assert account.holds(await broker.access(PROFILE))


async def test_retry_after_is_waited_for(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.add("/token", Fault(status=429, body='{"error":"slow_down"}', headers={"Retry-After": "300"}))
    broker = account.broker()
    for _ in range(3):
        with pytest.raises(NetworkError):
            await broker.access(PROFILE)
        account.clock.advance(99)
    assert account.posts == 1
    account.clock.advance(4)
    assert account.holds(await broker.access(PROFILE))


@pytest.mark.requirement("E54")
async def test_a_revoked_sign_in_is_asked_about_once_and_never_again(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.mint.revoke(account.vault.read(PROFILE).refresh.reveal())
    broker = account.broker()
    for _ in range(24):
        with pytest.raises(SignInNeeded) as raised:
            await broker.access(PROFILE)
        assert raised.value.id == "sign-in-expired"
        assert not await broker.refresh_if_due(PROFILE)
        account.clock.advance(3600)
    with pytest.raises(SignInNeeded):
        await account.broker().access(PROFILE)
    assert account.posts == 1
    failure = account.index.get(PROFILE).failure
    assert (failure.terminal, failure.id, failure.code) == (True, "sign-in-ended", "invalid_grant")


async def test_after_a_rejected_refresh_the_access_token_is_used_to_its_end(account):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    account.clock.advance(90)
    account.server.faults.add("/token", Fault(status=400, body='{"error":"invalid_grant"}'))
    broker = account.broker()
    for _ in range(3):
        assert (await broker.access(PROFILE)).token == before.access
    account.clock.advance(10)
    with pytest.raises(SignInNeeded):
        await broker.access(PROFILE)
    assert account.posts == 1


async def test_a_new_sign_in_clears_a_rejection(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.add("/token", Fault(status=400, body='{"error":"invalid_grant"}'))
    broker = account.broker()
    with pytest.raises(SignInNeeded):
        await broker.access(PROFILE)
    account.sign_in(ttl_s=60)
    assert account.holds(await broker.access(PROFILE))


async def test_without_a_refresh_token_the_end_of_the_token_is_the_end_of_the_sign_in(account):
    account.sign_in(ttl_s=60, refresh=False)
    broker = account.broker()
    account.clock.advance(59)
    assert account.holds(await broker.access(PROFILE))
    account.clock.advance(1)
    with pytest.raises(SignInNeeded):
        await broker.access(PROFILE)
    assert account.posts == 0


async def test_a_rejected_token_is_replaced_once_and_a_later_one_is_adopted(account):
    first = account.sign_in(ttl_s=3600).generation
    broker = account.broker()
    fresh = await asyncio.gather(*(broker.access(PROFILE, rejected_generation=first) for _ in range(20)))
    assert account.posts == 1
    assert {access.generation for access in fresh} == {account.index.get(PROFILE).generation}
    again = await account.broker().access(PROFILE, rejected_generation=first)
    assert again == fresh[0]
    assert account.posts == 1


@pytest.mark.requirement("E101")
async def test_a_server_that_rejects_every_token_costs_a_refresh_in_five_minutes_and_not_one_for_each_request(account):
    account.sign_in(ttl_s=36_000)
    broker = account.broker()
    posts = []
    for _ in range(100):
        token = await broker.access(PROFILE)
        fresh = await broker.access(PROFILE, rejected_generation=token.generation)
        posts.append((account.posts, fresh.generation != token.generation))
        account.clock.advance(9)
    assert account.posts == 3
    assert [number for number, (_, replaced) in enumerate(posts) if replaced] == [0, 34, 68]


@pytest.mark.requirement("E101")
async def test_a_fresh_token_is_not_refreshed_again_by_another_process_within_a_minute_of_its_refresh(account):
    first = account.sign_in(ttl_s=36_000).generation
    fresh = await account.broker().access(PROFILE, rejected_generation=first)
    for _ in range(5):
        assert await account.broker().access(PROFILE, rejected_generation=fresh.generation) == fresh
        account.clock.advance(11)
        account.clock.jump(-3600)
    assert account.posts == 1
    account.clock.advance(6)
    assert (await account.broker().access(PROFILE, rejected_generation=fresh.generation)).generation != fresh.generation
    assert account.posts == 2


@pytest.mark.requirement("E101")
async def test_a_fresh_token_that_has_ended_or_is_due_is_refreshed_also_where_it_is_rejected(account):
    account.sign_in(ttl_s=20)
    broker = account.broker()
    token = await broker.access(PROFILE, rejected_generation=(await broker.access(PROFILE)).generation)
    account.clock.advance(17)
    due = await broker.access(PROFILE, rejected_generation=token.generation)
    account.clock.advance(20)
    access = await broker.access(PROFILE, rejected_generation=due.generation)
    assert len({token.generation, due.generation, access.generation}) == account.posts == 3


@pytest.mark.requirement("E101")
async def test_a_profile_signed_out_elsewhere_must_sign_in_again_also_after_a_rejection(account):
    first = account.sign_in(ttl_s=3600).generation
    broker = account.broker()
    fresh = await broker.access(PROFILE, rejected_generation=first)
    account.server.mint.revoke(account.vault.read(PROFILE).refresh.reveal())
    assert await broker.access(PROFILE, rejected_generation=fresh.generation) == fresh
    account.clock.advance(301)
    for _ in range(3):
        with pytest.raises(SignInNeeded) as raised:
            await broker.access(PROFILE, rejected_generation=fresh.generation)
        assert raised.value.id == "sign-in-expired"
    assert account.posts == 2


@pytest.mark.requirement("E55")
async def test_what_another_process_has_rotated_is_adopted(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(50)
    idle, busy = account.broker(), account.broker()
    for _ in range(5):
        assert await busy.refresh_if_due(PROFILE)
        account.clock.advance(50)
    assert await busy.refresh_if_due(PROFILE)
    access = await idle.access(PROFILE)
    assert account.posts == 6
    assert account.server.presented.twice == []
    assert account.holds(access)


@pytest.mark.requirement("E52")
async def test_a_caller_that_is_cancelled_does_not_stop_a_refresh_that_was_sent(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        for _ in range(3):
            caller.cancel()
            await let_loop_run()
        assert not caller.done(), "the last caller may be the program's end"
        gate.release()
        with pytest.raises(asyncio.CancelledError):
            await caller
    assert account.server.mint.is_current(account.vault.read(PROFILE).refresh.reveal())
    assert account.posts == 1


async def test_one_of_several_callers_may_leave_at_once(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    broker = account.broker()
    leaves, stays = (asyncio.create_task(broker.access(PROFILE)) for _ in range(2))
    async with asyncio.timeout(5):
        await gate.reached()
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        gate.release()
        assert account.holds(await stays)
    assert account.posts == 1


async def test_a_refresh_that_nobody_waits_for_is_not_sent(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    broker = account.broker()
    lock = OffLoop(FileLock(lock_path(account)))
    lock.acquire(1)
    caller = asyncio.create_task(broker.access(PROFILE))
    await until(lambda: broker._single_flights)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    single_flight = next(iter(broker._single_flights.values()))
    lock.release()
    await until(single_flight.outcome.done)
    assert account.posts == 0
    assert account.index.get(PROFILE).failure is None
    assert account.holds(await broker.access(PROFILE))


def lock_path(account):
    return refresh_lock(account.paths, PROFILE).path


@pytest.mark.requirement("E61")
async def test_while_another_process_refreshes_a_good_token_is_used_at_once(account):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    account.clock.advance(90)
    broker = account.broker()
    lock = OffLoop(FileLock(lock_path(account)))
    lock.acquire(1)
    assert (await broker.access(PROFILE)).token == before.access
    assert not await broker.refresh_if_due(PROFILE)
    lock.release()
    assert account.posts == 0
    assert account.index.get(PROFILE).failure is None


async def test_without_a_good_token_a_hung_refresh_of_another_process_is_named(account, monkeypatch):
    monkeypatch.setattr("portico.auth.broker.PATIENCE_S", 0.05)
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    broker = account.broker()
    lock = OffLoop(FileLock(lock_path(account)))
    lock.acquire(1)
    with pytest.raises(LockBusy, match="Process"):
        await broker.access(PROFILE)
    lock.release()
    assert account.holds(await broker.access(PROFILE))


@pytest.mark.requirement("E60")
async def test_a_new_sign_in_during_a_refresh_wins(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        issued = account.server.mint.start(CLIENT_ID)
        tokens = Tokens(Secret(issued.access), Secret(issued.refresh), issued.expires_at)
        account.vault.commit(a_profile(account.base, account.clock), tokens)
        gate.release()
        access = await caller
    assert access.token.reveal() == issued.access
    assert account.vault.read(PROFILE).refresh.reveal() == issued.refresh


@pytest.mark.requirement("E54")
async def test_a_rejection_of_tokens_that_were_replaced_meanwhile_is_no_logout(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate, status=400, body='{"error":"invalid_grant"}'))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        issued = account.server.mint.start(CLIENT_ID)
        account.vault.commit(account.index.get(PROFILE), Tokens(Secret(issued.access), Secret(issued.refresh), issued.expires_at))
        gate.release()
        assert (await caller).token.reveal() == issued.access
    assert account.index.get(PROFILE).failure is None
    assert account.posts == 1


async def test_a_sign_out_during_a_refresh_is_not_undone(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        account.vault.delete(PROFILE)
        gate.release()
        with pytest.raises(SignInNeeded):
            await caller
    assert account.index.get(PROFILE) is None


@pytest.mark.parametrize("then", ["signed out", "signed in again"])
async def test_what_a_refresh_brings_after_its_sign_in_has_ended_is_revoked(account, then):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        account.vault.delete(PROFILE)
        if then == "signed in again":
            account.clock.advance(1)
            account.sign_in()
        gate.release()
        outcome = await asyncio.gather(caller, return_exceptions=True)
    first, *later = account.server.mint.families
    assert first.revoked
    assert not any(family.revoked for family in later)
    assert isinstance(outcome[0], SignInNeeded) if then == "signed out" else account.holds(outcome[0])


async def test_what_a_refresh_brings_beside_another_of_the_same_sign_in_is_not_revoked(account):
    profile = account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    caller = asyncio.create_task(account.broker().access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        issued = account.server.mint.start(CLIENT_ID)
        account.vault.commit(profile, Tokens(Secret(issued.access), Secret(issued.refresh), issued.expires_at))
        gate.release()
        assert account.holds(await caller)
    assert not any(family.revoked for family in account.server.mint.families)


class Broken(StandardDialect):
    """A plugin's, with a bug: its error quotes the reply."""

    def __init__(self, step):
        self._step = step

    def refresh_request(self, server, refresh):
        if self._step == "request":
            raise TypeError(refresh.reveal())
        return super().refresh_request(server, refresh)

    def read_token_reply(self, reply):
        raise KeyError(reply.body.reveal())


@pytest.mark.parametrize("step", ["request", "reply"])
async def test_a_dialect_that_breaks_is_a_failure_that_may_pass_and_is_not_asked_again_at_once(account, step):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    broker = account.broker(dialects=lambda _name: Broken(step))
    for _ in range(2):
        with pytest.raises(OAuthError) as raised:
            await broker.access(PROFILE)
        assert raised.value.id == "reply-invalid"
        assert "CANARY" not in repr(raised.value) + str(raised.value.why)
    assert account.posts == (1 if step == "reply" else 0)
    failure = account.index.get(PROFILE).failure
    assert (failure.id, failure.terminal) == ("reply-invalid", False)


class FullStore:
    """A vault whose commits fail while it is full."""

    def __init__(self, vault):
        self._vault = vault
        self.full = True

    def read(self, profile_id, **settled):
        return self._vault.read(profile_id, **settled)

    def commit(self, profile, tokens, **expected):
        if self.full:
            raise StoreError("disk-full", "no space left")
        return self._vault.commit(profile, tokens, **expected)


@pytest.mark.requirement("E53")
async def test_tokens_that_no_store_took_are_served_from_memory_and_stored_when_one_does(account, caplog):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    spent = account.vault.read(PROFILE).refresh
    store = FullStore(account.vault.real)
    broker = account.broker(vault=store)
    tokens = [(await broker.access(PROFILE)).token]
    for _ in range(3):
        account.clock.advance(6)
        tokens.append((await broker.access(PROFILE)).token)
    assert account.vault.read(PROFILE).refresh == spent
    assert (account.index.get(PROFILE).failure.id, account.index.get(PROFILE).failure.terminal) == ("disk-full", False)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    store.full = False
    account.clock.advance(6)
    access = await broker.access(PROFILE)
    assert account.holds(access)
    assert tokens == [access.token] * 4
    assert account.index.get(PROFILE).failure is None
    assert account.posts == 1


@pytest.mark.requirement("E53")
async def test_tokens_in_memory_are_refreshed_by_their_own_refresh_token_and_the_old_one_is_never_sent_again(account):
    account.sign_in(ttl_s=60)
    spent = account.vault.read(PROFILE).refresh
    store = FullStore(account.vault.real)
    broker = account.broker(vault=store)
    for _ in range(4):
        account.clock.advance(60)
        access = await broker.access(PROFILE)
        assert account.server.mint.family_of(access.token.reveal()) is not None
    assert account.posts == 4
    assert account.server.presented.times(spent.reveal()) == 1
    assert account.server.presented.twice == []
    assert (await broker.access(PROFILE, rejected_generation=access.generation)).token == access.token
    account.server.mint.access_ttl_s = 3600
    account.clock.advance(60)
    access = await broker.access(PROFILE)
    account.clock.advance(60)
    again = await broker.access(PROFILE, rejected_generation=access.generation)
    assert again.token != access.token
    assert account.posts == 6
    for _ in range(3):
        assert (await broker.access(PROFILE, rejected_generation=again.generation)).token == again.token
    assert account.posts == 6
    store.full = False
    account.clock.advance(6)
    stored = await broker.access(PROFILE, rejected_generation=again.generation)
    assert account.holds(stored)
    assert (await broker.access(PROFILE, rejected_generation=stored.generation)) == stored
    account.clock.advance(200)
    assert (await broker.access(PROFILE, rejected_generation=stored.generation)) == stored
    assert account.posts == 6


@pytest.mark.requirement("E53")
async def test_other_processes_leave_the_old_token_alone_while_one_has_the_new_one_in_memory(account, monkeypatch):
    monkeypatch.setattr("portico.auth.broker.PATIENCE_S", 0.05)
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    store = FullStore(account.vault.real)
    owner = account.broker(vault=store)
    await owner.access(PROFILE)
    with pytest.raises(LockBusy):
        await account.broker().access(PROFILE)
    store.full = False
    account.clock.advance(6)
    stored = await owner.access(PROFILE)
    assert await account.broker().access(PROFILE) == stored
    assert account.posts == 1


@pytest.mark.requirement("E53")
async def test_a_new_sign_in_wins_over_tokens_in_memory(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    broker = account.broker(vault=FullStore(account.vault.real))
    await broker.access(PROFILE)
    account.clock.advance(1)
    account.sign_in(ttl_s=60)
    account.clock.advance(6)
    assert account.holds(await broker.access(PROFILE))
    account.clock.advance(60)
    assert account.holds(await account.broker().access(PROFILE))


async def test_no_refresh_token_leaves_the_broker(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    access = await account.broker().access(PROFILE)
    refresh = account.vault.read(PROFILE).refresh
    assert refresh not in [getattr(access, name) for name in access.__slots__]
    assert "CANARY" not in repr(access)


async def test_an_unknown_profile_is_not_signed_in(account):
    with pytest.raises(SignInNeeded) as raised:
        await account.broker().access("nobody:default")
    assert raised.value.id == "not-signed-in"
    assert not await account.broker().refresh_if_due("nobody:default")


async def test_a_token_whose_lifetime_is_unknown_is_refreshed_when_it_is_rejected_and_twice_a_day(account):
    generation = account.sign_in().generation
    account.vault.commit(account.index.get(PROFILE), replace(account.vault.read(PROFILE), expires_at=None))
    broker = account.broker()
    account.clock.advance(12 * 3600 - 1)
    access = await broker.access(PROFILE)
    assert access.generation > generation
    assert account.posts == 0
    await broker.access(PROFILE, rejected_generation=access.generation)
    assert account.posts == 1
    account.vault.commit(account.index.get(PROFILE), replace(account.vault.read(PROFILE), expires_at=None))
    account.clock.advance(12 * 3600)
    assert await broker.refresh_if_due(PROFILE)
    assert account.posts == 2


@pytest.mark.requirement("E99")
async def test_the_pause_of_an_ended_sign_in_does_not_hold_back_the_next_one(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.add("/token", Fault(status=429, body=b"{}", headers={"Retry-After": "3600"}))
    broker = account.broker()
    with pytest.raises(NetworkError):
        await broker.access(PROFILE)
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    assert account.holds(await broker.access(PROFILE))
