"""The whole of a MiniMax sign-in, engine and plugin, against the emulator over real TLS through its proxy."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from minimax_portal_auth.dialects import DIALECTS, StateMismatch
from minimax_portal_auth.emulator import MinimaxEmulator
from minimax_portal_auth.plugin import MinimaxPortal
from minimax_portal_auth.portals import MCODE_CLIENT, MMX_CLIENT, OPENCODE_CLIENT
from portico.emulation.run import run_emulation
from portico.errors import Denied, NetworkError, OAuthError, TimedOut
from portico.interfaces.plugins import EmulatorOptions
from portico.net.client import HttpClient
from portico.oauth.device_flow import device_flow
from portico.oauth.flow import DeviceCode, FlowContext, PollRetry, PollSlowed
from portico.oauth.revocation import revoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from portico.interfaces.authorization import OAuthServer, TokenSet
    from portico.testing.clock import FakeClock

BY_NAME = {dialect.name: dialect for dialect in DIALECTS}
LEGACY = {"deviceAuthorizationEndpoint": "/oauth/code", "tokenEndpoint": "/oauth/token"}
API = {"global": "https://api.minimax.io", "cn": "https://api.minimaxi.com"}


class Desk:
    """Signs in at a running emulator, with a person who decides as soon as the code is shown."""

    def __init__(self, emulator: MinimaxEmulator, http: HttpClient, clock: FakeClock) -> None:
        self.emulator = emulator
        self.http = http
        self.clock = clock
        self.events: list[object] = []

    async def sign_in(self, region: str = "global", config: dict[str, Any] | None = None, *, approved: bool | None = True):
        method = MinimaxPortal({"portals": {region: config}} if config else {})
        server, token_sets = method.server(region), []

        async def finish(token_set: TokenSet) -> None:
            token_sets.append(token_set)

        def on_event(event: object) -> None:
            self.events.append(event)
            if isinstance(event, DeviceCode) and approved is not None:
                self.emulator.service.spaces[region].devices.decide(event.device.user_code, approved=approved)

        dialect = BY_NAME[server.dialect]
        await device_flow(FlowContext(server, dialect, self.http, finish, on_event, timeout_s=600, clock=self.clock))
        return server, token_sets[0], method.accept(region, token_sets[0])

    async def refresh(self, server: OAuthServer, token_set: TokenSet) -> TokenSet:
        dialect = BY_NAME[server.dialect]
        assert token_set.refresh is not None
        request = dialect.refresh_request(server, token_set.refresh)
        return dialect.read_token_reply(await self.http.post_form(request, relocated=server.relocated))


@pytest.fixture
def open_desk(tmp_path: Path, paths, monkeypatch: pytest.MonkeyPatch, fake_clock: FakeClock):
    @asynccontextmanager
    async def desk(**knobs: str) -> AsyncIterator[Desk]:
        emulator = MinimaxEmulator(clock=fake_clock)
        options = EmulatorOptions(knobs={name.replace("_", "-"): value for name, value in knobs.items()})
        async with run_emulation([emulator], options, tmp_path / "run") as info:
            for name, value in info.env.items():
                monkeypatch.setenv(name, value)
            async with HttpClient(clock=fake_clock) as http:
                yield Desk(emulator, http, fake_clock)

    return desk


@pytest.mark.requirement("S7")
@pytest.mark.parametrize("region", ["global", "cn"])
@pytest.mark.parametrize("client", [None, MMX_CLIENT, OPENCODE_CLIENT])
async def test_every_user_code_client_signs_in_refreshes_and_revokes(open_desk, region: str, client: str | None) -> None:
    async with open_desk() as desk:
        server, token_set, accepted = await desk.sign_in(region, {"clientId": client} if client else None)
        assert accepted.api_base == f"{API[region]}/anthropic"
        assert token_set.expires_at == desk.clock.wall_ms() + 172_800_000
        second = await desk.refresh(server, token_set)
        assert second.refresh != token_set.refresh
        dialect = BY_NAME[server.dialect]
        await revoke(server, dialect, desk.http, access=second.access, refresh=second.refresh)
        with pytest.raises(OAuthError) as raised:
            await desk.refresh(server, second)
        assert raised.value.code == "invalid_grant"


@pytest.mark.parametrize(("region", "api"), [("global", "https://agent.minimax.io"), ("cn", "https://agent.minimax.cn")])
async def test_minimax_codes_client_signs_in_by_device_code_and_refreshes(open_desk, region: str, api: str) -> None:
    async with open_desk() as desk:
        server, token_set, accepted = await desk.sign_in(region, {"clientId": MCODE_CLIENT})
        assert accepted.api_base == f"{api}/mavis/api/v1/llm"
        assert token_set.scope == "agent.default"
        assert (await desk.refresh(server, token_set)).expires_at == desk.clock.wall_ms() + 3_600_000


@pytest.mark.parametrize("region", ["global", "cn"])
async def test_the_moved_endpoints_are_followed_to_their_known_place(open_desk, region: str) -> None:
    async with open_desk() as desk:
        server, token_set, _ = await desk.sign_in(region, {name: API[region] + path for name, path in LEGACY.items()})
        assert (await desk.refresh(server, token_set)).access.reveal() != token_set.access.reveal()


async def test_before_the_move_the_old_endpoints_worked_themselves(open_desk) -> None:
    async with open_desk(legacy="on") as desk:
        _, token_set, accepted = await desk.sign_in(config={name: API["global"] + path for name, path in LEGACY.items()})
        assert token_set.access.reveal()
        assert accepted.api_base.startswith("https://")


@pytest.mark.parametrize("expiry", ["ms", "s", "relative"])
async def test_every_unit_of_expired_in_comes_to_the_same_time(open_desk, expiry: str) -> None:
    async with open_desk(expiry=expiry) as desk:
        _, token_set, _ = await desk.sign_in()
        assert abs(token_set.expires_at - desk.clock.wall_ms() - 172_800_000) < 1000


async def test_what_minimax_says_at_the_end_is_passed_on(open_desk) -> None:
    async with open_desk(notice="Your plan \x1b[31mends\x1b[0m soon.", omit="refresh_token,resource_url") as desk:
        _, token_set, accepted = await desk.sign_in()
        assert token_set.refresh is None
        assert accepted.notes == ("Your plan [31mends [0m soon.",)
        assert accepted.api_base == "https://api.minimax.io/anthropic"


async def test_a_token_that_is_meant_for_a_foreign_place_is_not_accepted(open_desk) -> None:
    async with open_desk(resource_url="https://api.minimax.io.evil.example/anthropic") as desk:
        with pytest.raises(OAuthError) as raised:
            await desk.sign_in()
        assert raised.value.id == "resource-url"


async def test_a_refusal_and_an_expiry_end_the_wait(open_desk) -> None:
    async with open_desk() as desk:
        with pytest.raises(Denied):
            await desk.sign_in(approved=False)
        with pytest.raises(TimedOut):
            await desk.sign_in(approved=None)


@pytest.mark.parametrize(
    ("status", "kind", "id"),
    [
        ("denied", Denied, "access-denied"),
        ("expired", TimedOut, "sign-in-timed-out"),
        ("error", OAuthError, "minimax-refused"),
        ("moonphase", OAuthError, "reply-invalid"),
    ],
)
async def test_each_status_word_has_its_own_end(open_desk, status: str, kind: type[Exception], id: str) -> None:
    async with open_desk(status=status) as desk:
        with pytest.raises(kind) as raised:
            await desk.sign_in()
        assert raised.value.id == id


async def test_slow_down_lengthens_the_interval(open_desk) -> None:
    async with open_desk(status="slow_down") as desk:
        with pytest.raises(TimedOut):
            await desk.sign_in()
        slowed = [event.interval for event in desk.events if isinstance(event, PollSlowed)]
        assert slowed[:3] == [8.0, 13.0, 18.0]


async def test_lost_polls_are_repeated(open_desk) -> None:
    async with open_desk() as desk:
        from portico.testing.faults import Fault

        html = Fault(status=502, body="<html>Bad gateway</html>", headers={"Content-Type": "text/html"})
        desk.emulator.service.faults.add("/oauth2/token", Fault(status=503), html, Fault(drop="before"))
        await desk.sign_in()
        assert len([event for event in desk.events if isinstance(event, PollRetry)]) == 3


@pytest.mark.parametrize("fault", ["html", "oversize", "503"])
async def test_a_device_endpoint_that_does_not_answer_right_is_told(open_desk, fault: str) -> None:
    async with open_desk(device_fault=fault) as desk:
        with pytest.raises(NetworkError):
            await desk.sign_in()


async def test_a_state_that_is_not_echoed_ends_the_sign_in(open_desk) -> None:
    async with open_desk(omit="state") as desk:
        with pytest.raises(OAuthError) as raised:
            await desk.sign_in()
        assert type(raised.value) is StateMismatch


async def test_without_an_interval_the_poll_waits_two_seconds(open_desk) -> None:
    async with open_desk(omit="interval") as desk:
        await desk.sign_in()
        shown = next(event for event in desk.events if isinstance(event, DeviceCode))
        assert shown.device.interval == 2.0
