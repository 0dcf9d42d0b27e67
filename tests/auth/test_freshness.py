from __future__ import annotations

import pytest

from portico.auth.freshness import due_at, is_usable, margin_ms, refresh_due


@pytest.mark.parametrize(
    ("lifetime_s", "margin_s"),
    [(172_800, 300), (3600, 300), (1500, 300), (1499, 299.8), (60, 12), (30, 6), (1, 0.2), (0, 0), (-5, 0)],
)
def test_the_margin_is_five_minutes_or_a_fifth_of_a_short_lifetime(lifetime_s, margin_s):
    assert margin_ms(round(lifetime_s * 1000)) == round(margin_s * 1000)


@pytest.mark.parametrize("lifetime_ms", [1_000, 30_000, 60_000, 3_600_000])
def test_a_fresh_token_is_never_due(lifetime_ms):
    assert not refresh_due(lifetime_ms, 0, 0)
    assert refresh_due(lifetime_ms, 0, lifetime_ms - margin_ms(lifetime_ms))
    assert refresh_due(lifetime_ms, 0, lifetime_ms * 10)


def test_a_token_is_usable_until_its_very_end_and_for_ever_without_one():
    assert is_usable(1_000, 999)
    assert not is_usable(1_000, 1_000)
    assert is_usable(None, 10**15)
    assert not refresh_due(None, 0, 10**15)


@pytest.mark.parametrize("lifetime_ms", [1_000, 30_000, 1_500_000, 3_600_000])
@pytest.mark.parametrize("spread", [-1.0, -0.3, 0.0, 1.0])
def test_processes_differ_by_a_tenth_of_the_margin_and_never_by_a_lifetime(lifetime_ms, spread):
    due = due_at(lifetime_ms, 0, spread)
    assert due == lifetime_ms - round(margin_ms(lifetime_ms) * (1 + spread / 10))
    assert 0.75 * lifetime_ms < due <= lifetime_ms
    assert not refresh_due(lifetime_ms, 0, due - 1, spread)
    assert refresh_due(lifetime_ms, 0, due, spread)


def test_a_token_that_was_issued_in_the_future_is_due():
    assert refresh_due(10**9 + 3_600_000, 10**9, 0)
    assert not refresh_due(10**9 + 3_600_000, 10**9, 10**9 - 59_000)
