from __future__ import annotations

import pytest

from portico.net.client import HttpClient
from portico.store import encrypted_file
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from portico.testing.authorization_server import AuthorizationServer, serve
from portico.testing.canary import canary
from portico.testing.clock import FakeClock
from tests.auth.helpers import Account, OffLoop


@pytest.fixture
def clock():
    return FakeClock(auto=False)


@pytest.fixture
async def account(paths, clock, monkeypatch):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    index = ProfileIndex(paths)
    vault = Vault(paths, index, store="file", passphrase=PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")}))
    server = AuthorizationServer(clock=clock)
    async with serve(server) as base, HttpClient(clock=clock) as http:
        yield Account(server, base, clock, paths, OffLoop(vault), OffLoop(index), http)
