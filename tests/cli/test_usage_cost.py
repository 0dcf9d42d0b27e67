"""`usage cost`: what requests came to, for a person, for a program and for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import pytest

from portico.usage.entry import Entry, Retention
from portico.usage.history_file import HistoryWriter
from portico.util.clock import SystemClock
from tests.minimax_session import GLOBAL, in_this_process

DAY_MS = 86_400_000
M21 = "minimax-portal/MiniMax-M2.1"


@pytest.fixture
def write(paths):
    def write(*changes):
        now = SystemClock().wall_ms()
        known = {"at_ms": now, "model": "acme/one", "credential": "acme:a", "client": "ask", "api": "openai-completions"}
        with HistoryWriter(paths, Retention(), SystemClock(), pytest.fail) as writer:
            writer.write([Entry(**{**known, **each, "at_ms": now + each.get("at_ms", 0)}) for each in changes])

    return write


@pytest.fixture
def run(run_portico):
    return lambda *words: in_this_process(("usage", "cost", *words), run_portico.environment())


@pytest.mark.requirement("P10")
def test_what_was_asked_is_what_it_says(minimax):
    session = minimax()
    session.sign_in("--region", "global")
    told = [json.loads(session.ok("ask", "--json", "Why?")) for _ in range(2)]

    for by, name in (("model", M21), ("profile", GLOBAL), ("client", "ask")):
        [row] = json.loads(session.ok("usage", "cost", "--by", by, "--json"))["rows"]
        assert (row[by], row["requests"], row["withoutKnownCost"]) == (name, 2, 0)
        assert row["costUsd"] == pytest.approx(sum(each["cost"] for each in told), abs=1e-6)
        assert row["outputTokens"] == sum(each["usage"]["output"] for each in told)


def test_a_person_sees_a_row_for_each_and_the_sum_in_openclaws_figures(write, run):
    write(
        {
            "input_tokens": 999,
            "output_tokens": 1_234,
            "cache_read_tokens": 34_400,
            "cache_write_tokens": 5_600_000,
            "cost_usd": 1234.5,
        },
        {"model": "acme/two", "input_tokens": 999_999, "cost_usd": 0.0042},
    )

    done = run()

    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["Model", "Requests", "In", "Out", "Cache", "read", "Cache", "write", "Cost"]
    assert lines[2:] == [
        ["acme/one", "1", "999", "1.2k", "34k", "5.6m", "$1,234.50"],
        ["acme/two", "1", "1.0m", "0", "0", "0", "$0.0042"],
        ["Total", "2", "1.0m", "1.2k", "34k", "5.6m", "$1,234.50"],
    ]
    assert "Costs are list prices." in done.stderr


@pytest.mark.requirement("P10")
def test_what_is_not_known_is_said_with_the_models_name_and_where_its_price_is_set(write, run, paths):
    write({"input_tokens": 5, "output_tokens": 5}, {"input_tokens": 5, "cost_usd": 2.0}, {"model": "acme/two", "input_tokens": 5})

    done = run()

    assert "$2.00, 1 unknown" in done.stdout
    assert "unknown\n" in next(line + "\n" for line in done.stdout.splitlines() if line.startswith("acme/two"))
    assert "acme/one (1), acme/two (1)" in done.stderr
    assert str(paths.config.parent / "models.json") in done.stderr
    assert json.loads(run("--json").stdout)["withoutKnownCost"] == [
        {"model": "acme/one", "requests": 1},
        {"model": "acme/two", "requests": 1},
    ]


def test_the_days_are_the_last_ones_and_today(write, run):
    write({"cost_usd": 1.0}, {"at_ms": -3 * DAY_MS, "cost_usd": 2.0}, {"at_ms": -40 * DAY_MS, "cost_usd": 4.0})

    costs = {days: json.loads(run("--json", "--days", days).stdout)["total"]["costUsd"] for days in ("1", "4", "30", "41")}

    assert costs == {"1": 1.0, "4": 3.0, "30": 3.0, "41": 7.0}
    assert len(json.loads(run("--json", "--by", "day").stdout)["rows"]) == 2


def test_csv_is_for_a_spreadsheet_with_whole_figures(write, run):
    write({"client": 'a "quoted", name', "input_tokens": 1_234_567, "cost_usd": 0.1 + 0.2})

    rows = list(csv.reader(io.StringIO(run("--csv", "--by", "client").stdout)))

    assert rows == [
        [
            "client",
            "requests",
            "inputTokens",
            "outputTokens",
            "cacheReadTokens",
            "cacheWriteTokens",
            "costUsd",
            "withoutKnownCost",
        ],
        ['a "quoted", name', "1", "1234567", "0", "0", "0", "0.3", "0"],
    ]


def test_nothing_noted_is_no_failure(run):
    done = run()

    assert (done.returncode, done.stdout) == (0, "")
    assert "No requests recorded since" in done.stderr
    assert json.loads(run("--json").stdout)["rows"] == []


def test_where_the_history_is_switched_off_that_is_why_there_is_nothing(run, paths):
    paths.config.write_text('{ history: "off" }', encoding="utf-8")

    assert '`history: "off"`' in run().stderr


def test_a_damaged_history_is_set_aside_and_said(write, run, paths):
    write({})
    paths.history.write_bytes(b"no database" * 1000)

    done = run()

    assert done.returncode == 0
    assert "The usage history is damaged" in done.stderr


@pytest.mark.parametrize(
    "words", [("--days", "0"), ("--days", "99999999"), ("--days", "x"), ("--csv", "--json"), ("--by", "mood")]
)
def test_what_makes_no_sense_is_a_usage_error(run, words):
    assert run(*words).returncode == 2


def test_no_network_library_and_no_plugin_is_loaded_for_it(run_portico):
    code = """
import sys
from portico.cli.main import main
main(["usage", "cost"], program="portico")
print(*[name for name in ("aiohttp", "keyring", "asyncio", "pluggy", "rich") if name in sys.modules])
"""

    done = subprocess.run(
        [sys.executable, "-c", code], env=run_portico.environment(), capture_output=True, encoding="utf-8", check=True
    )

    assert done.stdout.split() == []
