"""Signing out while the sign-in is in use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from portico.auth.refresh_lock import refresh_lock
from portico.onboarding import sign_out as module
from portico.onboarding.sign_out import sign_out
from portico.secret import Secret
from portico.testing.authorization_server import Fault, Gate
from portico.testing.canary import canary
from tests.auth.parts import PROFILE, OffLoop, dialects, until


@pytest.fixture
def bench(account):
    plugins = SimpleNamespace(dialect=dialects)
    return SimpleNamespace(
        paths=account.paths,
        plugins=plugins,
        index=account.index.real,
        vault=lambda: account.vault.real,
        clock=account.clock,
    )


@pytest.fixture
def revoked(account, monkeypatch):
    """Every token that the server was told to revoke."""
    told = []
    honest = account.server.mint.revoke
    monkeypatch.setattr(account.server.mint, "revoke", lambda token: (told.append(token), honest(token)))
    return told


@pytest.mark.requirement("E47")
async def test_a_sign_out_waits_for_the_refresh_under_way_and_revokes_what_it_brings(account, bench, revoked):
    account.sign_in(ttl_s=60)
    before = account.vault.read(PROFILE)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    async with asyncio.timeout(5):
        caller = asyncio.create_task(account.broker().access(PROFILE))
        await gate.reached()
        leaving = asyncio.create_task(sign_out(bench, PROFILE, account.http, agreed=account.index.get(PROFILE)))
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
async def test_a_refresh_that_does_not_end_does_not_keep_a_sign_out_waiting_and_is_told(account, bench, revoked, monkeypatch):
    monkeypatch.setattr(module, "REFRESH_WITHIN_S", 0.05)
    account.sign_in()
    lock = OffLoop(refresh_lock(account.paths, PROFILE))
    lock.acquire(1)
    async with asyncio.timeout(5):
        result = await sign_out(bench, PROFILE, account.http, agreed=account.index.get(PROFILE))
    lock.release()

    assert "refresh" in result.not_revoked
    assert len(revoked) == 2
    assert account.index.get(PROFILE) is None
    await until(lock.try_acquire)
    lock.release()


@pytest.mark.requirement("E47")
async def test_a_lock_that_cannot_be_opened_is_not_taken_for_another_process(account, bench):
    account.sign_in()
    path = refresh_lock(account.paths, PROFILE).path
    OffLoop(path).mkdir(parents=True)
    async with asyncio.timeout(5):
        result = await sign_out(bench, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert "cannot lock the refresh" in result.not_revoked
    assert "another process has under way" not in result.not_revoked
    assert result.left == ()


@pytest.mark.requirement("E86")
async def test_a_sign_in_that_ends_while_the_old_tokens_are_revoked_is_left_alone(account, bench, revoked, monkeypatch):
    account.sign_in(ttl_s=60)
    old, index = account.vault.read(PROFILE), account.index.real

    def sign_in_anew():
        newer = index.get(PROFILE).created_at + 1
        account.sign_in(ttl_s=60)
        index.update(PROFILE, lambda profile: replace(profile, created_at=newer))

    meanwhile(monkeypatch, sign_in_anew)
    result = await sign_out(bench, PROFILE, account.http, agreed=account.index.get(PROFILE))

    kept = account.vault.read(PROFILE)
    assert (result.taken, result.left) == (True, ())
    assert old.refresh.reveal() in revoked
    assert {kept.refresh.reveal(), kept.access.reveal()}.isdisjoint(revoked)


@pytest.mark.requirement("E86")
async def test_tokens_that_were_refreshed_while_the_old_ones_were_revoked_are_revoked_too(account, bench, revoked, monkeypatch):
    account.sign_in(ttl_s=60)
    vault, index = account.vault.real, account.index.real
    newer = replace(account.vault.read(PROFILE), access=Secret(canary("at")), refresh=Secret(canary("rt")))

    meanwhile(monkeypatch, lambda: vault.commit(index.get(PROFILE), newer))
    result = await sign_out(bench, PROFILE, account.http, agreed=account.index.get(PROFILE))

    assert (result.taken, result.left) == (False, ())
    assert newer.refresh.reveal() in revoked
    assert account.index.get(PROFILE) is None


@pytest.mark.requirement("E86")
@pytest.mark.parametrize("when", ["_why_not_alone", "_stored"])
async def test_a_sign_in_that_came_before_its_tokens_were_read_is_left_alone_as_well(account, bench, revoked, monkeypatch, when):
    """While the lock was waited for, or while somebody unlocked the keyring."""
    account.sign_in(ttl_s=60)
    agreed, index, honest = account.index.get(PROFILE), account.index.real, getattr(module, when)

    def after_another(*args):
        monkeypatch.setattr(module, when, honest)
        account.sign_in(ttl_s=60)
        index.update(PROFILE, lambda profile: replace(profile, created_at=agreed.created_at + 1))
        return honest(*args)

    monkeypatch.setattr(module, when, after_another)
    result = await sign_out(bench, PROFILE, account.http, agreed=agreed)

    assert (result.taken, revoked) == (True, [])
    assert account.index.get(PROFILE).created_at == agreed.created_at + 1


def meanwhile(monkeypatch, happens):
    """Let something happen once, just before the provider is told to revoke."""
    honest = module.revoke_tokens

    async def after_it(*args):
        monkeypatch.setattr(module, "revoke_tokens", honest)
        await asyncio.to_thread(happens)
        return await honest(*args)

    monkeypatch.setattr(module, "revoke_tokens", after_it)
