"""Whose tokens a refresh brings, and for what: an account is never mixed with another one."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from dataclasses import replace

import pytest

from portico.errors import SignInNeeded, StoreError
from portico.secret import Secret
from portico.store.records import ApiKeyProfile, Tokens
from portico.store.token_store import refresh_lock
from portico.testing.authorization_server import CLIENT_ID, Fault, Gate
from portico.util.lock import FileLock
from tests.auth.helpers import PROFILE, OffLoop, a_profile, until


def answer(subject, **extra):
    claims = base64.urlsafe_b64encode(json.dumps({"sub": subject}).encode()).decode().rstrip("=")
    fields = {
        "access_token": f"at-{subject}",
        "token_type": "Bearer",
        "expires_in": 60,
        "id_token": f"e30.{claims}.c2ln",
        **extra,
    }
    return Fault(status=200, body=json.dumps(fields), headers={"Content-Type": "application/json"})


def signed_in_as(account, subject, **changed):
    account.sign_in(ttl_s=60)
    account.index.update(PROFILE, lambda profile: replace(profile, subject=subject, **changed))
    account.clock.advance(60)


async def test_the_tokens_of_another_account_are_rejected_and_revoked_and_the_old_ones_stay(account):
    signed_in_as(account, "alice", revocation_endpoint=f"{account.base}/revoke")
    before = account.vault.read(PROFILE)
    # An answer to the same token was lost before: that does not make it a lost answer.
    account.server.faults.add("/token", Fault(drop="before"), answer("mallory"))
    broker = account.broker()
    for _ in range(2):
        with pytest.raises(SignInNeeded, match="tokens of another account"):
            await broker.access(PROFILE)
        account.clock.advance(60)
    assert account.vault.read(PROFILE) == before
    assert (account.index.get(PROFILE).failure.id, account.index.get(PROFILE).subject) == ("sign-in-ended", "alice")
    assert account.posts == 2
    assert account.server.faults.requests["/revoke"] == 1


@pytest.mark.requirement("E60")
async def test_a_refresh_returns_no_token_of_another_account_of_the_same_server(account):
    signed_in_as(account, "alice")
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    broker = account.broker()
    caller = asyncio.create_task(broker.access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        issued = account.server.mint.start(CLIENT_ID)
        bob = replace(a_profile(account.base, account.clock), subject="bob")
        account.vault.commit(bob, Tokens(Secret(issued.access), Secret(issued.refresh), issued.expires_at))
        gate.release()
        with pytest.raises(StoreError, match="another account"):
            await caller
    assert (await broker.access(PROFILE)).token.reveal() == issued.access


def store_a_key(account):
    key = ApiKeyProfile(id=PROFILE, provider="minimax-portal", created_at=account.clock.wall_ms())
    account.vault.commit(key, Tokens(Secret("sk-of-somebody"), None, None))


@pytest.mark.parametrize("reply", [{}, {"status": 400, "body": '{"error":"invalid_grant"}'}], ids=["granted", "refused"])
async def test_a_refresh_returns_no_api_key_that_was_stored_in_its_profiles_place(account, reply):
    signed_in_as(account, "alice")
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate, **reply))
    broker = account.broker()
    caller = asyncio.create_task(broker.access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        store_a_key(account)
        gate.release()
        with pytest.raises(StoreError, match="another account"):
            await caller
    assert (await broker.access(PROFILE)).token.reveal() == "sk-of-somebody"


async def test_who_waits_for_another_process_to_refresh_is_handed_no_api_key_in_its_profiles_place(account):
    signed_in_as(account, "alice")
    broker = account.broker()
    lock = OffLoop(FileLock(refresh_lock(account.paths, PROFILE).path))
    lock.acquire(1)
    caller = asyncio.create_task(broker.access(PROFILE))
    async with asyncio.timeout(5):
        await until(lambda: broker._single_flights)
        store_a_key(account)
        with pytest.raises(StoreError, match="another account"):
            await caller
    lock.release()
    assert account.posts == 0


@pytest.mark.parametrize("known", ["alice", None])
async def test_the_same_account_goes_on_and_a_new_one_is_learnt(account, known):
    signed_in_as(account, known)
    account.server.faults.add("/token", answer("alice", refresh_expires_in=600))
    assert (await account.broker().access(PROFILE)).token.reveal() == "at-alice"
    profile = account.index.get(PROFILE)
    assert (profile.subject, profile.refresh_expires_at) == ("alice", account.clock.wall_ms() + 600_000)


async def test_a_server_that_stops_telling_the_account_or_the_end_of_the_refresh_token_changes_nothing(account):
    end = account.clock.wall_ms() + 10**9
    signed_in_as(account, "alice", refresh_expires_at=end)
    account.server.faults.add("/token", Fault(status=200, body='{"access_token": "at-2", "token_type": "Bearer"}'))
    await account.broker().access(PROFILE)
    assert (account.index.get(PROFILE).subject, account.index.get(PROFILE).refresh_expires_at) == ("alice", end)


async def test_a_new_refresh_token_has_no_end_but_the_one_that_comes_with_it(account):
    signed_in_as(account, "alice", refresh_expires_at=account.clock.wall_ms() + 10**9)
    await account.broker().access(PROFILE)  # rotated, and the server tells no end
    assert account.index.get(PROFILE).refresh_expires_at is None


async def test_a_scope_that_grows_is_stored_and_logged_and_one_that_shrinks_is_stored(account, caplog):
    signed_in_as(account, "alice", scope="profile models")
    account.server.faults.add("/token", answer("alice", scope="profile models billing"), answer("alice", scope="profile"))
    broker = account.broker()
    with caplog.at_level(logging.WARNING, "portico.auth"):
        await broker.access(PROFILE)
        assert caplog.messages == [f"{PROFILE}: the scope has grown by billing"]
        assert account.index.get(PROFILE).scope == "profile models billing"
        account.clock.advance(60)
        await broker.access(PROFILE)
    assert account.index.get(PROFILE).scope == "profile"
    assert len(caplog.messages) == 1
