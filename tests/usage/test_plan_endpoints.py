"""The order of MiniMax's usage endpoints, and which of their answers count."""

from __future__ import annotations

import pytest

from portico.errors import ExitCode, NetworkError, SignInNeeded
from portico.plugins.builtin import MINIMAX_PLANS as PLANS
from portico.plugins.minimax_plans import CURRENT, OLDER
from portico.usage.plan import exit_code
from tests.usage.test_plan import LOCAL_PROVIDER, LOG_IN, NO_PLAN, PLAN_BODY, Broker, an_account, api, ask, status  # noqa: F401 - a fixture

pytestmark = pytest.mark.requirement("E172")

DOCUMENTED = "https://www.minimax.io/v1/token_plan/remains"
NOT_VALID = {"base_resp": {"status_code": 2049, "status_msg": "invalid api key"}}


class Ordered:
    """MiniMax's reader, with its three endpoints on this machine in their real order."""

    provider, env_keys, hosts = PLANS.provider, PLANS.env_keys, frozenset({"localhost"})
    can_have_plan, read = PLANS.can_have_plan, PLANS.read

    def urls(self, base_url):
        return (f"{base_url.replace('127.0.0.1', 'localhost')}/www", f"{base_url}/api", f"{base_url}{OLDER}")

    def unsure_codes(self, url):
        return PLANS.unsure_codes(DOCUMENTED if url.endswith("/www") else url)


@pytest.fixture
def account(api):  # noqa: F811 - the fixture
    return an_account(api, reader=Ordered(), profile_id="p", key=None)


def test_the_documented_endpoint_comes_first_then_the_api_hosts_own_then_the_older_one():
    base = "https://api.minimax.io"
    assert PLANS.urls(f"{base}/anthropic") == (DOCUMENTED, f"{base}{CURRENT}", f"{base}{OLDER}")
    # No public page documents an endpoint for China.
    assert PLANS.urls("https://api.minimaxi.com/v1") == tuple(f"https://api.minimaxi.com{path}" for path in (CURRENT, OLDER))


def test_a_credential_may_go_to_the_documented_host_for_usage_and_for_nothing_else(api):  # noqa: F811
    from dataclasses import replace

    from portico.models.endpoints import declared_hosts
    from portico.plugins.builtin import MINIMAX as PROVIDER

    account = replace(an_account(api), spec=PROVIDER, reader=PLANS, base_url="https://api.minimax.io/anthropic")

    assert account.urls()[0] == DOCUMENTED
    assert "www.minimax.io" not in declared_hosts(PROVIDER)
    assert replace(account, base_url="https://www.minimax.io/anthropic").urls() == ()


@pytest.mark.parametrize(
    "first",
    [
        status(404, "404 page not found"),
        status(200, "<!DOCTYPE html><title>Just a moment...</title>"),
        status(403, "<html>Attention Required</html>"),
        status(403, '{"error": "forbidden"}'),
        status(302, location="/login"),
        status(503, "upstream connect error"),
        LOG_IN,
        NOT_VALID,
    ],
    ids=[
        "not served",
        "a web page",
        "a firewall",
        "a firewall's JSON",
        "moved",
        "overloaded",
        "no key seen",
        "key not valid there",
    ],
)
async def test_after_an_inconclusive_answer_of_the_documented_endpoint_the_next_one_is_asked(api, account, fake_clock, first):  # noqa: F811
    api.answers = [first, PLAN_BODY]
    broker = Broker("good", "new")

    [report] = await ask(fake_clock, account, broker=broker)

    assert (report.state, broker.rejected) == ("told", [None])
    assert [path for path, _ in api.requests] == ["/www", "/api"]


async def test_a_host_that_cannot_be_reached_is_passed_over(api, account, fake_clock, unused_tcp_port):  # noqa: F811
    class Away(Ordered):
        def urls(self, base_url):
            return (f"http://127.0.0.1:{unused_tcp_port}/www", f"{base_url}/api")

    [report] = await ask(fake_clock, an_account(api, reader=Away()))

    assert (report.state, [path for path, _ in api.requests]) == ("told", ["/api"])


async def test_a_host_that_hangs_takes_only_its_share_of_the_time(api, account, fake_clock):  # noqa: F811
    import asyncio

    async def hangs(_request):
        await asyncio.Event().wait()

    api.answers = [hangs, PLAN_BODY]

    [report] = await ask(fake_clock, an_account(api, reader=Ordered()), timeout_s=0.6)

    assert report.state == "told"


@pytest.mark.parametrize("answer", [LOG_IN, NO_PLAN], ids=["1004", "2062"])
async def test_an_error_of_the_older_endpoint_alone_proves_nothing_and_the_report_says_so(api, account, fake_clock, answer):  # noqa: F811
    api.answers = [status(404), status(404), answer]
    broker = Broker("good", "new")

    [report] = await ask(fake_clock, account, broker=broker)

    assert (report.state, report.error.id, broker.rejected) == ("failed", "provider-failed", [None])
    assert report.error.message == f"Could not read the plan usage of {account.label}."
    assert str(answer["base_resp"]["status_code"]) in report.error.why
    assert "proves nothing about the account" in report.error.why
    assert exit_code([report]) == ExitCode.NETWORK
    assert not isinstance(report.error, SignInNeeded)


async def test_the_answer_of_the_api_host_decides(api, account, fake_clock):  # noqa: F811
    api.answers = [LOG_IN, NO_PLAN]
    assert (await ask(fake_clock, account, broker=Broker("good")))[0].state == "no-plan"

    api.answers, api.requests = [LOG_IN, LOG_IN, PLAN_BODY], []
    broker = Broker("old", "new")
    [report] = await ask(fake_clock, account, broker=broker)
    assert (report.state, broker.rejected) == ("told", [None, 1])
    assert [header for _, header in api.requests] == ["Bearer old", "Bearer old", "Bearer new"]


async def test_a_key_that_is_not_valid_anywhere_is_refused_with_its_code(api, fake_clock):  # noqa: F811
    api.answers = [NOT_VALID]

    [report] = await ask(fake_clock, an_account(api, reader=Ordered(), spec=LOCAL_PROVIDER))

    assert report.error.id == "credential-refused"
    assert "2049" in report.error.why
    assert not isinstance(report.error, NetworkError)
