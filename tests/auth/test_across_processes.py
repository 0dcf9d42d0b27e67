"""Real processes that want a token at the same instant."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal

import pytest

from portico.store import encrypted_file
from portico.testing.authorization_server import Fault
from portico.util.clock import SystemClock
from tests.auth.helpers import PROFILE, until
from tests.auth.process_group import process_group, race, read_output


@pytest.fixture(autouse=True)
def _cheap_passphrase(monkeypatch, paths):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})


@pytest.mark.requirement("S8")
@pytest.mark.requirement("E50")
@pytest.mark.parametrize("count", [2, 6, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(120)])])
async def test_processes_at_expiry_make_one_request_and_get_the_same_token(tmp_path, count):
    async with process_group(tmp_path / "one") as group:
        group.sign_in()
        tokens = await race(group, count)
        assert group.server.presented.total == 1
        assert tokens == [group.current] * count
        assert len(group.server.mint.live_families) == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_the_race_of_two_processes_is_won_two_hundred_times_in_a_row(tmp_path):
    for number in range(200):
        async with process_group(tmp_path / str(number)) as group:
            group.sign_in()
            tokens = await race(group, 2)
            assert (group.server.presented.total, tokens) == (1, [group.current] * 2), number


async def test_without_the_lock_they_would_ask_twice_and_lose_the_sign_in(tmp_path):
    """What the race would see if the lock did nothing: it is the lock that it shows."""
    async with process_group(tmp_path / "one") as group:
        group.sign_in()
        await race(group, 2, "--without-lock")
        assert group.server.presented.total == 2
        assert group.server.presented.twice
        assert group.server.mint.live_families == []


async def test_without_the_second_reading_under_the_lock_the_loser_would_get_no_token(tmp_path):
    """The race as it would be without the second read under the lock. The journal still prevents a second send of the old token."""
    async with process_group(tmp_path / "one") as group:
        group.sign_in()
        tokens = await race(group, 2, "--without-re-read")
        assert sorted(text.partition(":")[0] for text in tokens) == sorted([group.current, "generation-changed"])
        assert group.server.presented.twice == []


@pytest.mark.requirement("E61")
async def test_a_stopped_owner_of_the_lock_keeps_no_caller_from_a_good_token_and_is_named(tmp_path):
    async with process_group(tmp_path / "one") as group:
        group.sign_in(expires_in_s=5, lifetime_s=100)
        before = group.current
        owner = await group.start("--stop-at", "journaled")
        owner.stdin.write(b"go\n")
        assert await owner.stdout.readline() == b"stopping\n"
        assert await asyncio.wait_for(group.run(), 4) == before

        waiting = await group.start("--patience", "0.5")
        await until(lambda: (group.vault.read(PROFILE).expires_at or 0) < SystemClock().wall_ms(), 10)
        message = await asyncio.wait_for(read_output(waiting), 5)
        assert message.startswith("lock-busy: ")
        assert f"Process {owner.pid} " in message
        assert group.server.presented.total == 0

        os.kill(owner.pid, signal.SIGCONT)
        out, _ = await owner.communicate()
        assert out.decode().split() == [group.current]
        assert group.server.presented.total == 1


@pytest.mark.requirement("E56")
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime not installed")
async def test_a_process_that_slept_eight_hours_refreshes_within_seconds_of_waking(tmp_path):
    """The wall clock of a real process is moved on by libfaketime while its monotonic clock goes on as before."""
    offset = tmp_path / "offset"
    offset.write_text("+0")
    preload = await _libfaketime()
    moved = {
        "LD_PRELOAD": preload,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    async with process_group(tmp_path / "one") as group:
        group.sign_in(expires_in_s=3600, lifetime_s=3600)
        child = await group.start("--watch", **moved)
        child.stdin.write(b"go\n")
        await asyncio.sleep(1.5)
        assert group.server.presented.total == 0
        # The network is not there yet when it wakes.
        group.server.faults.add("/token", Fault(drop="before"), Fault(drop="before"))
        offset.write_text("+8h")
        assert (await asyncio.wait_for(child.stdout.readline(), 30)).decode().strip() == group.current
        assert group.server.mint.live_families


async def _libfaketime():
    """The library that `faketime` preloads."""
    program = await asyncio.create_subprocess_exec(
        "faketime", "-f", "+0", "sh", "-c", "echo $LD_PRELOAD", stdout=asyncio.subprocess.PIPE
    )
    out, _ = await program.communicate()
    return out.decode().strip()


@pytest.mark.requirement("E56")
async def test_a_process_that_was_stopped_past_its_deadlines_reads_the_answer_that_came_meanwhile(tmp_path):
    async with process_group(tmp_path / "one") as group:
        group.sign_in()
        group.server.hold = True
        child = await group.start("--post-timeout", "1")
        child.stdin.write(b"go\n")
        await asyncio.wait_for(group.server.processed.wait(), 10)
        child.send_signal(signal.SIGSTOP)
        group.server.released.set()
        await asyncio.sleep(4)
        child.send_signal(signal.SIGCONT)
        assert await read_output(child) == group.current
        assert group.server.presented.total == 1
