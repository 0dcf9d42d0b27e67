"""Times in words."""

from __future__ import annotations

import pytest

from portico.accounts.view import in_words, iso

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1s"),
        (59.9, "59s"),
        (60, "1m"),
        (3_599, "59m 59s"),
        (7_500, "2h 5m"),
        (3_605, "1h"),
        (90_000, "1d 1h"),
        (864_000, "10d"),
        (0, "expired 0s ago"),
        (-125, "expired 2m 5s ago"),
    ],
)
def test_a_time_is_printed_in_its_two_largest_units(seconds, words):
    assert in_words(NOW + int(seconds * 1000), NOW) == words


def test_a_missing_expiry_is_printed_in_words():
    assert in_words(None, NOW) == "as long as the provider says"


def test_a_date_is_utc_to_the_second():
    assert iso(NOW) == "2023-11-14T22:13:20Z"
