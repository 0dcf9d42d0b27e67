"""A day of one profile with tokens of an hour: a night's sleep, an outage, and a changed clock."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from portico.auth.background import BackgroundRefresh
from portico.auth.freshness import margin_ms
from portico.errors import NetworkError
from portico.testing.authorization_server import Fault
from tests.auth.helpers import PROFILE, until

HOUR = 3600
STEP_S = 60
# A token of an hour serves until its margin begins.
SERVES_S = HOUR - margin_ms(HOUR * 1000) / 1000


class Day:
    """The background refresh and a caller who needs a token every minute."""

    def __init__(self, account, broker):
        self.account = account
        self.broker = broker
        self.failed = 0

    async def awake(self, hours):
        for _ in range(round(hours * HOUR / STEP_S)):
            await self._minute()

    async def _minute(self):
        clock = self.account.clock
        slept = len(clock.slept)
        clock.advance(STEP_S)
        await until(lambda: len(clock.slept) > slept)
        await self._need()

    async def _need(self):
        try:
            token = await self.broker.access(PROFILE)
        except NetworkError:
            self.failed += 1
        else:
            assert self.account.server.mint.family_of(token.token.reveal()), "a token that the server would refuse was handed out"


@contextlib.asynccontextmanager
async def day(account):
    broker = account.broker()
    task = asyncio.create_task(BackgroundRefresh(broker, account.index, account.clock).run())
    try:
        await until(lambda: account.clock.slept)
        yield Day(account, broker)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.requirement("E57")
@pytest.mark.requirement("E58")
@pytest.mark.requirement("P16")
async def test_a_day_loses_no_sign_in_and_asks_no_more_often_than_it_must(account):
    account.sign_in(ttl_s=HOUR)
    (family,) = account.server.mint.families
    async with day(account) as today:
        await today.awake(7)
        assert family.generation == account.posts == 7 * HOUR // SERVES_S

        # For forty minutes the server answers no request, from a minute before the next token is due.
        left = SERVES_S - 7 * HOUR % SERVES_S
        await today.awake((left - STEP_S) / HOUR)
        before = account.posts
        account.server.faults.always("/token", Fault(status=503, body=b"", headers={"Retry-After": "60"}))
        await today.awake(2 / 3)
        assert today.failed in range(34, 37), "the token served to its end, and no longer"
        assert account.posts - before <= 40
        account.server.faults.always("/token", None)
        answered = family.generation
        await today.awake(2)
        assert family.generation - answered == 3
        assert today.failed <= 37

        # The lid is shut for nine hours: the wall clock goes on alone.
        posts = account.posts
        account.clock.jump(9 * HOUR)
        await today._need()
        assert account.posts == posts + 1
        await today.awake(0.5)
        assert account.posts == posts + 1

        # The clock is set forward by an hour, and back again: one refresh for the jump, and no storm after it.
        account.clock.jump(HOUR)
        await today.awake(0.25)
        account.clock.jump(-HOUR)
        await today.awake(0.5)
        assert account.posts == posts + 2

        later_posts = account.posts
        await today.awake(4)
        assert account.posts - later_posts in {4, 5}
    assert len(account.server.presented.twice) == 1, "only the token of the outage came again; no spent one ever did"
    assert (family.reused, family.revoked) == (False, False)
    assert account.index.get(PROFILE).failure is None
