"""Unused profiles, and refresh tokens whose end is known."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace

import pytest

from portico.auth.background import refresh_what_is_due
from portico.auth.freshness import LastUses, is_idle, profile_due
from portico.errors import SignInNeeded
from tests.auth.helpers import PROFILE, a_profile

HOUR = 3600
HOUR_MS = HOUR * 1000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def profile(fake_clock):
    return replace(a_profile("https://as.example", fake_clock), has_refresh=True, created_at=0, expires_at=HOUR_MS)


def test_a_profile_that_is_unused_for_a_day_is_idle_until_its_refresh_token_needs_a_use(profile):
    assert not is_idle(profile, None, DAY_MS - 1), "a new sign-in counts as used"
    old_profile = replace(profile, refreshed_at=DAY_MS - HOUR_MS)
    assert is_idle(old_profile, None, DAY_MS)
    assert not is_idle(old_profile, DAY_MS - HOUR_MS, DAY_MS)
    assert not is_idle(old_profile, None, DAY_MS + 11 * HOUR_MS), "twice a day it is refreshed all the same"


def test_a_refresh_token_that_ends_sooner_is_used_before_half_of_its_life_is_over(profile):
    old_profile = replace(profile, refreshed_at=DAY_MS, refresh_expires_at=DAY_MS + 4 * HOUR_MS)
    assert is_idle(old_profile, None, DAY_MS + 2 * HOUR_MS - 1)
    assert not is_idle(old_profile, None, DAY_MS + 2 * HOUR_MS)


def test_a_refresh_token_that_would_end_before_the_access_token_is_exercised_in_time(profile):
    long = replace(profile, expires_at=48 * HOUR_MS, refresh_expires_at=24 * HOUR_MS)
    assert not profile_due(long, 12 * HOUR_MS - 1)
    assert profile_due(long, 12 * HOUR_MS)
    # Its end does not move: the halves of what is left must not become a storm.
    fixed = replace(long, refreshed_at=24 * HOUR_MS - 600_000)
    assert not profile_due(fixed, 24 * HOUR_MS)


def test_a_short_refresh_token_does_not_rest_to_its_end(profile):
    old_profile = replace(profile, refreshed_at=DAY_MS, refresh_expires_at=DAY_MS + 600_000)
    assert is_idle(old_profile, None, DAY_MS + 299_999)
    assert not is_idle(old_profile, None, DAY_MS + 300_000)


def test_after_a_clock_that_was_ahead_no_profile_counts_as_idle(profile):
    ahead = replace(profile, refreshed_at=365 * DAY_MS, expires_at=365 * DAY_MS + HOUR_MS)
    assert profile_due(ahead, 2 * DAY_MS)
    assert not is_idle(ahead, None, 2 * DAY_MS)


async def test_only_who_is_signed_in_is_noted(account):
    account.sign_in(ttl_s=60)
    broker = account.broker()
    with pytest.raises(SignInNeeded):
        await broker.access("nobody:at-all")
    await broker.access(PROFILE)
    assert len(await asyncio.to_thread(lambda: list(account.paths.uses.iterdir()))) == 1


async def test_the_background_leaves_an_idle_sign_in_alone_and_a_caller_wakes_it(account):
    account.sign_in(ttl_s=HOUR)
    broker = account.broker()
    account.clock.advance(24 * HOUR)
    (outcome,) = await refresh_what_is_due(broker, account.index.real)
    assert (outcome.result, account.posts) == ("refreshed", 1), "a day without a refresh: its refresh token wants to be used"

    for _ in range(3 * 24):
        account.clock.advance(HOUR)
        await refresh_what_is_due(broker, account.index.real)
    assert account.posts == 1 + 6
    account.clock.advance(HOUR)
    assert [one.result for one in await refresh_what_is_due(broker, account.index.real)] == ["resting"]

    assert account.holds(await broker.access(PROFILE))
    posts = account.posts
    for _ in range(23):
        account.clock.advance(HOUR)
        await refresh_what_is_due(broker, account.index.real)
    assert account.posts - posts == 23


def test_a_use_is_seen_by_every_process_and_costs_no_write_within_the_minute(paths, fake_clock):
    uses, other = LastUses(paths, fake_clock), LastUses(paths, fake_clock)
    assert other.last(PROFILE) is None
    uses.record(PROFILE)
    first = fake_clock.wall_ms()
    assert other.last(PROFILE) == first
    (mark,) = paths.uses.iterdir()
    assert (mark.stat().st_size, mark.stat().st_mode & 0o777, paths.uses.stat().st_mode & 0o777) == (0, 0o600, 0o700)
    fake_clock.advance(59)
    uses.record(PROFILE)
    assert other.last(PROFILE) == first
    fake_clock.advance(1)
    uses.record(PROFILE)
    assert other.last(PROFILE) == first + 60_000
    uses.forget(PROFILE)
    assert other.last(PROFILE) is None


@pytest.mark.requirement("E62")
@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="no links to follow here")
def test_a_use_that_cannot_be_noted_stops_nobody_and_follows_no_link(paths, fake_clock):
    paths.state.mkdir(parents=True, exist_ok=True)
    target = paths.state / "elsewhere"
    paths.uses.write_text("")
    LastUses(paths, fake_clock).record(PROFILE)
    paths.uses.unlink()
    LastUses(paths, fake_clock).record(PROFILE)
    (mark,) = paths.uses.iterdir()
    mark.unlink()
    mark.symlink_to(target)
    LastUses(paths, fake_clock).record(PROFILE)
    assert not target.exists()
    target.touch()
    os.utime(target, (1, 1))
    LastUses(paths, fake_clock).record(PROFILE)
    assert target.stat().st_mtime == 1
