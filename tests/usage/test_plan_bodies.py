"""A plan that arrives in several TCP segments, breaks off or is too long."""

from __future__ import annotations

import pytest

from portico.net.client import HttpClient
from portico.usage.plan import PlanClient
from tests.segments import cut_server, failures, padded, response
from tests.usage.test_plan import NO_PLAN, PLAN_BODY, an_account

pytestmark = pytest.mark.requirement("E85")


@pytest.fixture
async def ask(fake_clock):
    """Yield the server and a function that requests the plan of one account."""
    async with cut_server() as server, HttpClient() as http:
        account = an_account(server)

        async def ask_plan():
            report = await PlanClient(http, None, fake_clock).ask(account)
            percents, error = [window.percent_left for window in report.windows], report.error
            return report.state, percents, (error.id, error.why) if error is not None else None

        yield server, ask_plan


@pytest.mark.parametrize(("fields", "state"), [(PLAN_BODY, "told"), (NO_PLAN, "no-plan")])
async def test_a_plan_is_the_same_wherever_its_response_is_cut(ask, fields, state):
    server, ask_plan = ask
    whole, wrong = await failures(server, response(padded(fields, 300)), ask_plan)

    assert whole[0] == state
    assert wrong == {}


async def test_a_plan_that_breaks_off_is_a_broken_answer(ask):
    server, ask_plan = ask
    server.data = response(padded(PLAN_BODY, 300), missing=1)

    assert (await ask_plan())[2][0] == "answer-cut"


async def test_a_plan_that_is_too_long_is_named_as_that(ask):
    server, ask_plan = ask
    server.data = response(padded(PLAN_BODY, (256 << 10) + 1))
    assert (await ask_plan())[2] == ("reply-invalid", "the response is longer than 256 KiB")

    server.data = response(padded(PLAN_BODY, 256 << 10))
    assert (await ask_plan())[0] == "told"
