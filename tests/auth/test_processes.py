"""Real processes that want a token at the same instant."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace

import pytest

from portico.clock import SystemClock
from portico.secret import Secret
from portico.store.records import Tokens
from portico.store.vault import Vault
from portico.testing.as_tokens import token_hash
from portico.testing.authorization_server import CLIENT_ID, Fault
from portico.testing.canary import canary, exempt
from tests.auth.parts import PROFILE, OffLoop, a_profile


async def children(account, tmp_path, count, *flags):
    """Start `count` processes from the same expired token, let them go at once, and return what they got."""
    secret = tmp_path / "passphrase"
    secret.write_text(canary("passphrase"))
    environment = {**os.environ, "PORTICO_PASSPHRASE_FILE": str(exempt(secret)), "PYTHONPATH": os.pathsep.join(sys.path)}
    clock = SystemClock()
    account.server.mint.clock = clock
    issued = account.server.mint.start(CLIENT_ID)
    vault = OffLoop(Vault(account.paths, account.index.real, store="file", env=environment))
    expired = Tokens(Secret(issued.access), Secret(issued.refresh), clock.wall_ms() - 1)
    vault.commit(replace(a_profile(account.base, clock), created_at=clock.wall_ms() - 60_000), expired)
    # The server takes its time, so that whoever may ask does so before the first answer.
    account.server.faults.always("/token", Fault(delay_s=0.3))
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tests.auth.refresh_child", *flags)
    running = [
        await asyncio.create_subprocess_exec(*command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
        for _ in range(count)
    ]
    async with asyncio.timeout(30):
        for child in running:
            assert await child.stdout.readline() == b"ready\n", (await child.stderr.read()).decode()
        ended = await asyncio.gather(*(child.communicate(b"go\n") for child in running))
    return [out.decode().strip() for out, _ in ended], vault


@pytest.mark.requirement("S8")
@pytest.mark.parametrize("count", [2, 6])
async def test_processes_at_expiry_make_one_request_and_get_the_same_token(account, tmp_path, count):
    got, vault = await children(account, tmp_path, count)
    assert account.posts == 1
    assert got == [token_hash(vault.read(PROFILE).access.reveal())] * count
    assert len(account.server.mint.live_families) == 1


async def test_without_the_lock_they_would_ask_twice_and_lose_the_sign_in(account, tmp_path):
    """What the test above would see if the lock did nothing: it is the lock that it shows."""
    await children(account, tmp_path, 2, "--without-lock")
    assert account.posts == 2
    assert account.server.presented.twice
    assert account.server.mint.live_families == []
