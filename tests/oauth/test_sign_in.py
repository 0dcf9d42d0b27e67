"""Which flow a sign-in uses, and two flows side by side."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from portico.errors import ConfigError, Denied, NoWayToSignIn, OAuthError
from portico.interfaces.authorization import Redirect
from portico.net.client import HttpClient
from portico.oauth.flow import AuthorizeUrl, BrowserNotOpened, DeviceCode, DeviceUnavailable, Finished
from portico.oauth.sign_in import sign_in
from portico.oauth.standard import StandardDialect
from portico.testing.authorization_server import AuthorizationServer, Fault, Gate, serve
from portico.util.clock import SystemClock
from tests.oauth.helpers import Events, NoBrowser, Opener, get, visit

DEVICE, TOKEN = "/device_authorization", "/token"


class Hasty(SystemClock):
    """Polls quickly, without waiting for a deadline."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 50)


class Run:
    """One sign-in at a real authorization server."""

    def __init__(self, *, redirect: bool = True) -> None:
        self.server = AuthorizationServer()
        self.server.devices.interval_s = 1
        self.server.devices.strict_interval = False
        self.events, self.grants, self.opener = Events(), [], Opener()
        self._redirect = redirect

    @asynccontextmanager
    async def started(self, change=lambda described: described, **options):
        async def keep(token_set):
            self.grants.append(token_set)

        async with serve(self.server) as base_url, HttpClient() as http:
            described = change(self.server.description(base_url, redirect=self._redirect))
            defaults = {"finish": keep, "on_event": self.events, "opener": self.opener, "timeout_s": 600, "clock": Hasty()}
            task = asyncio.create_task(sign_in(described, StandardDialect(), http, **{**defaults, **options}))
            try:
                yield task
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def approve_device(self, *, approved: bool = True) -> None:
        code = self.events.of(DeviceCode)[0].device.user_code
        assert self.server.devices.decide(code, approved=approved)

    async def come_back(self, **answer: str) -> int:
        """Follow the redirects as a browser does; return the last page's status."""
        parameters = {
            name: values[0] for name, values in parse_qs(urlsplit((await self.events.first(AuthorizeUrl)).url).query).items()
        }
        if not answer:
            answer = {
                "code": self.server.codes.issue(
                    parameters["client_id"], parameters["redirect_uri"], parameters["code_challenge"], parameters["scope"]
                )
            }
        redirect = urlsplit(parameters["redirect_uri"])
        issuer = self.events.of(AuthorizeUrl)[0].url.partition("/authorize")[0]
        query = urlencode({**answer, "state": parameters["state"], "iss": issuer})
        response = await get(redirect.port or 0, f"{redirect.path}?{query}")
        return (await get(redirect.port or 0, response.headers["location"])).status


async def test_auto_without_a_known_redirect_is_the_device_flow():
    run = Run(redirect=False)
    async with run.started() as task:
        event = await run.events.first(DeviceCode)
        led_to = (await visit(await run.opener.start_address())).headers["location"]
        run.approve_device()
        await asyncio.wait_for(task, 5)

    assert led_to == event.device.verification_uri_complete
    assert len(run.opener.opened) == 1
    assert run.events.of(AuthorizeUrl) == []
    assert run.events.seen[-1] == Finished("device")


async def test_auto_with_a_redirect_runs_both_flows_with_one_tab_and_the_browser_can_finish_first():
    run = Run()
    async with run.started() as task:
        code = await run.events.first(DeviceCode)
        led_to = (await visit(await run.opener.start_address())).headers["location"]
        page = await run.come_back()
        await asyncio.wait_for(task, 5)

    assert page == 200
    assert led_to == run.events.of(AuthorizeUrl)[0].url
    assert len(run.opener.opened) == 1
    assert not code.opened
    assert len(run.grants) == 1
    assert run.events.seen[-1] == Finished("browser")


async def test_auto_with_a_redirect_lets_the_device_flow_finish_first_and_closes_the_server():
    run = Run()
    async with run.started() as task:
        await run.events.first(DeviceCode)
        port = urlsplit((await run.events.first(AuthorizeUrl)).redirect_uri).port
        run.approve_device()
        await asyncio.wait_for(task, 5)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)

    assert len(run.grants) == 1
    assert run.events.seen[-1] == Finished("device")


async def test_both_flows_at_the_same_time_finish_once_and_the_page_is_right():
    run, gate = Run(), Gate()

    async def slow(token_set):
        run.grants.append(token_set)
        await gate.wait()

    async with run.started(finish=slow) as task:
        await run.events.first(DeviceCode)
        run.approve_device()
        await gate.reached()
        page = asyncio.create_task(run.come_back())
        while not run.server.faults.requests[TOKEN] >= 2:
            await asyncio.sleep(0.01)
        gate.release()
        await asyncio.wait_for(task, 5)

    assert len(run.grants) == 1
    assert await page == 200
    assert run.server.faults.requests["/revoke"] == 2, "the second grant was not given back"


@pytest.mark.parametrize("fault", [Fault(status=404, body="no"), Fault(status=400, body='{"error": "unauthorized_client"}')])
async def test_after_a_failed_device_flow_the_browser_flow_continues(fault):
    run = Run()
    run.server.faults.always(DEVICE, fault)
    async with run.started() as task:
        await run.events.first(DeviceUnavailable)
        assert await run.come_back() == 200
        await asyncio.wait_for(task, 5)

    assert len(run.grants) == 1


async def test_a_denial_on_either_page_ends_both_flows():
    run = Run()
    async with run.started() as task:
        await run.events.first(DeviceCode)
        run.approve_device(approved=False)
        with pytest.raises(Denied):
            await asyncio.wait_for(task, 5)

    run = Run()
    async with run.started() as task:
        assert await run.come_back(error="access_denied") == 403
        with pytest.raises(Denied):
            await asyncio.wait_for(task, 5)


async def test_a_server_without_a_device_endpoint_gets_only_the_browser_flow():
    run = Run()
    async with run.started(lambda described: replace(described, device_authorization_endpoint=None)) as task:
        assert await run.come_back() == 200
        await asyncio.wait_for(task, 5)

    assert run.events.of(DeviceCode) == []


async def test_browser_without_a_known_redirect_is_refused_at_once_with_a_hint():
    run = Run(redirect=False)
    started = time.monotonic()
    async with run.started(flow="browser") as task:
        with pytest.raises(NoWayToSignIn) as error:
            await task

    assert time.monotonic() - started < 1
    assert (error.value.id, error.value.exit_code) == ("redirect-not-offered", 6)
    assert all(word in (error.value.hint or "") for word in ("--flow device", "--force", "redirect", "clientId"))
    assert run.server.faults.requests.total() == 0
    assert run.opener.opened == []


async def test_force_tries_the_browser_without_a_known_redirect():
    run = Run(redirect=False)
    async with run.started(flow="browser", force=True) as task:
        assert await run.come_back() == 200
        await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("flow", ["auto", "device", "browser"])
async def test_a_server_without_any_flow_is_an_error(flow):
    def change(described):
        lacking = {"device_authorization_endpoint": None, "redirect": None}
        if flow == "browser":
            lacking = {"authorization_endpoint": None, "redirect": Redirect()}
        return replace(described, **lacking)

    run = Run()
    async with run.started(change, flow=flow) as task:
        with pytest.raises(NoWayToSignIn) as error:
            await task

    assert error.value.id == "no-flow-served"


async def test_endpoints_are_found_and_metadata_does_not_decide_the_flow():
    run = Run(redirect=False)
    bare = {"token_endpoint": "", "authorization_endpoint": None, "device_authorization_endpoint": None}
    async with run.started(lambda described: replace(described, **bare)) as task:
        await run.events.first(DeviceCode)
        run.approve_device()
        await asyncio.wait_for(task, 5)

    assert run.events.of(AuthorizeUrl) == []


@pytest.mark.requirement("E23")
async def test_without_a_browser_the_url_and_the_code_are_shown_and_a_pasted_url_is_accepted():
    run = Run()
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with run.started(opener=NoBrowser(), paste=lines.get) as task:
        event = await run.events.first(AuthorizeUrl)
        await run.events.first(DeviceCode)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(event.url).query).items()}
        code = run.server.codes.issue(asked["client_id"], asked["redirect_uri"], asked["code_challenge"], asked["scope"])
        issuer = event.url.partition("/authorize")[0]
        lines.put_nowait(f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state'], 'iss': issuer})}")
        await asyncio.wait_for(task, 5)

    assert event.not_opened == "this is a test"
    assert len(run.grants) == 1


async def test_a_failure_to_store_ends_both_flows():
    run = Run()

    async def full(_token_set):
        raise ConfigError("full", "The disk is full.")

    async with run.started(finish=full) as task:
        assert await run.come_back() == 502
        with pytest.raises(ConfigError):
            await asyncio.wait_for(task, 5)


async def test_a_failed_exchange_ends_both_flows():
    run = Run()
    async with run.started() as task:
        assert await run.come_back(code="never-issued") == 502
        with pytest.raises(OAuthError):
            await asyncio.wait_for(task, 5)


async def test_a_browser_that_fails_while_the_device_flow_stores_does_not_stop_it():
    run, gate = Run(), Gate()

    async def slow(token_set):
        await gate.wait()
        run.grants.append(token_set)

    async with run.started(finish=slow) as task:
        await run.events.first(DeviceCode)
        run.approve_device()
        await gate.reached()
        page = asyncio.create_task(run.come_back(error="access_denied"))
        assert await page == 403
        gate.release()
        await asyncio.wait_for(task, 5)

    assert len(run.grants) == 1
    assert run.events.seen[-1] == Finished("device")


async def test_a_failure_to_store_the_device_flows_tokens_ends_the_browser_flow_too():
    run = Run()

    async def full(_token_set):
        raise ConfigError("full", "The disk is full.")

    async with run.started(finish=full) as task:
        await run.events.first(DeviceCode)
        run.approve_device()
        with pytest.raises(ConfigError):
            await asyncio.wait_for(task, 5)


async def test_with_a_taken_callback_port_the_device_flow_finishes():
    run = Run()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        redirect = Redirect(port=listener.getsockname()[1])
        async with run.started(lambda described: replace(described, redirect=redirect)) as task:
            await run.events.first(DeviceCode)
            reason = (await run.events.first(BrowserNotOpened)).reason
            run.approve_device()
            await asyncio.wait_for(task, 5)

    assert str(redirect.port) in reason
    assert len(run.grants) == 1


async def test_if_neither_flow_can_start_the_device_flows_error_is_raised():
    run = Run()
    run.server.faults.always(DEVICE, Fault(status=400, body='{"error": "unauthorized_client"}'))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        redirect = Redirect(port=listener.getsockname()[1])
        async with run.started(lambda described: replace(described, redirect=redirect)) as task:
            with pytest.raises(OAuthError) as error:
                await asyncio.wait_for(task, 5)

    assert error.value.code == "unauthorized_client"
