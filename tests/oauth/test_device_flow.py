"""The device flow of RFC 8628 with injected time and a real authorization server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from portico.errors import Denied, NoWayToSignIn, OAuthError, TimedOut
from portico.interfaces.authorization import OAuthServer
from portico.net.client import HttpClient
from portico.oauth.device_flow import device_flow
from portico.oauth.flow import DeviceCode, Finished, FlowContext, PollRetry, PollSlowed
from portico.oauth.standard import StandardDialect
from portico.testing.authorization_server import AuthorizationServer, Fault, serve
from portico.testing.clock import FakeClock
from tests.oauth.helpers import Events, Opener, reply

DEVICE, TOKEN = "/device_authorization", "/token"
PENDING = Fault(status=400, body='{"error": "authorization_pending"}')
SLOW = Fault(status=400, body='{"error": "slow_down"}')


class Run:
    """One device sign-in. `polls`: when each poll was sent, in seconds after the code was shown."""

    def __init__(self, *faults: Fault | None, approve: bool = True, approve_at: float | None = None) -> None:
        """`approve_at`: approve during the first poll after this many seconds, not at once."""
        self.clock = FakeClock()
        self.server = AuthorizationServer(clock=self.clock)
        self.server.devices.strict_interval = False
        self.server.faults.add(TOKEN, *faults)
        self.events, self.grants, self.polls = Events(), [], []
        self.timeouts, self.approve_at = [], approve_at
        self._approve = approve and approve_at is None

    async def go(self, change=lambda described: described, **options) -> None:
        async with serve(self.server) as base_url, HttpClient(clock=self.clock) as http:
            described = change(self.server.description(base_url))
            parts = (described, _Timed(self), _Posting(self, http), self._keep, self._see)
            await device_flow(FlowContext(*parts, clock=self.clock, **{"timeout_s": 900, **options}))

    async def _keep(self, token_set) -> None:
        self.grants.append(token_set)

    def _see(self, event) -> None:
        self.events(event)
        if isinstance(event, DeviceCode):
            self.shown_at = self.clock.monotonic()
            if self._approve:
                self.server.devices.decide(event.device.user_code, approved=True)


class _Timed(StandardDialect):
    def __init__(self, run: Run) -> None:
        self._run = run

    def poll_request(self, server, device, *, verifier):
        since = self._run.clock.monotonic() - self._run.shown_at
        self._run.polls.append(since)
        if self._run.approve_at is not None and since >= self._run.approve_at:
            self._run.server.devices.decide(device.user_code, approved=True)
        return super().poll_request(server, device, verifier=verifier)


class _Posting:
    """The real client; records the timeout of each poll."""

    def __init__(self, run: Run, http: HttpClient) -> None:
        self._run, self._http = run, http

    async def post_form(self, request, **how):
        if request.url.endswith(TOKEN):
            self._run.timeouts.append(how["timeout_s"])
        return await self._http.post_form(request, **how)


async def test_an_approved_code_gives_a_token_set():
    run, opener = Run(), Opener()
    await run.go(opener=opener)

    event = run.events.of(DeviceCode)[0]
    assert run.grants[0].refresh
    assert len(opener.opened) == 1
    assert opener.opened[0].startswith("http://127.0.0.1:")
    assert (event.opened, event.not_opened) == (True, None)
    assert run.events.seen[-1] == Finished("device")


async def test_without_a_browser_the_reason_is_reported():
    run, opener = Run(), Opener("this is an SSH session")
    await run.go(opener=opener)

    assert opener.opened == []
    assert run.events.of(DeviceCode)[0].not_opened == "this is an SSH session"


@pytest.mark.requirement("E35")
async def test_pending_polls_keep_the_interval():
    run = Run(PENDING, PENDING, PENDING)
    await run.go()

    assert run.polls == [5, 10, 15, 20]


@pytest.mark.requirement("E35")
async def test_each_slow_down_adds_five_seconds_for_good():
    run = Run(SLOW, SLOW, SLOW, PENDING)
    await run.go()

    assert run.polls == [5, 15, 30, 50, 70]
    assert [event.interval for event in run.events.of(PollSlowed)] == [10, 15, 20]


@pytest.mark.requirement("E35")
@pytest.mark.parametrize(
    "lost",
    [
        Fault(drop="before"),
        Fault(status=503),
        Fault(status=502, body="<html>"),
        Fault(status=429, body="{}"),
        Fault(status=429, body='{"error": {"type": "rate_limit_error"}}'),
        Fault(status=302, headers={"Location": "https://evil.test/"}),
        Fault(status=200, body="{"),
    ],
)
async def test_a_failed_poll_is_repeated_with_growing_intervals(lost):
    run = Run(lost, lost, lost, PENDING, None)
    await run.go()

    assert run.polls == [5, 15, 35, 75, 80]
    assert len(run.events.of(PollRetry)) == 3
    assert len(run.grants) == 1


@pytest.mark.requirement("E35")
async def test_retry_after_is_respected():
    run = Run(Fault(status=503, headers={"Retry-After": "30"}))
    await run.go()

    assert run.polls == [5, 45]


@pytest.mark.requirement("E35")
@pytest.mark.requirement("E93")
@pytest.mark.parametrize("body", ["{}", '{"access_token": ""}', '{"token_type": "Bearer"}', '{"access_token": ["x"]}'])
async def test_a_200_without_tokens_ends_the_sign_in_with_its_reason_and_no_further_poll(body):
    run = Run(PENDING, Fault(status=200, body=body))
    with pytest.raises(OAuthError) as raised:
        await run.go()
    assert (raised.value.id, len(run.polls), run.grants) == ("reply-invalid", 2, [])
    assert "access_token" in raised.value.why


@pytest.mark.requirement("E93")
async def test_a_web_page_instead_of_a_reply_is_ignored_and_polling_continues():
    run = Run(Fault(status=200, body="<html>sign in to the hotel's network</html>"), Fault(status=503, body="{}"))
    await run.go()
    assert (len(run.polls), len(run.grants)) == (3, 1)


@pytest.mark.requirement("E98")
@pytest.mark.parametrize("code", ["access_denied", "expired_token"])
async def test_a_busy_servers_denial_is_not_the_users(code):
    run = Run(Fault(status=503, body=json.dumps({"error": code})), Fault(status=429, body=json.dumps({"error": code})))
    await run.go()
    assert (len(run.polls), len(run.grants)) == (3, 1)


async def test_a_denial_ends_the_sign_in():
    run = Run(approve=False)
    see = run._see

    def deny(event):
        see(event)
        if isinstance(event, DeviceCode):
            run.server.devices.decide(event.device.user_code, approved=False)

    run._see = deny
    with pytest.raises(Denied):
        await run.go()

    assert run.grants == []


@pytest.mark.requirement("E35")
async def test_a_permanent_error_ends_the_sign_in():
    run = Run(PENDING, Fault(status=400, body='{"error": "invalid_grant"}'))
    with pytest.raises(OAuthError) as error:
        await run.go()

    assert error.value.code == "invalid_grant"
    assert len(run.polls) == 2


@pytest.mark.requirement("E35")
@pytest.mark.parametrize("timeout_s", [900, 60])
async def test_polling_ends_with_the_codes_lifetime_or_the_users_timeout(timeout_s):
    run = Run(approve=False)
    started = run.clock.monotonic()
    with pytest.raises(TimedOut) as raised:
        await run.go(timeout_s=timeout_s)

    assert run.clock.monotonic() - started == min(timeout_s, 300) - 1
    assert raised.value.exit_code == 5


@pytest.mark.requirement("E108")
@pytest.mark.parametrize(("life_s", "last"), [(300, 299), (302, 301), (20, 19), (3, 2.7)])
async def test_a_code_approved_in_its_last_seconds_is_polled_again_before_it_expires(life_s, last):
    run = Run(approve_at=life_s - 4)
    run.server.devices.ttl_s = life_s
    run.server.devices.strict_interval = True
    await run.go()

    assert run.polls[-1] == pytest.approx(last)
    assert (len(run.grants), run.events.of(PollSlowed)) == (1, []), "two polls are never closer than the interval"
    assert run.timeouts[-1] == 10
    assert all(0 < timeout <= max(1, last - at) for at, timeout in zip(run.polls, run.timeouts[:-1], strict=False))


@pytest.mark.requirement("E108")
async def test_a_shorter_timeout_of_the_user_gets_a_last_poll_too():
    run = Run(approve_at=56)
    await run.go(timeout_s=60)

    assert (run.polls[-1], len(run.grants)) == (59, 1)


@pytest.mark.requirement("E108")
@pytest.mark.parametrize(
    "lost",
    [
        Fault(status=503),
        Fault(drop="before"),
        Fault(status=503, headers={"Retry-After": "30"}),
        Fault(status=429, headers={"Retry-After": "86400"}),
    ],
)
async def test_no_backoff_and_no_retry_after_goes_past_the_end(lost):
    run = Run(*[lost] * 9)
    run.server.devices.ttl_s = 100
    with pytest.raises(TimedOut):
        await run.go()

    assert run.polls[-1] == 99


@pytest.mark.requirement("E108")
async def test_a_backoff_is_shortened_so_that_the_last_poll_gets_the_tokens():
    run = Run(Fault(status=429, headers={"Retry-After": "86400"}))
    await run.go()

    assert (run.polls, len(run.grants)) == ([5, 299], 1)


@pytest.mark.requirement("E108")
async def test_a_failed_last_poll_is_reported_as_expired_with_the_reason():
    lost = Fault(status=503)
    run = Run(*[lost] * 9)
    with pytest.raises(TimedOut) as raised:
        await run.go()

    assert (raised.value.id, run.polls[-1]) == ("sign-in-timed-out", 299)
    assert "503" in raised.value.why


@pytest.mark.requirement("E108")
async def test_after_sleeping_past_the_end_there_is_exactly_one_more_poll():
    run = Run(approve=False)
    see = run._see

    def sleep(event):
        see(event)
        if isinstance(event, DeviceCode):
            run.clock.jump(3600)

    run._see = sleep
    with pytest.raises(TimedOut):
        await run.go()

    assert len(run.polls) == 1


@pytest.mark.requirement("E35")
async def test_expired_token_ends_the_sign_in():
    run = Run(Fault(status=400, body='{"error": "expired_token"}'))
    with pytest.raises(TimedOut):
        await run.go()


@pytest.mark.requirement("E35")
@pytest.mark.parametrize("jump_s", [8 * 3600, -10 * 365 * 86_400])
async def test_a_clock_jump_does_not_change_the_end_of_polling(jump_s):
    run = Run(approve=False)
    run.server.devices.ttl_s = 10**7
    see = run._see

    def jump(event):
        see(event)
        if isinstance(event, DeviceCode):
            run.clock.jump(jump_s)

    run._see = jump
    started = run.clock.monotonic()
    with pytest.raises(TimedOut):
        await run.go(timeout_s=300)

    assert run.clock.monotonic() - started <= 300


@pytest.mark.requirement("E35")
@pytest.mark.requirement("E109")
@pytest.mark.parametrize(
    ("interval", "first"),
    [
        *[(None, 5), (0, 1), (0.5, 1), (7, 7), ("7", 7), ("0", 1), (10**9, 60), ("999999", 60), (1e308, 60)],
        *[("seven", 5), ("\u0667", 5), ("", 5), (-1, 5), (True, 5), ([7], 5), (10**400, 60)],
    ],
)
async def test_an_absent_tiny_or_huge_interval_is_bounded(interval, first):
    fields = {
        "device_code": "dc",
        "user_code": "AAAA",
        "verification_uri": "https://as.test/device",
        "expires_in": 300,
        "interval": interval,
    }
    run = Run(Fault(status=400, body='{"error": "access_denied"}'))
    run.server.faults.add(DEVICE, Fault(status=200, body=json.dumps(fields)))
    with pytest.raises(Denied):
        await run.go()

    assert run.polls == [first]


@pytest.mark.requirement("E109")
async def test_a_code_with_a_lifetime_below_its_interval_is_still_polled():
    run = Run(approve_at=0)
    run.server.devices.ttl_s, run.server.devices.interval_s = 30, 900
    await run.go()

    assert (run.polls, len(run.grants)) == ([29], 1)


@pytest.mark.requirement("E109")
@pytest.mark.parametrize("expires_in", [None, 0, -5, "0", "soon", True, [], 1e308, 10**400])
async def test_a_code_without_a_usable_lifetime_is_polled_for_at_most_fifteen_minutes(expires_in):
    fields = {"device_code": "dc", "user_code": "AAAA", "verification_uri": "https://as.test/d", "expires_in": expires_in}
    device = StandardDialect().read_device_reply(reply(json.dumps(fields), sent_at_ms=1_000), state="s")

    assert device.expires_at == 1_000 + 900_000


@pytest.mark.requirement("E109")
@pytest.mark.parametrize("code", ["ÄÖÜ-ẞ", "КОД-ШИФР", "数字-一二三", "קוד", "ab cd"])
async def test_a_code_in_another_script_is_shown_unchanged(code):
    fields = {"device_code": "dc", "user_code": code, "verification_uri": "https://as.test/device", "expires_in": 300}
    run = Run(Fault(status=400, body='{"error": "access_denied"}'))
    run.server.faults.add(DEVICE, Fault(status=200, body=json.dumps(fields)))
    with pytest.raises(Denied):
        await run.go()

    assert run.events.of(DeviceCode)[0].device.user_code == code


@pytest.mark.requirement("E35")
@pytest.mark.parametrize("field", ["verification_uri", "verification_uri_complete"])
@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "http://public.test/", "https://as.test/$(x)", "--x"]
)
async def test_an_unsafe_page_is_neither_shown_nor_opened(field, url):
    fields = {"device_code": "dc", "user_code": "AAAA", "verification_uri": "https://as.test/device", "expires_in": 300}
    run, opener = Run(), Opener()
    run.server.faults.add(DEVICE, Fault(status=200, body=json.dumps({**fields, field: url})))
    with pytest.raises(OAuthError) as error:
        await run.go(opener=opener)

    assert error.value.id == "verification-uri-refused"
    assert url not in str(error.value)
    assert (run.events.seen, opener.opened) == ([], [])


class Replying:
    """Answers every request like a device endpoint."""

    def __init__(self, **fields: object) -> None:
        self._body = json.dumps(fields)

    async def post_form(self, request, *, relocated, timeout_s=30.0):
        return reply(self._body)


@pytest.mark.requirement("E35")
@pytest.mark.parametrize("field", ["verification_uri", "verification_uri_complete"])
async def test_a_server_elsewhere_cannot_send_the_browser_to_a_service_of_this_machine(field):
    fields = {"device_code": "dc", "user_code": "AAAA", "verification_uri": "https://as.test/device", "expires_in": 300}
    http, seen, opener = Replying(**{**fields, field: "http://127.0.0.1:631/admin?delete=1"}), Events(), Opener()
    server = OAuthServer("https://as.test", "c", "https://as.test/token", device_authorization_endpoint="https://as.test/device")
    with pytest.raises(OAuthError) as error:
        await device_flow(FlowContext(server, StandardDialect(), http, opener.open, seen, opener, clock=FakeClock()))

    assert error.value.id == "verification-uri-refused"
    assert (seen.seen, opener.opened) == ([], [])


@pytest.mark.parametrize(
    "changes",
    [
        {"device_code": None},
        {"device_code": "a\nb"},
        {"user_code": ""},
        {"user_code": "A" * 65},
        {"user_code": "A\x1b[31m"},
        {"user_code": "\u202e1234"},
        {"user_code": "12\u200b34"},
        {"user_code": "ÄÖ\u2066Ü"},
        {"user_code": "  "},
        {"verification_uri": None},
        {"verification_uri": 5},
    ],
)
def test_a_device_reply_with_a_missing_or_invalid_field_is_refused(changes):
    fields = {"device_code": "dc", "user_code": "AAAA", "verification_uri": "https://as.test/d", "expires_in": 300, **changes}
    with pytest.raises(OAuthError) as error:
        StandardDialect().read_device_reply(reply(json.dumps(fields)), state="s")

    assert error.value.id == "reply-invalid"


def test_the_older_field_name_of_the_page_is_read():
    fields = {"device_code": "dc", "user_code": "AAAA", "verification_url": "https://as.test/d", "expires_in": 300}

    assert StandardDialect().read_device_reply(reply(json.dumps(fields)), state="s").verification_uri == "https://as.test/d"


async def test_a_server_without_a_device_endpoint_is_an_error():
    run = Run()
    with pytest.raises(NoWayToSignIn) as error:
        await run.go(lambda described: replace(described, device_authorization_endpoint=None))

    assert error.value.id == "no-flow-served"


async def test_a_refused_device_request_is_an_error():
    run = Run()
    with pytest.raises(OAuthError) as error:
        await run.go(lambda described: replace(described, client_id="unknown"))

    assert error.value.id == "client-refused"


async def test_a_cancelled_wait_leaves_no_task_behind():
    before = asyncio.all_tasks()
    run = Run(approve=False)
    run.clock = FakeClock(auto=False)
    task = asyncio.create_task(run.go())
    await run.events.first(DeviceCode)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert asyncio.all_tasks() == before


PAGE = "<!DOCTYPE html><html><title>Log in to the hotel's network</title></html>"
PAGES = {
    "a page": Fault(status=200, body=PAGE, headers={"Content-Type": "text/html"}),
    "a page behind a 403": Fault(status=403, body=PAGE),
    "a page behind a 404": Fault(status=404, body=PAGE),
    "a page behind a 511": Fault(status=511, body=PAGE),
    "a redirect to a page": Fault(status=302, headers={"Location": "http://portal.test/"}),
    "a word": Fault(status=200, body="OK"),
    "a list": Fault(status=200, body="[]"),
    "JSON of somebody else": Fault(status=200, body='{"captive": true, "user-portal-url": "https://portal.test/"}'),
}


@pytest.mark.requirement("E140")
@pytest.mark.parametrize("page", PAGES)
async def test_a_web_page_as_a_poll_reply_does_not_end_the_sign_in(page):
    run = Run(PENDING, PAGES[page], PENDING, PAGES[page])
    await run.go()

    assert len(run.grants) == 1
    assert len(run.events.of(PollRetry)) == 2


@pytest.mark.requirement("E140")
@pytest.mark.parametrize("page", PAGES)
async def test_after_expiry_the_error_counts_the_web_pages_and_does_not_say_that_the_code_was_not_approved(page):
    run = Run(PENDING, PAGES[page], PENDING, PAGES[page], approve=False)
    with pytest.raises(TimedOut) as raised:
        await run.go()

    assert (raised.value.id, raised.value.exit_code) == ("sign-in-timed-out", 5)
    assert "was not approved" not in str(raised.value)
    assert f"2 of {len(run.polls)} polls were answered with a web page" in raised.value.why
    assert "captive portal" in raised.value.hint


@pytest.mark.requirement("E140")
async def test_the_error_counts_the_web_pages_after_expired_token_too():
    run = Run(PAGES["a page"], Fault(status=400, body='{"error": "expired_token"}'))
    with pytest.raises(TimedOut) as raised:
        await run.go()

    assert "1 of 2 polls were answered with a web page" in raised.value.why


@pytest.mark.requirement("E140")
async def test_if_all_replies_are_web_pages_the_error_says_so():
    run = Run(*[PAGES["a page"]] * 20)
    run.server.devices.ttl_s = 100
    with pytest.raises(TimedOut) as raised:
        await run.go()

    polls = len(run.polls)
    assert f"{polls} of {polls} polls were answered with a web page" in raised.value.why


@pytest.mark.requirement("E140")
async def test_the_error_counts_unanswered_polls_and_does_not_say_that_the_code_was_not_approved():
    run = Run(PENDING, Fault(drop="before"), approve=False)
    with pytest.raises(TimedOut) as raised:
        await run.go()

    assert "was not approved" not in str(raised.value)
    assert f"1 of {len(run.polls)} polls got no answer" in raised.value.why


@pytest.mark.requirement("E140")
async def test_if_all_polls_were_pending_the_error_says_that_the_code_was_not_approved():
    run = Run(approve=False)
    with pytest.raises(TimedOut, match="The code was not approved in time"):
        await run.go()


@pytest.mark.requirement("E140")
async def test_a_denial_after_a_web_page_is_a_denial():
    run = Run(PAGES["a page"], Fault(status=400, body='{"error": "access_denied"}'))
    with pytest.raises(Denied):
        await run.go()
