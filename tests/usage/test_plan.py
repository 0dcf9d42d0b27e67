"""Requests for plans over real sockets: the hosts that get a credential, how often, and the reports of failures."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace

import pytest
from aiohttp import web

from portico.auth.backoff import SignInExpired
from portico.errors import ExitCode, NetworkError, SignInNeeded
from portico.net.client import HttpClient
from portico.net.errors import Unreachable
from portico.plugins.builtin import MINIMAX as PROVIDER
from portico.plugins.builtin import MINIMAX_PLANS as PLANS
from portico.plugins.minimax_plans import OLDER
from portico.secret import Secret
from portico.store.errors import NotSignedIn
from portico.testing.canary import canary, in_text
from portico.usage.plan import PlanAccount, PlanClient, PlanReaderFailed, exit_code, failed

ROW = {"model_name": "general", "current_interval_remaining_percent": 80, "current_interval_status": 1}
PLAN_BODY = {"model_remains": [ROW], "base_resp": {"status_code": 0, "status_msg": "success"}}
NO_PLAN = {"model_remains": None, "base_resp": {"status_code": 2062, "status_msg": "no active token plan subscription"}}
LOG_IN = {"base_resp": {"status_code": 1004, "status_msg": "cookie is missing, log in again"}}


@dataclass
class Token:
    token: Secret
    generation: int


class Broker:
    """Returns one token for each generation, and records the requests."""

    def __init__(self, *tokens):
        self.tokens = [Token(Secret(token), number) for number, token in enumerate(tokens, 1)]
        self.rejected = []

    async def access(self, profile_id, *, rejected_generation=None):
        self.rejected.append(rejected_generation)
        return self.tokens[rejected_generation or 0]


class Api:
    """Returns the answers of the test, the last one repeatedly, and records the requests."""

    def __init__(self):
        self.requests = []
        self.answers = [PLAN_BODY]
        self.together = None

    async def handle(self, request):
        self.requests.append((request.path, request.headers.get("Authorization")))
        if self.together is not None:
            await self.together.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(answer) if isinstance(answer, dict) else await answer(request)


def status(code, body="", **headers):
    async def answer(_request):
        return web.Response(status=code, text=body, headers=headers)

    return answer


@pytest.fixture
async def api(aiohttp_server):
    api = Api()
    app = web.Application()
    app.router.add_get("/{path:.*}", api.handle)
    server = await aiohttp_server(app)
    api.origin = str(server.make_url("")).rstrip("/")
    return api


LOCAL_PROVIDER = replace(PROVIDER, hosts={**PROVIDER.hosts, "here": frozenset({"127.0.0.1"})})


class Plans:
    """MiniMax's reader for accounts with their API on this machine."""

    provider, env_keys = PLANS.provider, PLANS.env_keys
    can_have_plan, read = PLANS.can_have_plan, PLANS.read

    def urls(self, base_url):
        return (f"{base_url}/now", f"{base_url}/older")


def an_account(api, **changes):
    known = PlanAccount("MINIMAX_API_KEY", LOCAL_PROVIDER, Plans(), "global", api.origin, key=Secret(canary("key")))
    return replace(known, **changes)


async def ask(clock, *accounts, broker=None, timeout_s=10.0):
    async with HttpClient() as http:
        return await PlanClient(http, broker, clock).ask_all(accounts, timeout_s=timeout_s)


async def test_one_account_is_one_request(api, fake_clock):
    [report] = await ask(fake_clock, account := an_account(api))

    assert api.requests == [("/now", f"Bearer {account.key.reveal()}")]
    assert (report.state, report.windows[0].percent_left, report.error) == ("told", 80, None)


async def test_several_accounts_are_asked_at_once(api, fake_clock):
    api.together = asyncio.Barrier(3)  # no request is answered before all have arrived

    reports = await ask(fake_clock, *(an_account(api, label=name) for name in "abc"))

    assert [(report.account.label, report.state) for report in reports] == [("a", "told"), ("b", "told"), ("c", "told")]


async def test_a_failure_of_one_hides_no_other(api, fake_clock, unused_tcp_port):
    away = an_account(api, base_url=f"http://127.0.0.1:{unused_tcp_port}")

    reports = await ask(fake_clock, away, an_account(api))

    assert [report.state for report in reports] == ["failed", "told"]
    assert exit_code(reports) == ExitCode.NETWORK


async def test_no_redirect_is_followed_so_that_the_credential_goes_nowhere_else(api, fake_clock):
    api.answers = [status(307, Location=f"{api.origin}/elsewhere")]

    [report] = await ask(fake_clock, an_account(api))

    assert [path for path, _ in api.requests] == ["/now"]
    assert report.error.exit_code == ExitCode.NETWORK
    assert "HTTP 307" in report.error.why


@pytest.mark.parametrize("code", [404, 405, 410])
async def test_the_older_place_is_asked_where_the_newer_is_not_served_and_only_then(api, fake_clock, code):
    api.answers = [status(code, "404 page not found"), PLAN_BODY]
    assert (await ask(fake_clock, an_account(api)))[0].state == "told"
    assert [path for path, _ in api.requests] == ["/now", "/older"]

    api.requests, api.answers = [], [status(503, "busy"), PLAN_BODY]
    assert (await ask(fake_clock, an_account(api)))[0].state == "failed"
    assert [path for path, _ in api.requests] == ["/now"]


@pytest.mark.requirement("P11")
async def test_an_account_without_a_plan_is_no_failure_and_knows_where_to_buy_one(api, fake_clock):
    api.answers = [NO_PLAN]

    reports = await ask(fake_clock, an_account(api), an_account(api, region="cn"))

    assert [(report.state, report.error) for report in reports] == [("no-plan", None)] * 2
    assert [report.account.subscribe_url for report in reports] == [
        "https://platform.minimax.io/console/plan",
        "https://platform.minimaxi.com/subscribe/coding-plan",
    ]
    assert exit_code(reports) == 0


@pytest.mark.parametrize("answer", [LOG_IN, status(401, '{"error": {"message": "invalid api key (2049)"}}')])
async def test_the_error_of_a_rejected_key_names_the_other_region_and_the_other_kind_of_key(api, fake_clock, answer):
    api.answers = [answer]

    [report] = await ask(fake_clock, an_account(api))

    assert isinstance(report.error, SignInNeeded)
    for text in ("other region", "MINIMAX_REGION=cn", "not the Subscription Key", "MINIMAX_CODE_PLAN_KEY"):
        assert text in report.error.hint
    assert any(code in report.error.why for code in ("1004", "2049"))


@pytest.mark.requirement("E143")
async def test_the_other_region_is_not_named_where_the_provider_has_none(api, fake_clock):
    api.answers = [LOG_IN]
    one_region = replace(LOCAL_PROVIDER, base_urls={"": api.origin})

    [report] = await ask(fake_clock, an_account(api, spec=one_region, region=""))

    assert report.error.hint.startswith("Perhaps it is not the Subscription Key")


async def test_a_refused_token_is_refreshed_and_asked_with_once_more(api, fake_clock):
    api.answers = [LOG_IN, PLAN_BODY]
    broker = Broker("old", "new")

    [report] = await ask(fake_clock, an_account(api, profile_id="p", key=None), broker=broker)

    assert report.state == "told"
    assert [header for _, header in api.requests] == ["Bearer old", "Bearer new"]
    assert broker.rejected == [None, 1]


@pytest.mark.requirement("E101")
async def test_a_403_that_speaks_of_the_token_is_refreshed_and_one_about_rights_is_not(api, fake_clock):
    api.answers = [status(403, '{"error": "invalid_token"}'), PLAN_BODY]
    broker = Broker("old", "new")
    account = an_account(api, profile_id="p", key=None)
    assert (await ask(fake_clock, account, broker=broker))[0].state == "told"
    assert broker.rejected == [None, 1]

    api.answers = [status(403, '{"error": {"type": "permission_error", "message": "no permission"}}'), PLAN_BODY]
    broker = Broker("old", "new")
    [report] = await ask(fake_clock, account, broker=broker)
    assert (report.state, broker.rejected) == ("failed", [None])


@pytest.mark.requirement("E101")
@pytest.mark.parametrize("answer", [LOG_IN, NO_PLAN])
async def test_what_the_older_place_says_of_a_good_token_costs_no_refresh_and_asks_for_no_sign_in(api, fake_clock, answer):
    """MiniMax-AI/cli#175 and Win-CodexBar#254: valid keys, and accounts with a plan, get this answer."""

    class Older(Plans):
        unsure_codes = PLANS.unsure_codes

        def urls(self, base_url):
            return (f"{base_url}{OLDER}",)

    api.answers = [answer, PLAN_BODY]
    broker = Broker("good", "new")
    account = an_account(api, reader=Older(), profile_id="p", key=None)

    [report] = await ask(fake_clock, account, broker=broker)

    assert (report.state, report.error.id, broker.rejected) == ("failed", "provider-failed", [None])
    assert str(answer["base_resp"]["status_code"]) in report.error.why
    assert exit_code([report]) == ExitCode.NETWORK


async def test_a_token_that_stays_refused_is_not_rotated_again_by_each_further_question(api, fake_clock):
    api.answers = [LOG_IN]
    broker = Broker("old", "new")
    account = an_account(api, profile_id="p", key=None)

    async with HttpClient() as http:
        asker = PlanClient(http, broker, fake_clock)
        reports = [await asker.ask(account) for _ in range(3)]

    assert {report.error.id for report in reports} == {"credential-refused"}
    assert broker.rejected == [None, 1, None, None]


async def test_a_profile_that_has_to_be_signed_in_again_is_its_own_row(api, fake_clock):
    class Ended:
        async def access(self, profile_id, **_more):
            raise SignInExpired("It has ended.")

    reports = await ask(fake_clock, an_account(api, profile_id="p", key=None), an_account(api), broker=Ended())

    assert [report.state for report in reports] == ["failed", "told"]
    assert exit_code(reports) == ExitCode.SIGN_IN_NEEDED


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (status(200, "<!DOCTYPE html><title>Just a moment...</title>"), "the response is a web page (HTTP 200)"),
        (status(403, "  <html>denied</html>"), "the response is a web page (HTTP 403)"),
        (status(200, "not json"), "not a JSON object"),
        (status(200, "[1, 2]"), "not a JSON object"),
        (status(200, "{" + " " * 300_000 + "}"), "longer than 256 KiB"),
        (status(200, "[" * 100_000), "not a JSON object"),
        (status(500, '{"error": "boom"}'), "HTTP 500: boom"),
        ({"base_resp": {"status_code": 1024, "status_msg": "system error"}}, "system error (1024)"),
    ],
)
async def test_a_response_without_an_answer_is_a_network_failure_with_its_reason(api, fake_clock, answer, text):
    api.answers = [answer]

    [report] = await ask(fake_clock, an_account(api))

    assert isinstance(report.error, NetworkError)
    assert text in report.error.why


async def test_an_answer_that_comes_in_pieces_is_read_whole(api, fake_clock):
    async def slowly(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for piece in json.dumps(PLAN_BODY).encode().partition(b"percent"):
            await response.write(piece)
            await asyncio.sleep(0)
        return response

    api.answers = [slowly]

    assert (await ask(fake_clock, an_account(api)))[0].windows[0].percent_left == 80


async def test_an_answer_that_breaks_off_is_a_failure_of_the_network(api, fake_clock):
    async def broken(request):
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "500"})
        await response.prepare(request)
        await response.write(b'{"model_remains"')
        request.transport.close()
        return response

    api.answers = [broken]

    assert (await ask(fake_clock, an_account(api)))[0].error.exit_code == ExitCode.NETWORK


@pytest.mark.requirement("E101")
async def test_a_rejection_whose_body_hangs_is_waited_for_a_moment_and_the_token_refreshed(api, fake_clock, monkeypatch):
    monkeypatch.setattr("portico.net.client.ERROR_BODY_S", 0.1)

    async def hangs(request):
        response = web.StreamResponse(status=401)
        await response.prepare(request)
        await response.write(b"{")
        await asyncio.Event().wait()

    api.answers = [hangs, PLAN_BODY]
    signed_in = an_account(api, key=None, profile_id="minimax-portal:default")

    [report] = await ask(fake_clock, signed_in, broker=Broker(canary("one"), canary("two")), timeout_s=5)

    assert (report.state, len(api.requests)) == ("told", 2)


@pytest.mark.requirement("E101")
async def test_a_403_whose_body_hangs_is_the_answer_within_the_time_of_whoever_asks(api, fake_clock):
    async def hangs(request):
        response = web.StreamResponse(status=403)
        await response.prepare(request)
        await asyncio.Event().wait()

    api.answers = [hangs]

    [report] = await ask(fake_clock, an_account(api), timeout_s=1)

    assert (report.error.id, len(api.requests)) == ("provider-failed", 1)


async def test_a_server_that_does_not_answer_is_abandoned_and_named(api, fake_clock):
    api.together = asyncio.Event()

    [report] = await ask(fake_clock, an_account(api), timeout_s=0.05)

    assert (report.error.exit_code, report.error.why) == (ExitCode.NETWORK, "no answer within 0.05 s")


async def test_a_pay_as_you_go_key_is_not_sent_and_its_report_names_the_right_key(api, fake_clock):
    key = an_account(api, key=Secret(f"sk-api-{canary('key')}"))
    account = an_account(api, key=None, profile_id="minimax:default")

    reports = await ask(fake_clock, key, account, broker=Broker(f"sk-api-{canary('key')}"))

    assert [report.state for report in reports] == ["needs-plan-key"] * 2
    assert api.requests == []
    assert "Subscription Key (sk-cp-...) in MINIMAX_CODE_PLAN_KEY" in reports[0].why
    assert exit_code(reports) == 0


@pytest.mark.parametrize("foreign", ["its API", "what its reader names"])
async def test_an_account_at_a_foreign_host_is_not_asked(api, fake_clock, foreign):
    class Elsewhere(Plans):
        def urls(self, _base_url):
            return ("https://elsewhere.example/now",)

    account = an_account(api, spec=PROVIDER) if foreign == "its API" else an_account(api, reader=Elsewhere())

    [report] = await ask(fake_clock, account)

    assert (report.state, api.requests, exit_code([report])) == ("not-asked", [], 0)


@pytest.mark.requirement("E48")
async def test_no_form_of_an_account_or_of_its_failure_shows_the_credential(api, fake_clock):
    import traceback

    account = an_account(api)

    async def echo(request):
        return web.Response(status=401, text=json.dumps({"error": {"message": f"bad {request.headers['Authorization']}"}}))

    api.answers = [echo]
    [report] = await ask(fake_clock, account)
    try:
        raise report.error
    except SignInNeeded as error:
        traceback_text = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())

    assert in_text(traceback_text + repr(report) + str(report.error.as_json("portico"))) == []


@pytest.mark.parametrize("what", ["urls", "can_have_plan", "read"])
async def test_a_plugins_reader_that_fails_is_named_and_stops_no_other_account(api, fake_clock, what):
    def broken(*_args):
        raise KeyError("rows")

    reader = type("Broken", (Plans,), {what: broken})()

    reports = await ask(fake_clock, an_account(api, reader=reader), an_account(api))

    assert [report.state for report in reports] == ["failed", "told"]
    assert (type(reports[0].error), reports[0].error.why) == (PlanReaderFailed, "KeyError")
    assert exit_code(reports) == ExitCode.CONFIG


def test_the_code_of_several_failures_is_a_needed_sign_in_before_the_network():
    away, ended = Unreachable("Away."), NotSignedIn("Nobody.")
    account = PlanAccount("a", PROVIDER, PLANS, "global", "")

    assert exit_code([failed(account, away), failed(account, ended)]) == ExitCode.SIGN_IN_NEEDED
    assert exit_code([failed(account, away)]) == ExitCode.NETWORK
    assert exit_code([]) == 0
