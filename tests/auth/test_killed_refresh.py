"""A refresh that was killed after its tokens were written: the next callers, together or alone, and every failure then."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from portico.accounts.sign_out import sign_out
from portico.auth import journal as fences
from portico.errors import PorticoError, SignInNeeded, StoreError
from portico.secret import Secret
from portico.store import encrypted_file
from portico.store.errors import KeyringLocked, KeyringTimeout, KeyringUnknown
from portico.store.profiles import ProfileIndex
from portico.store.records import Renewal, Tokens
from portico.store.vault import Vault
from portico.testing.authorization_server import CLIENT_ID
from tests.auth.helpers import PROFILE, dialects
from tests.auth.process_group import process_group, read_output


class Killed(BaseException):
    """Ends a commit where SIGKILL would."""


def a_vault(account, crash_point=lambda _step: None):
    return Vault(
        account.paths,
        ProfileIndex(account.paths),
        store="file",
        passphrase=account.vault.real._passphrase,
        crash_point=crash_point,
    )


def killed_refresh(account, **brought):
    """Rotate at the server, write the new tokens, and die before anything points at them."""
    account.server.mint.access_ttl_s = 600
    before = account.vault.read(PROFILE)
    issued = account.server.mint.rotate(before.refresh.reveal(), CLIENT_ID)
    now = account.clock.wall_ms()
    profile = account.index.update(PROFILE, lambda each: replace(each, journal_entry=fences.new_entry(each, before.refresh, now)))
    renewal = Renewal(**{"replaces": profile.generation, "refreshed_at": now, **brought})
    new = Tokens(Secret(issued.access), Secret(issued.refresh), issued.expires_at, renewal=renewal)

    def die(step):
        if step == "verified":
            raise Killed

    def commit():
        with pytest.raises(Killed):
            a_vault(account, die).commit(profile.renewed(renewal), new, expect_generation=profile.generation)

    thread = threading.Thread(target=commit)
    thread.start()
    thread.join()
    return new


@pytest.mark.requirement("E51")
async def test_a_process_that_meets_another_one_finishing_it_waits_and_sends_nothing(account):
    account.sign_in(ttl_s=60)
    new = killed_refresh(account)
    account.clock.advance(59)
    inside, go = threading.Event(), threading.Event()
    slow = a_vault(account)
    store = slow._store("file", None)
    original = store.get

    def wait(user, *matches):
        if "#b" in user:
            inside.set()
            go.wait(10)
        return original(user, *matches)

    store.get = wait
    sweeping = threading.Thread(target=slow.sweep)
    sweeping.start()
    await asyncio.to_thread(inside.wait, 5)
    caller = asyncio.create_task(account.broker().access(PROFILE, rejected_generation=1))
    await asyncio.sleep(0.2)
    assert not caller.done()
    go.set()
    assert (await caller).token == new.access
    await asyncio.to_thread(sweeping.join)
    assert account.posts == 0


@pytest.mark.requirement("E51")
@pytest.mark.timeout(120)
async def test_real_processes_that_find_it_at_once_send_nothing(tmp_path, monkeypatch, paths):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    for number in range(3):
        async with process_group(tmp_path / str(number)) as group:
            group.sign_in()
            assert await read_output(await group.start("--die-at", "verified")) is None
            running = await asyncio.gather(*(group.start() for _ in range(4)))
            tokens = await asyncio.gather(*(read_output(child) for child in running))
            assert (tokens, group.server.presented.total) == ([group.current] * 4, 1)


@pytest.mark.requirement("E51")
async def test_while_what_was_written_cannot_be_read_nothing_is_sent(account):
    account.sign_in(ttl_s=60)
    new = killed_refresh(account)
    account.clock.advance(59)
    flaky = a_vault(account)
    store = flaky._store("file", None)
    original = store.get

    def locked(user, *matches):
        if "#b" in user:
            raise KeyringTimeout("it did not answer")
        return original(user, *matches)

    store.get = locked
    broker = account.broker(vault=flaky)
    with pytest.raises(StoreError, match="did not answer"):
        await broker.access(PROFILE, rejected_generation=1)
    assert account.posts == 0
    store.get = original
    account.clock.advance(0.5)
    assert (await account.broker().access(PROFILE)).token == new.access


async def test_everything_that_it_brought_is_stored(account):
    account.sign_in(ttl_s=60)
    end = account.clock.wall_ms() + 10**9
    killed_refresh(account, refresh_expires_at=end, scope="profile models", subject="alice")
    account.clock.advance(10)
    account.vault.read(PROFILE)
    profile = account.index.get(PROFILE)
    assert (profile.refresh_expires_at, profile.scope, profile.subject) == (end, "profile models", "alice")
    assert profile.refreshed_at == account.clock.wall_ms() - 10_000


async def test_a_sign_out_that_could_not_delete_it_is_not_undone_by_it(account):
    account.sign_in(ttl_s=600)
    killed_refresh(account)
    real = account.vault.real
    store = real._store("file", None)
    original = store.get, store.delete

    def locked(*_args, **_named):
        raise KeyringLocked("locked")

    store.get = store.delete = locked
    app = SimpleNamespace(
        paths=account.paths,
        plugins=SimpleNamespace(dialect=dialects),
        token_store=account.store,
        clock=account.clock,
    )
    await sign_out(app, PROFILE, account.http, agreed=account.index.get(PROFILE))
    store.get, store.delete = original
    account.vault.sweep()
    assert account.index.get(PROFILE).sign_out_unfinished
    with pytest.raises(SignInNeeded):
        await account.broker().access(PROFILE, rejected_generation=1)


async def test_a_pair_that_its_living_owner_has_refreshed_from_memory_is_no_step_back(account, monkeypatch):
    """The write of the first pair timed out and landed; its owner went on from memory before anybody else looked."""
    account.sign_in(ttl_s=60)
    vault = a_vault(account)
    store = vault._store("file", None)
    original, hanging = store.set, True

    def timing_out(user, value):
        if hanging:
            original(user, value)
            raise KeyringUnknown("no answer")
        return original(user, value)

    monkeypatch.setattr(store, "set", timing_out)
    monkeypatch.setattr(type(store), "has_pending_call", property(lambda _self: hanging))
    broker = account.broker(vault=vault)
    for _ in range(2):
        account.clock.advance(61)
        assert (await broker.access(PROFILE)).generation < 0
    hanging = False
    await asyncio.to_thread(a_vault(account).read, PROFILE)
    account.clock.advance(61)
    token = await broker.access(PROFILE)
    (family,) = account.server.mint.families
    assert (family.reused, family.revoked) == (False, False)
    assert account.server.mint.family_of(token.token.reveal()) is family


def test_a_killed_sign_in_over_it_changes_nothing(account):
    account.sign_in(ttl_s=60)
    new = killed_refresh(account)
    with pytest.raises(PorticoError, match="Newer tokens"):
        a_vault(account).commit(account.index.get(PROFILE), new, expect_generation=99)
