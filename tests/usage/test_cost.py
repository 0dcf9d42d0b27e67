"""The cost of requests by each grouping, and requests without a known cost."""

from __future__ import annotations

import time
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from portico.testing.clock import FakeClock
from portico.usage import cost
from portico.usage.cost import since, spending
from portico.usage.entry import Entry, Retention
from portico.usage.history_file import HistoryFile, HistoryWriter


def an_entry(**changes):
    known = {"at_ms": 1000, "model": "acme/one", "credential": "acme:a", "client": "ask", "api": "openai-completions"}
    return Entry(**{**known, "input_tokens": 10, "output_tokens": 5, "cost_usd": 0.5, **changes})


def write_history(paths, *entries):
    with HistoryWriter(paths, Retention(), FakeClock(0), pytest.fail) as writer:
        assert writer.write(entries)
    return HistoryFile(paths, pytest.fail)


@pytest.fixture
def zone(monkeypatch):
    """Set the time zone of this process."""

    def set_zone(name):
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


def wall_ms(text, zone_name):
    return round(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone_name)).timestamp() * 1000)


@pytest.mark.requirement("P10")
def test_sums_are_made_for_each_model_and_over_all(paths):
    file = write_history(
        paths,
        an_entry(cache_read_tokens=3, cache_write_tokens=2),
        an_entry(input_tokens=1, cost_usd=0.25),
        an_entry(model="acme/two", cost_usd=4.0),
    )

    spent = spending(file, 0, "model")

    assert list(spent.groups) == ["acme/two", "acme/one"]  # the most expensive first
    one = spent.groups["acme/one"]
    assert (one.requests, one.input_tokens, one.output_tokens, one.cache_read_tokens, one.cache_write_tokens) == (2, 11, 10, 3, 2)
    assert (one.cost_usd, spent.total.cost_usd, spent.total.requests) == (0.75, 4.75, 3)
    assert (spent.total.unpriced, spent.unpriced) == (0, {})


@pytest.mark.parametrize(
    ("by", "names"),
    [("model", {"m/1", "m/2"}), ("profile", {"p:1", "p:2"}), ("client", {"ask", "aider"})],
)
def test_requests_are_looked_at_by_model_profile_and_client(paths, by, names):
    file = write_history(
        paths, an_entry(model="m/1", credential="p:1", client="ask"), an_entry(model="m/2", credential="p:2", client="aider")
    )

    spent = spending(file, 0, by)

    assert set(spent.groups) == names
    assert [each.cost_usd for each in spent.groups.values()] == [0.5, 0.5]


@pytest.mark.requirement("P10")
def test_a_cost_that_is_not_known_is_counted_and_named_and_not_taken_for_nothing(paths):
    file = write_history(
        paths,
        an_entry(model="acme/new", client="a", cost_usd=None),
        an_entry(model="acme/new", client="b", cost_usd=None),
        an_entry(client="b"),
        an_entry(client="b", cost_usd=0.0, input_tokens=0, output_tokens=0, outcome="rate-limit"),
    )

    spent = spending(file, 0, "client")

    assert (spent.groups["a"].unpriced, spent.groups["a"].cost_usd) == (1, 0)
    assert (spent.groups["b"].unpriced, spent.groups["b"].cost_usd) == (1, 0.5)
    assert spent.unpriced == {"acme/new": 2}


def test_only_what_began_in_the_time_counts_in_whatever_order_it_was_written(paths):
    file = write_history(paths, an_entry(at_ms=900), an_entry(at_ms=1000), an_entry(at_ms=100), an_entry(at_ms=2000))

    assert spending(file, 1000, "model").total.requests == 2
    assert spending(file, 3000, "model").total.requests == 0


@pytest.mark.linux
@pytest.mark.parametrize("name", ["UTC", "Asia/Kathmandu", "America/New_York", "Pacific/Chatham"])
def test_a_day_is_one_of_this_machines_time_zone(paths, zone, name):
    zone(name)
    late, early = (
        wall_ms("2026-11-01T23:59:59", name),
        wall_ms("2026-11-02T00:00:00", name),
    )  # in New York summer time ends on the first
    file = write_history(paths, an_entry(at_ms=late), an_entry(at_ms=early), an_entry(at_ms=wall_ms("2026-11-01T00:00:00", name)))

    spent = spending(file, 0, "day")

    assert {day: each.requests for day, each in spent.groups.items()} == {"2026-11-01": 2, "2026-11-02": 1}
    assert since(1, early) == early
    assert since(2, early + 5) == wall_ms("2026-11-01T00:00:00", name)


def test_without_a_history_there_is_nothing_and_none_is_made(paths):
    spent = spending(HistoryFile(paths, pytest.fail), 0, "model")

    assert (spent.groups, spent.total.requests) == ({}, 0)
    assert not paths.history.exists()


@pytest.mark.parametrize("by", ["model", "day"])
def test_a_history_of_many_chunks_comes_to_the_same(paths, monkeypatch, by):
    entries = [
        an_entry(at_ms=number * 700_000, model=f"acme/{number % 7}", cost_usd=None if number % 5 else 1.0)
        for number in range(5000)
    ]
    file = write_history(paths, *entries)
    whole = spending(file, 700_000 * 10, by)
    monkeypatch.setattr(cost, "_CHUNK", 37)

    in_parts = spending(file, 700_000 * 10, by)

    assert in_parts == whole
    assert whole.total.requests == 4990
    assert sum(whole.unpriced.values()) == whole.total.unpriced == sum(1 for number in range(10, 5000) if number % 5)
