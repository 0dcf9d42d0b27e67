"""A signed-in account at a real authorization server, for the tests of refresh."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from portico.auth.broker import TokenBroker
from portico.oauth.standard import StandardDialect
from portico.secret import Secret
from portico.store.records import ApiKeyProfile, OAuthProfile, Tokens
from portico.store.token_store import LocalTokenStore
from portico.testing.authorization_server import CLIENT_ID, AuthorizationServer

if TYPE_CHECKING:
    from portico.net.client import HttpClient
    from portico.paths import Paths
    from portico.testing.clock import FakeClock

PROFILE = "test:default"
_POOL = ThreadPoolExecutor(max_workers=4)


def dialects(name: str) -> StandardDialect:
    assert name == "standard"
    return StandardDialect()


def a_profile(base: str, clock, id: str = PROFILE) -> OAuthProfile:
    return OAuthProfile(
        id=id,
        provider="test",
        plugin="test",
        region="",
        issuer=base,
        client_id=CLIENT_ID,
        dialect="standard",
        api_base="https://api.example",
        token_endpoint=f"{base}/token",
        revocation_endpoint=f"{base}/revoke",
        created_at=clock.wall_ms(),
    )


def as_api_key(profile) -> ApiKeyProfile:
    """An API key in the place of `profile`, where its tokens lie."""
    shared = {field.name: getattr(profile, field.name) for field in fields(ApiKeyProfile) if field.init}
    return ApiKeyProfile(**{**shared, "expires_at": None})


class OffLoop:
    """Something that blocks, as a test may call it: each call is made on another thread and waited for."""

    def __init__(self, blocking) -> None:
        self.real = blocking

    def __getattr__(self, name):
        value = getattr(self.real, name)
        return (lambda *args, **named: _POOL.submit(value, *args, **named).result()) if callable(value) else value


@dataclass
class Account:
    """The server, the store and the clock of one test."""

    server: AuthorizationServer
    base: str
    clock: FakeClock
    paths: Paths
    vault: OffLoop
    index: OffLoop
    http: HttpClient

    @property
    def store(self) -> LocalTokenStore:
        return LocalTokenStore(self.paths, self.index.real, lambda: self.vault.real)

    def sign_in(self, id: str = PROFILE, *, ttl_s: float = 3600, refresh: bool = True) -> OAuthProfile:
        """Blocking: store what a sign-in would."""
        self.server.mint.access_ttl_s = ttl_s
        issued = self.server.mint.start(CLIENT_ID)
        tokens = Tokens(Secret(issued.access), Secret(issued.refresh) if refresh else None, issued.expires_at)
        return self.vault.commit(a_profile(self.base, self.clock, id), tokens)

    def broker(self, **changed) -> TokenBroker:
        vault = changed.pop("vault", self.vault.real)
        parts = {
            "store": LocalTokenStore(self.paths, self.index.real, lambda: vault),
            "dialects": dialects,
            "http": self.http,
            "clock": self.clock,
            "paths": self.paths,
            "spread": lambda: 0.0,
        }
        return TokenBroker(**{**parts, **changed})

    @property
    def posts(self) -> int:
        return self.server.presented.total

    def holds(self, access) -> bool:
        """Whether the server would take this token, and the store has it."""
        stored = self.vault.read(access.profile_id)
        is_live = self.server.mint.family_of(access.token.reveal()) is not None
        return is_live and stored.access == access.token and stored.generation == access.generation


async def let_loop_run(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition, timeout_s: float = 5.0) -> None:
    """Wait for something that real threads and sockets bring about."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)
