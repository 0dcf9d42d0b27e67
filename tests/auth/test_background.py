from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace

import pytest

from portico.auth.background import TICK_S, BackgroundRefresh
from portico.auth.tokens import PendingTokens
from portico.store.profiles import ProfileIndex
from portico.store.records import Failure, Renewal
from portico.testing.authorization_server import Fault, Gate
from tests.auth.helpers import PROFILE, until


@contextlib.asynccontextmanager
async def running(account, broker=None):
    """The task, and a function that lets seconds pass, one tick at a time."""
    background = BackgroundRefresh(broker or account.broker(), account.index, account.clock)
    task = asyncio.create_task(background.run())

    async def pass_seconds(seconds):
        for _ in range(int(seconds / TICK_S)):
            slept = len(account.clock.slept)
            account.clock.advance(TICK_S)
            await until(lambda slept=slept: len(account.clock.slept) > slept)
            await until(lambda: not background._running or "held" in flags)

    flags = set()
    try:
        await until(lambda: account.clock.slept)
        yield pass_seconds, flags
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.requirement("P16")
async def test_a_token_is_replaced_in_the_store_while_nobody_asks(account):
    account.sign_in(ttl_s=30)
    before = account.vault.read(PROFILE)
    async with running(account) as (pass_seconds, _):
        await pass_seconds(22)
        assert account.posts == 0
        await pass_seconds(2)
        assert account.posts == 1
        await pass_seconds(48)
    assert account.posts == 3
    assert account.server.presented.twice == []
    after = account.vault.read(PROFILE)
    assert after.access != before.access
    assert account.server.mint.family_of(after.access.reveal()) is not None


async def test_every_profile_stays_fresh(account):
    for name in ("test:default", "test:cn", "test:third"):
        account.sign_in(name, ttl_s=30)
    async with running(account) as (pass_seconds, _):
        await pass_seconds(24)
    assert account.posts == 3


async def test_a_sign_in_by_another_process_is_noticed_within_two_seconds(account):
    async with running(account) as (pass_seconds, _):
        await pass_seconds(100)
        account.sign_in(ttl_s=30)
        account.clock.jump(29)
        await pass_seconds(2)
    assert account.posts == 1


async def test_sleep_and_a_set_clock_do_not_matter(account):
    account.sign_in(ttl_s=3600)
    async with running(account) as (pass_seconds, _):
        account.clock.jump(8 * 3600)
        await pass_seconds(2)
        assert account.posts == 1
        account.clock.jump(-3600)
        await pass_seconds(30)
    assert account.posts == 1


@pytest.mark.parametrize(("ttl_s", "most"), [(1, 12), (5, 12), (30, 3), (60, 2)])
async def test_short_lived_tokens_make_no_storm(account, ttl_s, most):
    account.sign_in(ttl_s=ttl_s)
    async with running(account) as (pass_seconds, _):
        await pass_seconds(60)
    assert 1 <= account.posts <= most


async def test_a_failing_server_is_tried_again_and_logged_once(account, caplog):
    account.sign_in(ttl_s=600)
    account.server.faults.always("/token", Fault(status=503, body=b""))
    with caplog.at_level(logging.INFO, "portico.auth"):
        async with running(account) as (pass_seconds, _):
            account.clock.jump(600)
            await pass_seconds(120)
            assert 3 <= account.posts <= 12
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            account.server.faults.always("/token", None)
            await pass_seconds(62)
    assert account.index.get(PROFILE).failure is None
    assert caplog.messages[-1] == f"{PROFILE}: refreshed"


async def test_a_dead_sign_in_is_left_alone(account):
    account.sign_in(ttl_s=30)
    account.server.mint.revoke(account.vault.read(PROFILE).refresh.reveal())
    async with running(account) as (pass_seconds, _):
        await pass_seconds(80)
    assert account.posts == 1
    assert account.index.get(PROFILE).failure.terminal


async def test_a_damaged_index_does_not_end_the_watch(account, caplog):
    account.sign_in(ttl_s=30)
    content = account.paths.index.read_bytes()
    async with running(account) as (pass_seconds, _):
        account.paths.index.unlink()
        account.paths.index.mkdir()
        await pass_seconds(4)
        account.paths.index.rmdir()
        account.paths.index.write_bytes(content)
        account.paths.index.chmod(0o600)
        await pass_seconds(24)
    assert account.posts == 1
    assert len([record for record in caplog.records if record.levelno == logging.WARNING]) == 1


@pytest.mark.requirement("E59")
@pytest.mark.requirement("P16")
async def test_a_timer_and_a_caller_at_the_same_instant_make_one_request(account):
    account.sign_in(ttl_s=30)
    broker = account.broker()
    async with running(account, broker) as (pass_seconds, _):
        account.clock.jump(29)
        await asyncio.gather(pass_seconds(2), *(broker.access(PROFILE) for _ in range(20)))
    assert account.posts == 1


async def test_the_end_waits_for_a_refresh_that_was_sent(account):
    account.sign_in(ttl_s=30)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    async with asyncio.timeout(5):
        background = BackgroundRefresh(account.broker(), account.index, account.clock)
        account.clock.jump(29)
        task = asyncio.create_task(background.run())
        await gate.reached()
        task.cancel()
        await asyncio.sleep(0)
        gate.release()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert account.server.mint.is_current(account.vault.read(PROFILE).refresh.reveal())


async def test_a_refresh_that_hangs_does_not_hold_up_other_profiles(account):
    gate = Gate()
    account.sign_in("test:slow", ttl_s=30)
    account.server.faults.add("/token", Fault(gate=gate))
    async with running(account) as (pass_seconds, flags):
        flags.add("held")
        account.clock.jump(29)
        await pass_seconds(2)
        async with asyncio.timeout(5):
            await gate.reached()
        account.sign_in("test:quick", ttl_s=10)
        account.clock.jump(9)  # less than the deadline of the one that hangs
        await pass_seconds(2)
        await until(lambda: account.posts == 2)
        assert account.index.get("test:slow").generation == 1  # it hangs still
        gate.release()


async def test_a_rejection_in_another_process_is_logged_once_until_a_new_sign_in(account, caplog):
    account.sign_in(ttl_s=3600)
    failure = Failure(at=1, id="sign-in-expired", message="invalid_grant", terminal=True, code="invalid_grant")
    async with running(account) as (pass_seconds, _):
        for _ in range(2):
            account.index.update(PROFILE, lambda profile: replace(profile, failure=failure))
            await pass_seconds(4)
            account.index.update(PROFILE, lambda profile: replace(profile, failure=None))
            await pass_seconds(2)
    messages = [record.getMessage() for record in caplog.records if "sign-in-expired" in record.getMessage()]
    assert len(messages) == 2
    assert all("invalid_grant" in line for line in messages)


@pytest.mark.requirement("E149")
async def test_an_index_that_cannot_be_read_for_an_unforeseen_reason_does_not_end_the_watch(account, caplog, monkeypatch):
    account.sign_in(ttl_s=30)
    works = ProfileIndex.profiles

    def fails(_index):
        raise RuntimeError("not foreseen")

    async with running(account) as (pass_seconds, _):
        monkeypatch.setattr(ProfileIndex, "profiles", fails)
        await pass_seconds(4)
        monkeypatch.setattr(ProfileIndex, "profiles", works)
        await pass_seconds(24)
    assert account.posts == 1
    assert caplog.text.count("Internal error: RuntimeError") == 1


@pytest.mark.requirement("E164")
async def test_one_that_nobody_uses_is_looked_at_once_a_minute(account, monkeypatch):
    account.sign_in(ttl_s=3600)
    broker, looks = account.broker(), []
    # Unused for more than a day, and refreshed an hour and a half ago.
    account.clock.advance(26 * 3600)
    refreshed_at = account.clock.wall_ms() - 5_400_000
    account.index.update(PROFILE, lambda one: replace(one, refreshed_at=refreshed_at))
    is_idle = broker.is_idle
    monkeypatch.setattr(broker, "is_idle", lambda profile: looks.append(profile.id) or is_idle(profile))
    async with running(account, broker) as (pass_seconds, _):
        await pass_seconds(150)
    assert account.posts == 0
    assert 2 <= len(looks) <= 4


@pytest.mark.requirement("E164")
async def test_many_refreshes_leave_no_more_behind_than_one(account):
    account.sign_in(ttl_s=30)
    pending = PendingTokens(account.store)

    def refreshed():
        """The number of a pair in memory, and the one that it has in the store."""
        profile, tokens = account.index.real.get(PROFILE), account.vault.real.read(PROFILE)
        renewal = Renewal(replaces=profile.generation, refreshed_at=account.clock.wall_ms())
        pending.add(profile, replace(tokens, renewal=renewal))
        return pending.get(PROFILE).tokens.generation, pending.try_store(PROFILE).profile.generation

    for _ in range(20):
        in_memory, stored = await asyncio.to_thread(refreshed)
        assert pending.stored_as == {in_memory: stored}
    assert not pending.by_profile
