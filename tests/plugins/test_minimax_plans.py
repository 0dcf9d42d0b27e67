"""MiniMax's plan usage is never read as its opposite, and no answer makes the reader fail."""

from __future__ import annotations

import json

import pytest

from portico.plugin_api import Secret, built_in_plans
from portico.plugins.builtin import MINIMAX as PROVIDER
from portico.plugins.builtin import MINIMAX_PLANS as PLANS
from portico.plugins.minimax_plans import DOCUMENTED
from portico.testing.clock import START_MS

NOW, HOUR = START_MS, 3_600_000
WEEK_END = NOW + 90 * HOUR
# The URL from the provider page, and its replacement.
OF_THE_PAGE = "https://api.minimaxi.com/v1/api/openplatform/coding_plan/remains"
CURRENT = "https://api.minimaxi.com/v1/token_plan/remains"


def a_row(**changes):
    row = {
        "model_name": "general",
        "start_time": NOW - 3 * HOUR,
        "end_time": NOW + 2 * HOUR,
        "remains_time": 2 * HOUR,
        "current_interval_total_count": 1500,
        "current_interval_usage_count": 151,
        "current_interval_remaining_percent": 89,
        "current_interval_status": 1,
        "weekly_start_time": WEEK_END - 168 * HOUR,
        "weekly_end_time": WEEK_END,
        "weekly_remains_time": 90 * HOUR,
        "current_weekly_total_count": 15000,
        "current_weekly_usage_count": 151,
        "current_weekly_remaining_percent": 98,
        "current_weekly_status": 1,
        "interval_boost_permille": 1000,
        "weekly_boost_permille": 1000,
    }
    return {name: value for name, value in (row | changes).items() if value is not ...}


def read(*rows):
    return PLANS.read({"model_remains": list(rows)}, NOW)


def test_the_pages_url_is_asked_where_the_newer_one_is_not_served():
    assert PLANS.urls("https://api.minimaxi.com/anthropic") == (CURRENT, OF_THE_PAGE)


@pytest.mark.requirement("P9")
@pytest.mark.parametrize("counted", [151, 1349], ids=["token_plan counts what is used", "coding_plan counts what is left"])
def test_both_endpoints_words_mean_the_same(counted):
    window = read(a_row(current_interval_usage_count=counted))[0]

    assert (window.percent_left, window.left, window.total) == (89, 1349, 1500)


@pytest.mark.parametrize("percent", range(101))
def test_used_is_never_taken_for_left_at_any_percentage(percent):
    left = percent * 15
    for counted in (left, 1500 - left):
        window = read(a_row(current_interval_usage_count=counted, current_interval_remaining_percent=percent))[0]

        assert window.percent_left == percent
        assert window.left in {left, None}, counted
        assert (window.left is None) == (window.total is None)


@pytest.mark.parametrize(
    ("counted", "percent"),
    [(151, 40), (745, 50), (755, 50), (151, ...)],
    ids=["none agrees", "both", "both too", "no percentage"],
)
def test_ambiguous_counts_are_left_out(counted, percent):
    window = read(a_row(current_interval_usage_count=counted, current_interval_remaining_percent=percent))[0]

    assert (window.left, window.total) == (None, None)
    assert window.percent_left == (None if percent is ... else percent)


def test_a_percentage_that_lags_one_point_behind_still_agrees():
    assert read(a_row(current_interval_usage_count=151, current_interval_remaining_percent=90))[0].left == 1349
    assert read(a_row(current_interval_usage_count=151, current_interval_remaining_percent=91))[0].left is None


def test_a_boost_enlarges_the_shown_percentage_and_not_the_one_that_counts_are_compared_with():
    window, week = read(a_row(interval_boost_permille=2000, weekly_boost_permille=1500))

    assert (window.percent_left, window.boost, window.left) == (178, 2, 1349)
    assert (week.percent_left, week.boost) == (147, 1.5)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "limited"),
        ({"current_interval_status": 2}, "exhausted"),
        ({"current_interval_remaining_percent": 0}, "exhausted"),
        ({"current_interval_status": 3}, "unlimited"),
        ({"current_interval_status": 3, "current_interval_total_count": 0}, "unlimited"),
        ({"current_interval_status": 77}, "limited"),
        ({"current_interval_status": ..., "current_interval_remaining_percent": ...}, "unknown"),
    ],
)
def test_a_windows_state_comes_from_its_status_and_else_from_its_percentage(changes, state):
    assert read(a_row(**changes))[0].state == state


def test_a_kind_of_use_that_is_nowhere_limited_and_nowhere_counted_is_not_in_the_plan():
    outside = dict.fromkeys(("current_interval_status", "current_weekly_status"), 3)
    outside |= dict.fromkeys(("current_interval_total_count", "current_weekly_total_count"), 0)

    assert [window.state for window in read(a_row(**outside))] == ["not-in-plan", "not-in-plan"]
    assert read(a_row(**outside | {"current_weekly_status": 1}))[0].state == "unlimited"


def test_rows_with_a_total_of_0_and_rows_of_other_kinds_of_use_are_returned():
    video = a_row(model_name="video", current_interval_total_count=0, current_interval_usage_count=0)
    speech = {"model_name": "speech-hd", "start_time": NOW, "end_time": NOW + 24 * HOUR, "current_interval_remaining_percent": 97}

    windows = read(a_row(), video, speech)

    assert [(one.kind, one.name) for one in windows] == [
        ("general", "5h"),
        ("general", "week"),
        ("video", "5h"),
        ("video", "week"),
        ("speech-hd", "24h"),
    ]
    assert (windows[2].percent_left, windows[2].left) == (89, None)


def test_without_the_weekly_fields_there_is_one_window():
    row = {name: value for name, value in a_row().items() if "weekly" not in name}

    assert [window.name for window in read(row)] == ["5h"]


def test_the_time_that_is_left_comes_before_the_time_of_the_end_since_clocks_differ():
    assert read(a_row(end_time=NOW + 9 * HOUR))[0].resets_at == NOW + 2 * HOUR
    assert read(a_row(remains_time=...))[0].resets_at == NOW + 2 * HOUR
    assert read(a_row(remains_time=10**18, end_time=10**30))[0].resets_at is None


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"model_remains": None},
        {"model_remains": {}},
        {"model_remains": [None, 3, "row", [[]]]},
        {"model_remains": [{}]},
        {"data": []},
    ],
)
def test_an_answer_without_rows_tells_of_no_window(answer):
    assert PLANS.read(answer, NOW) == ()


def test_no_number_however_absurd_makes_the_reader_fail_or_tell_nonsense():
    hypothesis = pytest.importorskip("hypothesis")
    from hypothesis import strategies as any_

    value = any_.none() | any_.booleans() | any_.integers() | any_.floats() | any_.text(max_size=5) | any_.just([1])
    row = any_.fixed_dictionaries({}, optional=dict.fromkeys(a_row(), value))

    @hypothesis.given(row)
    def check(row):
        for window in read(json.loads(json.dumps(row))):
            assert window.percent_left is None or 0 <= window.percent_left <= 10_000
            assert window.left is None or 0 <= window.left <= window.total
            assert window.resets_at is None or abs(window.resets_at - NOW) <= 400 * 24 * HOUR
            assert window.kind.isprintable()

    check()


def test_only_minimaxs_own_api_hosts_are_asked():
    hosts = {"global": "api.minimax.io", "cn": "api.minimaxi.com"}
    for region, host in hosts.items():
        for url in {*PLANS.urls(PROVIDER.base_urls[region])} - {DOCUMENTED}:
            assert url.startswith(f"https://{host}/v1/")
    for elsewhere in ("https://www.minimax.io/anthropic", "https://api.minimax.io.evil.example/v1", "http://127.0.0.1:1/v1", ""):
        assert PLANS.urls(elsewhere) == ()


def test_minimax_codes_tokens_are_asked_for_at_their_regions_api_host_in_the_older_words():
    assert PLANS.urls("https://agent.minimax.cn/mavis/api/v1/llm") == (
        "https://api.minimax.cn/v1/api/openplatform/coding_plan/remains",
    )


def test_a_pay_as_you_go_key_is_known_on_sight():
    assert not PLANS.can_have_plan(Secret("sk-api-abc"))
    assert PLANS.can_have_plan(Secret("sk-cp-abc"))
    assert PLANS.can_have_plan(Secret("eyJabc"))


def test_the_variables_are_tried_in_openclaws_order():
    assert PLANS.env_keys == ("MINIMAX_CODE_PLAN_KEY", "MINIMAX_API_KEY")


def test_a_plugin_may_read_its_own_accounts_plans_with_a_built_in_reader():
    reader = built_in_plans("minimax", provider="acme", env_keys=("ACME_KEY",))

    assert (reader.provider, reader.env_keys) == ("acme", ("ACME_KEY",))
    assert reader.read({"model_remains": [a_row()]}, NOW) == read(a_row())
    for id in ("openai", "nobody"):
        with pytest.raises(ValueError, match="plans"):
            built_in_plans(id, provider="acme")
