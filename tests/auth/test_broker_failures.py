"""State folders in which nothing can be locked or written, sign-ins that change hands, and refused tokens."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace

import pytest
from aiohttp import web

from portico.auth.tokens import AccountChanged
from portico.errors import SignInNeeded, StoreError
from portico.interfaces.plugins import ModelSpec
from portico.models.client import begin
from portico.models.loader import CallableModel
from portico.models.protocols import Question
from portico.models.provider_errors import AttemptFailed
from portico.models.reference import ModelReference
from portico.net.client import HttpClient
from portico.secret import Secret
from portico.store.records import Tokens
from portico.store.token_store import refresh_lock
from portico.testing.authorization_server import CLIENT_ID, Fault, Gate
from tests.auth.helpers import PROFILE, a_profile, as_api_key


@pytest.mark.requirement("E62")
@pytest.mark.parametrize("what", ["a file for the lock folder", "a folder for the lock", "a link for the lock"])
async def test_where_nothing_can_be_locked_nothing_is_sent_and_a_good_token_serves(account, what):
    account.sign_in(ttl_s=100)
    before = account.vault.read(PROFILE)
    broker = account.broker()
    account.clock.advance(90)
    lock = refresh_lock(account.paths, PROFILE).path
    if what == "a file for the lock folder":
        account.paths.locks.rename(account.paths.locks.with_name("away"))
        account.paths.locks.write_text("")
    elif what == "a folder for the lock":
        lock.mkdir()
    else:
        lock.symlink_to(account.paths.state / "elsewhere")
    assert (await broker.access(PROFILE)).token == before.access
    account.clock.advance(60)
    with pytest.raises(StoreError) as raised:
        await broker.access(PROFILE)
    assert str(account.paths.locks) in f"{raised.value} {raised.value.hint}"
    assert account.posts == 0
    assert not (account.paths.state / "elsewhere").exists()


@pytest.mark.requirement("E62")
async def test_in_a_read_only_home_nothing_is_sent_and_the_error_has_the_cause(account, monkeypatch):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    original = os.open

    def read_only(path, flags, *rest, **named):
        if flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR) and str(path).startswith(str(account.paths.state)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return original(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(StoreError, match="Read-only file system"):
        await account.broker().access(PROFILE)
    assert account.posts == 0


@pytest.mark.requirement("E62")
async def test_a_missing_lock_folder_is_made(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.paths.locks.rename(account.paths.locks.with_name("away"))
    assert account.holds(await account.broker().access(PROFILE))
    assert account.paths.locks.stat().st_mode & 0o777 == 0o700


@pytest.mark.requirement("E60")
async def test_a_refresh_hands_out_no_token_of_another_account(account):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    gate = Gate()
    account.server.faults.add("/token", Fault(gate=gate))
    broker = account.broker()
    caller = asyncio.create_task(broker.access(PROFILE))
    async with asyncio.timeout(5):
        await gate.reached()
        issued = account.server.mint.start(CLIENT_ID)
        account.clock.advance(1)
        other = replace(a_profile(account.base, account.clock), issuer="https://other.example", region="cn")
        account.vault.commit(other, Tokens(Secret(issued.access), Secret(issued.refresh), issued.expires_at))
        gate.release()
        with pytest.raises(StoreError) as raised:
            await caller
    assert type(raised.value) is AccountChanged
    assert account.vault.read(PROFILE).access.reveal() == issued.access
    assert (await broker.access(PROFILE)).token.reveal() == issued.access
    assert account.server.mint.families[0].revoked, "the tokens that came too late are revoked"


@pytest.mark.parametrize("code", ["invalid_client", "unauthorized_client"])
async def test_the_error_of_an_unknown_client_names_the_configuration(account, code):
    account.sign_in(ttl_s=60)
    account.clock.advance(60)
    account.server.faults.always("/token", Fault(status=401, body=f'{{"error":"{code}"}}'))
    broker = account.broker()
    for _ in range(3):
        with pytest.raises(SignInNeeded) as raised:
            await broker.access(PROFILE)
        assert "config edit" in raised.value.hint
        account.clock.advance(600)
    assert account.posts == 1


@pytest.mark.requirement("E101")
async def test_a_stored_api_key_that_a_provider_rejects_is_handed_out_again_and_is_no_ended_sign_in(account):
    account.sign_in(refresh=False)
    account.index.update(PROFILE, as_api_key)
    broker = account.broker()
    first = await broker.access(PROFILE)

    again = await broker.access(PROFILE, rejected_generation=first.generation)

    assert (again.token, again.generation) == (first.token, first.generation)
    assert account.posts == 0


@pytest.mark.requirement("E69")
async def test_a_hundred_requests_with_an_old_token_make_one_refresh_and_are_sent_again_once_each(account, aiohttp_server):
    account.sign_in(ttl_s=3600)
    account.server.mint.revoke(account.vault.read(PROFILE).access.reveal())  # the access token alone
    presented = []

    async def answer(request):
        await request.read()
        token = request.headers["Authorization"].removeprefix("Bearer ")
        presented.append(token)
        if account.server.mint.family_of(token) is None:
            return web.Response(status=401, body=b'{"error":{"message":"expired"}}', content_type="application/json")
        event = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
        return web.Response(body=event, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/messages", answer)
    api = await aiohttp_server(app)
    model = CallableModel(
        reference=ModelReference("test", "m"),
        api="anthropic-messages",
        base_url=str(api.make_url("")).rstrip("/"),
        spec=ModelSpec("m", "M"),
        headers={},
        auth_header="bearer",
        key=None,
        profile_id=PROFILE,
        source="a test",
    )
    broker = account.broker()
    async with HttpClient() as http:

        async def ask():
            answer = await begin(model, Question("?", 1), http=http, broker=broker)
            return [piece async for piece in answer.pieces()]

        await asyncio.gather(*(ask() for _ in range(100)))
        assert account.posts == 1
        assert len(presented) == 200
        assert len(set(presented)) == 2

        account.server.mint.revoke((await broker.access(PROFILE)).token.reveal())
        account.server.faults.always("/token", Fault(status=503, body=b""))
        with pytest.raises(AttemptFailed):
            await ask()
    assert len(presented) == 201
