"""Clocks that are wrong, set, or changed under a running program."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from portico.auth.freshness import effective_now_ms, health_at, refresh_due
from portico.errors import NetworkError
from portico.testing.authorization_server import Fault, Gate
from portico.testing.clock import FakeClock
from tests.auth.helpers import PROFILE

HOUR = 3600
YEAR = 365 * 24 * HOUR


@pytest.mark.requirement("E57")
@pytest.mark.parametrize("jump", [-60, -HOUR, -10 * YEAR])
async def test_a_clock_that_is_set_back_lengthens_no_life(account, jump):
    account.sign_in(ttl_s=HOUR)
    broker = account.broker()
    first = await broker.access(PROFILE)
    account.clock.jump(jump)
    assert await broker.access(PROFILE) == first
    account.clock.advance(HOUR - 400)
    assert await broker.access(PROFILE) == first
    account.clock.advance(101)
    second = await broker.access(PROFILE)
    assert second.token != first.token
    for _ in range(50):
        account.clock.advance(60)
        assert await broker.access(PROFILE) == second
    assert account.posts == 1


@pytest.mark.requirement("E57")
@pytest.mark.parametrize("jump", [HOUR, 8 * HOUR, 10 * YEAR])
async def test_a_clock_that_is_set_on_and_back_again_makes_no_storm(account, jump):
    account.sign_in(ttl_s=HOUR)
    broker = account.broker()
    await broker.access(PROFILE)
    account.clock.jump(jump)
    await broker.access(PROFILE)
    assert account.posts == 1
    account.clock.jump(-jump)
    for _ in range(55):
        await broker.access(PROFILE)
        account.clock.advance(60)
    assert account.posts == 1
    account.clock.advance(5 * 60)
    await broker.access(PROFILE)
    assert account.posts == 2


@pytest.mark.requirement("E57")
async def test_a_new_process_replaces_a_token_from_the_future_once(account):
    account.sign_in(ttl_s=HOUR)
    account.clock.jump(-10 * YEAR)
    account.server.mint.clock = FakeClock()
    for _ in range(3):
        await account.broker().access(PROFILE)
    assert account.posts == 1


@pytest.mark.requirement("E57")
async def test_a_server_whose_clock_is_wrong_changes_nothing(account):
    account.server.mint.clock = FakeClock(account.clock.wall_ms() + 300_000)
    account.sign_in(ttl_s=HOUR)
    account.clock.advance(HOUR)
    broker = account.broker()
    await broker.access(PROFILE)
    assert account.index.get(PROFILE).expires_at == account.clock.wall_ms() + HOUR * 1000
    for _ in range(20):
        await broker.access(PROFILE)
        account.clock.advance(60)
    assert account.posts == 1


@pytest.mark.requirement("E58")
async def test_while_the_server_is_down_tokens_serve_to_their_end_and_all_is_well_afterwards(account):
    account.sign_in(ttl_s=HOUR)
    account.clock.advance(HOUR - 300)
    account.server.faults.always("/token", Fault(status=503, body=b"", headers={"Retry-After": "20"}))
    broker = account.broker()
    before = account.vault.read(PROFILE)
    for _ in range(59):
        assert (await broker.access(PROFILE)).token == before.access
        account.clock.advance(5)
    account.clock.advance(5)
    for _ in range(240):
        with pytest.raises(NetworkError, match="503"):
            await broker.access(PROFILE)
        account.clock.advance(30)
    assert account.posts <= 7500 / 20
    account.server.faults.always("/token", None)
    account.clock.advance(60)
    assert account.holds(await broker.access(PROFILE))
    assert account.server.presented.times(account.vault.read(PROFILE).refresh.reveal()) == 0


@pytest.mark.requirement("E100")
@pytest.mark.parametrize("back_s", [15 * 60, 75 * 60, 8 * HOUR, 10 * YEAR])
async def test_another_process_knows_how_old_a_token_is_after_the_clock_was_set_back(account, back_s):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.mint.access_ttl_s = HOUR
    first = await account.broker().access(PROFILE)
    account.clock.advance(HOUR - 301)
    account.clock.jump(-back_s)
    assert await account.broker().access(PROFILE) == first
    account.clock.advance(2)
    profile = account.index.get(PROFILE)
    assert refresh_due(profile.expires_at, profile.refreshed_at, effective_now_ms(profile, account.clock))
    account.clock.advance(299)
    assert health_at(profile, effective_now_ms(profile, account.clock)).access == "ended"
    assert (await account.broker().access(PROFILE)).token != first.token
    assert account.posts == 2


@pytest.mark.requirement("E100")
async def test_after_the_machine_was_started_anew_its_clock_is_believed(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    await account.broker().access(PROFILE)
    profile = account.index.get(PROFILE)
    account.clock.boot_name = "another run"
    account.clock.advance(30)
    account.clock.jump(-20)
    assert effective_now_ms(profile, account.clock) == account.clock.wall_ms()


@pytest.mark.requirement("E100")
@pytest.mark.parametrize("step_s", [-75 * 60, -15 * 60, 15 * 60, 75 * 60])
async def test_a_clock_that_is_set_during_a_refresh_makes_no_token_younger(account, step_s):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.mint.access_ttl_s = HOUR
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    broker = account.broker()
    caller = asyncio.create_task(broker.access(PROFILE))
    async with asyncio.timeout(10):
        await gate.reached()
        account.clock.jump(step_s)
        gate.release()
        await caller
    assert account.index.get(PROFILE).expires_at <= account.clock.wall_ms() + HOUR * 1000
    for _ in range(50):
        await account.broker().access(PROFILE)
        account.clock.advance(60)
    assert account.posts <= 2


@pytest.mark.requirement("E100")
async def test_a_token_of_unknown_end_from_the_future_is_refreshed(account):
    account.sign_in()
    account.vault.commit(account.index.get(PROFILE), replace(account.vault.read(PROFILE), expires_at=None))
    account.clock.jump(-YEAR)
    assert await account.broker().refresh_if_due(PROFILE)
    assert account.posts == 1
