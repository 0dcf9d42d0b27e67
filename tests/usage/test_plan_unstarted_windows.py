"""A window that starts with its first use, before this use: shown as not started, in text and in JSON."""

from __future__ import annotations

import json

import pytest

from portico.plugins.builtin import MINIMAX_PLANS as PLANS
from tests.minimax_session import GLOBAL, SIGN_IN

pytestmark = pytest.mark.requirement("E173")

NOW, HOUR = 1_764_000_000_000, 3_600_000
WEEK = 168 * HOUR


def windows(**changes):
    """The five-hour and the weekly window of an M Plan body of October 2026, before the first use."""
    row = {
        "model_name": "general",
        "start_time": NOW,
        "end_time": NOW + 5 * HOUR,
        "remains_time": 5 * HOUR - 140,
        "current_interval_total_count": 0,
        "current_interval_usage_count": 0,
        "current_interval_remaining_percent": 100,
        "current_interval_status": 1,
        "weekly_start_time": NOW,
        "weekly_end_time": NOW + WEEK,
        "weekly_remains_time": WEEK - 140,
        "current_weekly_total_count": 0,
        "current_weekly_usage_count": 0,
        "current_weekly_remaining_percent": 100,
        "current_weekly_status": 1,
        **changes,
    }
    return PLANS.read({"model_remains": [row]}, NOW + 140)


def test_an_untouched_window_has_not_started_and_resets_at_no_time():
    five, week = windows()

    assert (five.started, five.resets_at, five.percent_left, five.name) == (False, None, 100, "5h")
    assert (week.started, week.resets_at) == (False, None)


@pytest.mark.parametrize(
    "changes",
    [
        {"current_interval_remaining_percent": 99},
        {"remains_time": 5 * HOUR - 300_000},
        {"current_interval_total_count": 1500, "current_interval_usage_count": 2},
        {"current_interval_status": 3},
        {"remains_time": None},
        {"start_time": None},
    ],
    ids=["used a little", "five minutes in", "counted", "unlimited", "unknown time", "unknown length"],
)
def test_a_window_that_may_have_started_is_reported_as_before(changes):
    assert windows(**changes)[0].started


def test_a_plan_is_shown_as_not_started_until_its_first_use(minimax):
    session = minimax(knobs={"remains": "m-plan"})
    session.sign_in("--region", "global")

    before = session.ok("usage").splitlines()
    account = json.loads(session.ok("usage", "--json"))["accounts"][0]
    session.ok("ask", "Hello")
    after = json.loads(session.ok("usage", "--json"))["accounts"][0]

    assert [line.split()[1:] for line in before[2:]] == [
        ["general", "5h", "100%", "left", "not", "started"],
        ["general", "week", "100%", "left", "not", "started"],
    ]
    assert account["account"] == GLOBAL
    assert [(window["started"], window["resetsAt"]) for window in account["windows"]] == [(False, None), (False, None)]
    assert [window["started"] for window in after["windows"]] == [True, True]
    assert after["windows"][0]["percentLeft"] == 99
    assert 4.9 * HOUR < after["windows"][0]["resetsAt"] - json.loads(session.ok("usage", "--json"))["checkedAt"] < 5 * HOUR


def test_the_summary_of_a_sign_in_says_it(minimax):
    session = minimax(knobs={"remains": "m-plan"})
    result = session.run(*SIGN_IN, "--region", "global", *session.store)

    assert "5h 100% left, not started" in result.stdout + result.stderr
