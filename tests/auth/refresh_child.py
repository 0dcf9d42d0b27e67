"""One process that wants a token: says `ready`, waits for the barrier, and says which token it got, by its hash."""

from __future__ import annotations

import asyncio
import os
import sys

from portico.auth import transaction
from portico.auth.broker import TokenBroker
from portico.clock import SystemClock
from portico.oauth.client import OAuthClient
from portico.paths import resolve_paths
from portico.store import sealed_file
from portico.store.lock import FileLock
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from portico.testing.as_tokens import token_hash
from tests.auth.parts import PROFILE, dialects


class NoLock:
    def acquire(self, timeout_s):
        pass

    def release(self):
        pass


async def main() -> None:
    paths = resolve_paths()
    index = ProfileIndex(paths)
    async with OAuthClient() as http:
        broker = TokenBroker(
            vault=Vault(paths, index, store="file"), index=index, dialects=dialects, http=http, clock=SystemClock(), paths=paths
        )
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        access = await broker.access(PROFILE)
    sys.stdout.write(f"{token_hash(access.token.reveal())}\n")


if __name__ == "__main__":
    sealed_file._COST = {"n": 16, "r": 1, "p": 1}
    if "--without-lock" in sys.argv:
        transaction.refresh_lock = lambda paths, _profile_id: FileLock(paths.locks / f"{os.getpid()}.lock")
    asyncio.run(main())
