"""The whole browser flow with a real authorization server."""

from __future__ import annotations

import asyncio
import gc
import warnings
from dataclasses import replace
from urllib.parse import urlencode

import pytest

from portico.errors import ConfigError, NetworkError, NoWayToSignIn, OAuthError, TimedOut
from portico.interfaces.authorization import Redirect
from portico.net.client import HttpClient
from portico.oauth.flow import AuthorizeUrl, BrowserNotOpened, Exchanging, Finished, RedirectCaught, StrayRequest
from portico.oauth.standard import StandardDialect
from portico.testing.authorization_server import AuthorizationServer, Fault, serve
from portico.testing.clock import FakeClock
from tests.oauth.helpers import Events, NoBrowser, Opener, get, in_browser, pending_login, visit

HOSTILE = (
    "file:///etc/passwd",
    "javascript:alert(1)",
    "search-ms:query=x",
    "--version",
    "%action--version",
    " https://as.test/authorize",
    "HTTPS://as.test/authorize",
    "http://as.test/authorize",
    "http://127.evil.com/authorize",
    "https://user:pw@as.test/authorize",
    "https://as.test/\nauthorize",
    "https://as.test/$(calc)",
    "https://as.test/`calc`",
    'https://as.test/"',
    "https://as.test/%USERPROFILE%|x",
    "https://[fe80::1%25eth0]/authorize",
    "https://as.test:99999/authorize",
    "https://0x7f.1/authorize",
    "https://",
    "",
)


async def test_a_sign_in_runs_from_the_url_to_the_token_set():
    opener = Opener()
    async with pending_login(opener=opener) as login:
        led_to = (await visit(await opener.start_address())).headers["location"]
        page = await login.finish()

    assert led_to == login.authorize_url
    assert len(opener.opened) == 1
    assert "You are signed in" in page.body
    assert [type(event) for event in login.events.seen] == [AuthorizeUrl, RedirectCaught, Exchanging, Finished]
    assert login.events.seen[-1] == Finished("browser")
    assert login.grants[0].refresh


async def test_the_page_is_shown_only_after_the_tokens_are_stored():
    stored = asyncio.Event()

    async def finish(_token_set):
        await asyncio.sleep(0.02)
        stored.set()

    async with pending_login(finish=finish) as login:
        await login.send()

        assert stored.is_set()


async def test_a_browser_that_does_not_open_is_reported_and_the_login_continues():
    async with pending_login(opener=Opener(works=False)) as login:
        await login.events.first(BrowserNotOpened)

        assert (await login.finish()).status == 200


@pytest.mark.requirement("E18")
async def test_an_unanswered_login_ends_with_advice_and_a_closed_socket():
    clock = FakeClock(auto=False)
    async with pending_login(clock=clock, timeout_s=300) as login:
        for _ in range(61):
            await asyncio.sleep(0.001)
            clock.advance(5)
        with pytest.raises(TimedOut) as raised:
            await asyncio.wait_for(login.task, 5)

        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", login.port)

    assert raised.value.exit_code == 5
    assert "--flow device" in (raised.value.hint or "")


@pytest.mark.requirement("E18")
async def test_time_asleep_counts():
    clock = FakeClock(auto=False)
    clock.boot_name = ""  # a system whose monotonic clock stops during sleep
    async with pending_login(clock=clock, timeout_s=300) as login:
        clock.jump(8 * 3600)
        clock.advance(5)
        with pytest.raises(TimedOut):
            await asyncio.wait_for(login.task, 5)


@pytest.mark.requirement("E20")
async def test_two_logins_at_once_both_finish_with_their_own_states():
    server = AuthorizationServer()
    async with pending_login(server) as one, pending_login(server) as other:
        crossed = await get(one.port, f"{one.path}?{urlencode(one.answer(state=other.state))}")
        assert crossed.status == 400

        pages = await asyncio.gather(other.finish(), one.finish())

    assert [page.status for page in pages] == [200, 200]
    assert one.grants[0].access != other.grants[0].access


@pytest.mark.requirement("E22")
@pytest.mark.parametrize("endpoint", HOSTILE)
async def test_a_hostile_authorization_url_is_refused_before_it_is_shown_or_opened(endpoint):
    opener, events = Opener(), Events()
    async with serve(AuthorizationServer()) as base_url, HttpClient() as http:
        described = replace(AuthorizationServer().description(base_url), authorization_endpoint=endpoint)
        with pytest.raises(ConfigError) as raised:
            await _flow(described, http, opener=opener, on_event=events)

    assert raised.value.id == "endpoint-refused"
    assert (opener.opened, events.seen) == ([], [])
    assert not endpoint.strip() or endpoint not in str(raised.value)


async def _flow(described, http, **options):
    async def keep(_token_set):
        raise AssertionError("there is a grant")

    defaults = {"finish": keep, "on_event": Events(), "opener": NoBrowser(), "timeout_s": 60}
    await in_browser(described, StandardDialect(), http, **{**defaults, **options})


@pytest.mark.requirement("E3")
async def test_a_taken_port_ends_the_flow_before_a_browser_opens():
    opener, events = Opener(), Events()
    async with serve(AuthorizationServer()) as base_url, HttpClient() as http:
        port = int(base_url.rpartition(":")[2])
        described = replace(AuthorizationServer().description(base_url), redirect=Redirect(port=port))
        with pytest.raises(NoWayToSignIn) as error:
            await _flow(described, http, opener=opener, on_event=events)

    assert error.value.id == "callback-port-taken"
    assert (opener.opened, events.seen) == ([], [])


@pytest.mark.requirement("E23")
async def test_a_pasted_redirect_url_passes_the_same_checks():
    lines: asyncio.Queue[str] = asyncio.Queue()
    async with pending_login(paste=lines.get) as login:
        answer = login.answer()
        for wrong in (
            answer["code"],
            "",
            f"https://evil.test/?{urlencode(answer)}",
            f"{login.redirect_uri}/?{urlencode(answer)}",
            f"{login.redirect_uri}?{urlencode({**answer, 'state': 'x'})}",
        ):
            lines.put_nowait(wrong)
        lines.put_nowait(f"  {login.redirect_uri}?{urlencode(answer)}\n")
        await asyncio.wait_for(login.task, 5)
        reasons = [event.reason for event in login.events.of(StrayRequest)]

    assert len(login.grants) == 1
    assert reasons == [
        "pasted-text-is-not-the-redirect-url",
        "pasted-text-is-not-the-redirect-url",
        "pasted-text-is-not-the-redirect-url",
        "state-mismatch",
    ]


async def test_the_end_of_the_input_leaves_the_browser_to_finish():
    async def paste():
        raise EOFError

    async with pending_login(paste=paste) as login:
        assert (await login.finish()).status == 200


async def test_a_failed_exchange_is_a_network_error_and_the_code_is_not_sent_again():
    server = AuthorizationServer()
    server.faults.add("/token", Fault(drop="after"))
    async with pending_login(server) as login:
        response = await login.send()
        page = await get(login.port, response.headers["location"])
        with pytest.raises(NetworkError) as error:
            await login.task

    assert error.value.id == "network"
    assert page.status == 502
    assert server.faults.requests["/token"] == 1


async def test_a_refused_code_is_an_error_with_a_hint():
    server = AuthorizationServer()
    async with pending_login(server) as login:
        response = await login.send(login.answer(code="never-issued"))
        await get(login.port, response.headers["location"])
        with pytest.raises(OAuthError) as error:
            await login.task

    assert (error.value.id, error.value.code, error.value.transient) == ("sign-in-ended", "invalid_grant", False)


@pytest.mark.requirement("E25")
async def test_nothing_is_left_open_or_unretrieved():
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    contexts: list[object] = []
    loop.set_exception_handler(lambda _loop, context: contexts.append(context))
    before = asyncio.all_tasks()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with pending_login() as login:
            await get(login.port, "/")
            await login.finish()
        async with pending_login() as login:
            await login.send(login.answer(code=None, error="access_denied"))
        async with pending_login() as login:
            login.task.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
            gc.collect()

    assert contexts == []
    assert [str(warning.message) for warning in warned if issubclass(warning.category, ResourceWarning)] == []
    assert asyncio.all_tasks() == before
