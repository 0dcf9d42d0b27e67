"""SIGKILL, SIGTERM and SIGHUP at each step of a refresh, and what the next process makes of it."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from portico.auth.refresh import REFRESH_STEPS
from portico.store import encrypted_file
from portico.store.vault import COMMIT_CRASH_POINTS
from tests.auth.helpers import PROFILE
from tests.auth.process_group import REUSE, process_group, read_output

NOT_SENT = ("locked", "decided", "journaled")
LOST = ("processed", "answered", "validated", "intent")
# From the write on, the next process finds the new tokens and needs no second request.
STORED = ("written", "verified", "flipped", "deleted", "cleared", "stored")
STEPS = (*NOT_SENT, *LOST, *STORED)
AT_ONCE = 3


def test_every_step_has_its_place_in_the_matrix():
    assert {*REFRESH_STEPS, *COMMIT_CRASH_POINTS, "processed"} == {*STEPS}


@pytest.mark.requirement("E51")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("reuse", "steps"),
    [
        (REUSE[0], ("journaled", "processed", "verified", "flipped")),
        *(pytest.param(each, STEPS, marks=pytest.mark.slow) for each in REUSE),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} steps",
)
async def test_a_kill_at_any_step_leaves_a_sign_in_or_the_reason_why_there_is_none(
    tmp_path, monkeypatch, paths, capsys, reuse, steps
):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(step):
        async with turn:
            return await killed_at(step, tmp_path / step, reuse)

    rows = await asyncio.gather(*(one(step) for step in steps))
    with capsys.disabled():
        sys.stdout.write(f"\n  a refresh token that comes again {reuse}\n")
        for step, (outcome, posts, twice, _) in zip(steps, rows, strict=True):
            sys.stdout.write(f"    killed at {step:<10} {outcome:<22} {posts} requests, {twice} sent twice\n")
    for step, (outcome, posts, twice, first_was_sent_again) in zip(steps, rows, strict=True):
        if step in LOST:
            assert outcome == ("has a token" if reuse == REUSE[2] else "sign-in-expired"), step
            assert (posts, twice, first_was_sent_again) == (2, 1, True), step
        else:
            assert (outcome, posts, twice) == ("has a token", 1, 0), step


async def killed_at(step, folder, reuse):
    """What the next process got, how many requests there were, and which refresh tokens came more than once."""
    async with process_group(folder, reuse) as group:
        issued = group.sign_in()
        if step == "processed":
            group.server.hold = True
            child = await group.start()
            child.stdin.write(b"go\n")
            await group.server.processed.wait()
            child.kill()
            await child.communicate()
            group.server.hold = False
            group.server.released.set()
        else:
            assert await read_output(await group.start("--die-at", step)) is None
        token = await group.run()
        next_token = await group.run()
        outcome = "has a token" if token == group.current else token.partition(":")[0]
        profile = group.index.get(PROFILE)
        if outcome == "has a token":
            assert next_token == token
            assert (profile.journal_entry, profile.failure) == (None, None)
        else:
            assert (profile.failure.id, profile.failure.terminal) == ("sign-in-ended", True), token
            assert "The response with the new tokens was lost" in token
            assert next_token.startswith("sign-in-expired")
        presented = group.server.presented
        return outcome, presented.total, len(presented.twice), presented.times(issued.refresh) == 2


@pytest.mark.requirement("E95")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("SIGTERM", ("journaled", "answered", "verified")),
        *(pytest.param(name, STEPS, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGHUP")),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} steps",
)
async def test_a_kill_that_can_be_heeded_costs_nothing_at_any_step(tmp_path, monkeypatch, paths, capsys, name, steps):
    """Even where a server ends the whole sign-in at the second use of a refresh token."""
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(step):
        async with turn:
            return await ended_at(step, name, tmp_path / step)

    rows = await asyncio.gather(*(one(step) for step in steps))
    with capsys.disabled():
        for step, row in zip(steps, rows, strict=True):
            sys.stdout.write(f"\n    {name} at {step:<10} {row[0]:<22} {row[1]} requests, {row[2]} sent twice")
    assert dict(zip(steps, rows, strict=True)) == dict.fromkeys(steps, ("has a token", 1, 0))


async def ended_at(step, name, folder):
    async with process_group(folder) as group:
        group.sign_in()
        if step == "processed":
            group.server.hold = True
            child = await group.start()
            child.stdin.write(b"go\n")
            await group.server.processed.wait()
            child.send_signal(signal.Signals[name])
            await asyncio.sleep(0.2)
            group.server.released.set()
        else:
            child = await group.start("--die-at", step, "--of", name)
            child.stdin.write(b"go\n")
        await child.communicate()
        assert child.returncode == 128 + signal.Signals[name]
        token = await group.run()
        outcome = "has a token" if token == group.current else token
        return outcome, group.server.presented.total, len(group.server.presented.twice)
