"""A sign-in kept fresh at the emulator by a machine whose clock is wrong, for tokens that live from seconds to days."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import pytest

from minimax_portal_auth.dialects import DIALECTS
from minimax_portal_auth.emulator import MinimaxEmulator
from minimax_portal_auth.plugin import MinimaxPortal
from portico.auth.broker import TokenBroker
from portico.auth.freshness import effective_now_ms, health_at
from portico.emulation.run import run_emulation
from portico.interfaces.plugins import EmulatorOptions
from portico.net.client import HttpClient
from portico.secret import Secret
from portico.store import encrypted_file
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.records import OAuthProfile, Tokens
from portico.store.token_store import LocalTokenStore
from portico.store.vault import Vault
from portico.testing.canary import canary
from portico.testing.clock import FakeClock
from tests.auth.helpers import OffLoop

PROFILE = "minimax-portal:default"
BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
HOURS = [-1, -0.25, 0.25, 1, 1.25, 8, 49]
LIVES_S = [4, 60, 15 * 60, 3600, 2 * 86_400]
STEPS = 60


@dataclass
class WrongClock:
    """`true`, with a wall clock that is ahead by some hours."""

    true: FakeClock
    ahead_h: float

    def wall_ms(self):
        return self.true.wall_ms() + round(self.ahead_h * 3_600_000)

    def monotonic(self):
        return self.true.monotonic()

    def boot(self):
        return self.true.boot()

    async def sleep(self, seconds):
        await self.true.sleep(seconds)


@pytest.mark.requirement("E92")
@pytest.mark.requirement("E100")
@pytest.mark.parametrize("expiry", ["ms", "relative"])
@pytest.mark.parametrize("life_s", LIVES_S)
@pytest.mark.parametrize("ahead_h", HOURS)
async def test_a_wrong_clock_costs_no_refresh_and_hands_out_no_ended_token(paths, tmp_path, monkeypatch, ahead_h, life_s, expiry):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})
    true = FakeClock(auto=False)
    clock = WrongClock(true, ahead_h)
    emulator = MinimaxEmulator(clock=true)
    server = MinimaxPortal({}).server("global")
    async with run_emulation(
        [emulator], EmulatorOptions(knobs={"expiry": expiry}, access_ttl_s=life_s), tmp_path / "run"
    ) as info:
        for name, value in info.env.items():
            monkeypatch.setenv(name, value)
        mint = emulator.service.spaces["global"].mint
        async with HttpClient(clock=clock) as http:
            index = ProfileIndex(paths)
            secret = PassphraseSource({"PORTICO_PASSPHRASE": canary("passphrase")})
            vault = Vault(paths, index, store="file", passphrase=secret)
            issued = mint.start(server.client_id, server.scope)
            dialect = BY_NAME[server.dialect]
            refreshed = await http.post_form(dialect.refresh_request(server, Secret(issued.refresh)), relocated={})
            token_set = dialect.read_token_reply(refreshed)
            assert parsedate_to_datetime(refreshed.headers["date"]).timestamp() == true.wall_ms() // 1000
            profile = OAuthProfile(
                id=PROFILE,
                provider="minimax-portal",
                plugin="minimax-portal-auth",
                region="global",
                issuer=server.issuer,
                client_id=server.client_id,
                dialect=server.dialect,
                api_base="https://api.minimax.io/anthropic",
                token_endpoint=server.token_endpoint,
                created_at=refreshed.sent_at_ms,
            )
            OffLoop(vault).commit(profile, Tokens(token_set.access, token_set.refresh, token_set.expires_at))
            broker = TokenBroker(
                store=LocalTokenStore(paths, index, lambda: vault),
                dialects=BY_NAME.get,
                http=http,
                clock=clock,
                paths=paths,
                spread=lambda: 0.0,
            )
            before = emulator.service.presented.total
            for _ in range(STEPS):
                true.advance(life_s * 3 / STEPS)
                token = await broker.access(PROFILE)
                assert mint.family_of(token.token.reveal()) is not None, "the service would answer 401"
                now = OffLoop(index).get(PROFILE)
                assert health_at(now, effective_now_ms(now, clock)).status == "ok"
            refreshes = emulator.service.presented.total - before
            # One for each four fifths of a life; a token of seconds loses one of them to what a `Date` leaves out.
            assert refreshes <= (6 if life_s < 60 else 4)
            true.advance(life_s + 1)
            assert health_at(now, effective_now_ms(now, clock)).access == "ended"
