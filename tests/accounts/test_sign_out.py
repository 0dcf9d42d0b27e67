"""Sign out while the account is in use."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import portico
from portico.accounts import sign_out as module
from portico.accounts.sign_out import sign_out
from portico.secret import Secret
from portico.store import vault
from portico.store.profiles import LOCK_NAME
from portico.store.token_store import refresh_lock
from portico.testing.authorization_server import Fault, Gate
from portico.testing.canary import canary
from portico.util.lock import FileLock, file_lock, named_lock
from tests.auth.helpers import PROFILE, OffLoop, as_api_key, dialects, until

SOURCE = str(Path(portico.__file__).parent.parent)


@pytest.fixture
def app(account):
    plugins = SimpleNamespace(dialect=dialects)
    return SimpleNamespace(
        paths=account.paths,
        plugins=plugins,
        token_store=account.store,
        clock=account.clock,
    )


@pytest.fixture
def revoked(account, monkeypatch):
    """Every token of a revocation request."""
    reported = []
    honest = account.server.mint.revoke
    monkeypatch.setattr(account.server.mint, "revoke", lambda token: (reported.append(token), honest(token)))
    return reported


@pytest.mark.requirement("E47")
async def test_a_sign_out_waits_for_a_running_refresh_and_revokes_its_tokens(account, app, revoked):
    account.sign_in(ttl_s=60)
    before = account.vault.read(PROFILE)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    async with asyncio.timeout(5):
        caller = asyncio.create_task(account.broker().access(PROFILE))
        await gate.reached()
        leaving = asyncio.create_task(sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE)))
        done, _ = await asyncio.wait([leaving], timeout=0.2)
        gate.release()
        access, result = await caller, await leaving

    assert not done
    assert (result.not_revoked, result.left) == (None, ())
    assert before.refresh.reveal() not in revoked
    assert access.token.reveal() in revoked
    assert len(revoked) == 2
    assert account.index.get(PROFILE) is None


@pytest.mark.requirement("E47")
async def test_a_sign_out_does_not_wait_for_a_hanging_refresh_and_reports_it(account, app, revoked, monkeypatch):
    monkeypatch.setattr(module, "REFRESH_WITHIN_S", 0.05)
    account.sign_in()
    lock = OffLoop(refresh_lock(account.paths, PROFILE))
    lock.acquire(1)
    async with asyncio.timeout(5):
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))
    lock.release()

    assert result.not_revoked is None
    assert "if a running refresh still gets new tokens, it revokes them" in result.may_be_left
    assert len(revoked) == 2
    assert account.index.get(PROFILE) is None
    await until(lock.try_acquire)
    lock.release()


async def test_a_cancelled_sign_out_does_not_block_a_later_refresh(account, app):
    account.sign_in()
    lock = OffLoop(refresh_lock(account.paths, PROFILE))
    lock.acquire(1)
    leaving = asyncio.create_task(sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE)))
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.wait([leaving])
    lock.release()
    await asyncio.sleep(0.05)  # the waiting thread now has the turn, but its caller is gone
    await until(lock.try_acquire)
    lock.release()


@pytest.mark.requirement("E47")
async def test_a_lock_that_cannot_be_opened_is_not_reported_as_busy(account, app):
    account.sign_in()
    path = refresh_lock(account.paths, PROFILE).path
    OffLoop(path).mkdir(parents=True)
    async with asyncio.timeout(5):
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert result.not_revoked is None
    assert "Could not lock the refresh" in result.may_be_left
    assert "revokes them itself" not in result.may_be_left
    assert result.left == ()


HOLD = """
import sys
from pathlib import Path
from portico.util.lock import FileLock
locks = [FileLock(Path(path)) for path in sys.argv[1:]]
for lock in locks:
    lock.acquire(5)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.asynccontextmanager
async def another_process_holding(*paths):
    """Another process that has these locks until the block ends."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD, *map(str, paths), stdin=pipe, stdout=pipe, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    try:
        assert await process.stdout.readline() == b"held\n"
        yield process.pid
    finally:
        process.stdin.close()
        await process.wait()


def all_locks(paths):
    return {
        "refresh": refresh_lock(paths, PROFILE).path,
        "tokens": named_lock(paths.locks, "vault", PROFILE, what="").path,
        "index": paths.locks / LOCK_NAME,
    }


@pytest.fixture
def impatient(monkeypatch):
    """Make every wait for a lock short."""
    monkeypatch.setattr(module, "REFRESH_WITHIN_S", 0.05)
    monkeypatch.setattr(vault, "_LOCK_MARGIN_S", -59.95)
    monkeypatch.setattr(FileLock.acquire, "__defaults__", (0.05,))
    monkeypatch.setattr(file_lock.__wrapped__, "__defaults__", (0.05, "this file"))


@pytest.mark.requirement("E110")
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("held", [("refresh",), ("tokens",), ("index",), ("refresh", "tokens", "index")], ids="+".join)
async def test_the_stored_tokens_are_revoked_whichever_lock_is_busy(account, app, revoked, held):
    account.sign_in()
    stored, locks = account.vault.read(PROFILE), all_locks(account.paths)
    async with asyncio.timeout(20), another_process_holding(*(locks[name] for name in held)) as pid:
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert sorted(revoked) == sorted([stored.refresh.reveal(), stored.access.reveal()])
    assert account.server.mint.families[0].revoked
    assert result.not_revoked is None
    assert (result.may_be_left is not None) == ("refresh" in held)
    assert bool(result.left) == (held != ("refresh",))
    for output in (result.may_be_left, *result.left):
        assert output is None or f"Process {pid} is using" in output


@pytest.mark.requirement("E110")
@pytest.mark.usefixtures("impatient")
async def test_no_command_uses_revoked_tokens_that_a_busy_lock_left_and_the_next_sign_out_deletes_them(account, app, revoked):
    account.sign_in()
    async with asyncio.timeout(20), another_process_holding(all_locks(account.paths)["tokens"]):
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))
    stored = account.index.get(PROFILE)

    assert (bool(result.left), stored.sign_out_unfinished) == (True, True)
    again = await sign_out(app, PROFILE, account.http, agreed=stored)
    assert (again.left, account.index.get(PROFILE)) == ((), None)


@pytest.mark.requirement("E110")
@pytest.mark.parametrize("broken", ["no folder", "no files", "read-only"])
async def test_the_stored_tokens_are_revoked_even_if_no_lock_can_be_taken(account, app, revoked, monkeypatch, broken):
    account.sign_in()
    make_unlockable(account.paths, broken, monkeypatch)
    async with asyncio.timeout(20):
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert len(revoked) == 2
    assert account.server.mint.families[0].revoked
    assert (result.not_revoked, "Could not lock the refresh" in result.may_be_left) == (None, True)
    assert "Could not lock" in result.left[0]


def make_unlockable(paths, broken, monkeypatch):
    """Raise the error of a read-only folder, since root can write to one."""
    if broken == "read-only":

        def read_only(path, flags, *mode):
            if Path(path).parent == paths.locks and flags & os.O_RDWR:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return opened(path, flags, *mode)

        opened = os.open
        monkeypatch.setattr(os, "open", read_only)
        return
    shutil.rmtree(paths.locks)
    if broken == "no folder":
        paths.locks.write_text("somebody's file")
    else:
        for path in all_locks(paths).values():
            path.mkdir(parents=True)


@pytest.mark.requirement("E110")
async def test_signing_out_a_key_does_not_wait(account, app, revoked):
    account.sign_in(refresh=False)
    account.index.update(PROFILE, as_api_key)
    started = time.monotonic()
    async with another_process_holding(all_locks(account.paths)["refresh"]):
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert time.monotonic() - started < module.REFRESH_WITHIN_S
    assert (result.left, result.may_be_left, result.is_key, revoked) == ((), None, True, [])


@pytest.mark.requirement("E110")
async def test_a_refresh_that_ends_after_the_sign_out_leaves_no_tokens(account, app, revoked, monkeypatch):
    """Its reply comes after the sign-out: the refreshing process revokes the new tokens."""
    monkeypatch.setattr(module, "REFRESH_WITHIN_S", 0.05)
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    async with asyncio.timeout(10):
        caller = asyncio.create_task(account.broker().access(PROFILE))
        await gate.reached()
        result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))
        gate.release()
        await asyncio.gather(caller, return_exceptions=True)
        await until(lambda: account.server.mint.families[0].revoked)

    assert (result.not_revoked, result.left) == (None, ())
    assert f"Process {os.getpid()} is using the refresh" in result.may_be_left
    assert account.index.get(PROFILE) is None


@pytest.mark.requirement("E86")
async def test_an_account_signed_in_during_the_revocation_stays(account, app, revoked, monkeypatch):
    account.sign_in(ttl_s=60)
    old, index = account.vault.read(PROFILE), account.index.real

    def sign_in_anew():
        newer = index.get(PROFILE).created_at + 1
        account.sign_in(ttl_s=60)
        index.update(PROFILE, lambda profile: replace(profile, created_at=newer))

    meanwhile(monkeypatch, sign_in_anew)
    result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))

    stored = account.vault.read(PROFILE)
    assert (result.taken, result.left) == (True, ())
    assert old.refresh.reveal() in revoked
    assert {stored.refresh.reveal(), stored.access.reveal()}.isdisjoint(revoked)


@pytest.mark.requirement("E86")
async def test_tokens_refreshed_during_the_revocation_are_revoked_too(account, app, revoked, monkeypatch):
    account.sign_in(ttl_s=60)
    vault, index = account.vault.real, account.index.real
    newer = replace(account.vault.read(PROFILE), access=Secret(canary("at")), refresh=Secret(canary("rt")))

    meanwhile(monkeypatch, lambda: vault.commit(index.get(PROFILE), newer))
    result = await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert (result.taken, result.left) == (False, ())
    assert newer.refresh.reveal() in revoked
    assert account.index.get(PROFILE) is None


@pytest.mark.requirement("E86")
@pytest.mark.parametrize("when", ["_turn", "_stored"])
async def test_an_account_signed_in_before_the_tokens_are_read_stays(account, app, revoked, monkeypatch, when):
    """While the command waited for the lock, or for an unlock of the keyring."""
    account.sign_in(ttl_s=60)
    agreed, index, honest = account.index.get(PROFILE), account.index.real, getattr(module, when)

    def after_another(*args):
        monkeypatch.setattr(module, when, honest)
        account.sign_in(ttl_s=60)
        index.update(PROFILE, lambda profile: replace(profile, created_at=agreed.created_at + 1))
        return honest(*args)

    monkeypatch.setattr(module, when, after_another)
    result = await sign_out(app, PROFILE, account.http, agreed=agreed)

    assert (result.taken, revoked) == (True, [])
    assert account.index.get(PROFILE).created_at == agreed.created_at + 1


def meanwhile(monkeypatch, happens):
    """Run an action once, just before the revocation request."""
    honest = module.revoke_tokens

    async def after_it(*args):
        monkeypatch.setattr(module, "revoke_tokens", honest)
        await asyncio.to_thread(happens)
        return await honest(*args)

    monkeypatch.setattr(module, "revoke_tokens", after_it)
