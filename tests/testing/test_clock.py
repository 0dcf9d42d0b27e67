from __future__ import annotations

import asyncio

from portico.testing.clock import START_MS, FakeClock


async def test_a_sleep_moves_both_clocks_without_waiting() -> None:
    clock = FakeClock()
    before = clock.monotonic()
    await clock.sleep(3600)
    assert clock.wall_ms() == START_MS + 3_600_000
    assert clock.monotonic() == before + 3600
    assert clock.slept == [3600]


async def test_sleepers_wake_in_the_order_of_their_deadlines() -> None:
    clock = FakeClock()
    woken: list[tuple[int, int]] = []

    async def sleeper(seconds: int) -> None:
        await clock.sleep(seconds)
        woken.append((seconds, clock.wall_ms() - START_MS))

    await asyncio.gather(sleeper(300), sleeper(5), sleeper(60))
    assert woken == [(5, 5_000), (60, 60_000), (300, 300_000)]


async def test_a_cancelled_sleeper_moves_nothing() -> None:
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(300))
    await asyncio.sleep(0)
    task.cancel()
    await clock.sleep(1)
    await asyncio.wait([task])
    assert task.cancelled()
    assert clock.wall_ms() == START_MS + 1_000


async def test_without_auto_only_advance_wakes_a_sleeper() -> None:
    clock = FakeClock(auto=False)
    task = asyncio.create_task(clock.sleep(10))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    clock.advance(9.5)
    await asyncio.sleep(0)
    assert not task.done()
    clock.advance(0.5)
    await task
    assert clock.wall_ms() == START_MS + 10_000


async def test_a_jump_moves_the_wall_clock_alone() -> None:
    clock = FakeClock()
    before = clock.monotonic()
    clock.jump(-60)
    assert clock.wall_ms() == START_MS - 60_000
    assert clock.monotonic() == before
