from __future__ import annotations

import io
import json
import sys

import pytest

from portico.terminal.output import Output, plain_table, wants_color

HEADERS = ("Name", "Source")
ROWS = [("acme", "/a/very/long/path/to/somewhere/else"), ("b", "")]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def _output(**options):
    return Output(stdout=io.StringIO(), stderr=io.StringIO(), **options)


def test_results_go_to_stdout_and_notes_to_stderr():
    out = _output(verbose=True)
    out.line("result")
    out.note("a note")
    out.detail("more")
    out.warn("look")
    assert (out.stdout.getvalue(), out.stderr.getvalue()) == ("result\n", "a note\nmore\nlook\n")


def test_quiet_keeps_results_and_warnings_only():
    out = _output(quiet=True)
    out.line("result")
    out.note("a note")
    out.detail("more")
    out.warn("look")
    assert (out.stdout.getvalue(), out.stderr.getvalue()) == ("result\n", "look\n")


def test_json_is_indented_by_two_and_events_are_one_line_each():
    out = _output(json=True)
    out.json({"a": ["\u4e2d"]})
    out.event({"event": "one"})
    assert out.stdout.getvalue() == '{\n  "a": [\n    "\u4e2d"\n  ]\n}\n{"event": "one"}\n'


def test_events_are_silent_without_json():
    out = _output()
    out.event({"event": "one"})
    assert out.stdout.getvalue() == ""


def test_a_piped_table_has_columns_as_wide_as_their_content():
    assert plain_table(HEADERS, ROWS) == [
        "Name  Source",
        "----  -----------------------------------",
        "acme  /a/very/long/path/to/somewhere/else",
        "b",
    ]


def test_a_table_too_wide_for_the_terminal_has_one_cell_per_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    out = Output(stdout=Terminal(), stderr=io.StringIO())
    out.table(HEADERS, ROWS)
    assert out.stdout.getvalue() == "acme\n  Source:\n  /a/very/long/path/to/somewhere/else\nb\n"


def test_a_note_is_wrapped_between_words_but_not_in_a_command_or_url(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    out = Output(stdout=io.StringIO(), stderr=Terminal())
    out.note("  Say it again with `portico auth list --verbose --json` or see https://example.com/a/very/long/path now.")
    assert out.stderr.getvalue().splitlines() == [
        "  Say it again with",
        "  `portico auth list --verbose --json`",
        "  or see",
        "  https://example.com/a/very/long/path",
        "  now.",
    ]


def test_a_piped_warning_stays_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    out = _output()
    out.warn("a word " * 20)
    assert out.stderr.getvalue() == "a word " * 20 + "\n"


def test_a_table_on_a_terminal_shows_what_the_plain_one_shows(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = Output(stdout=Terminal(), stderr=io.StringIO())
    out.table(HEADERS, [("[red]acme[/red]", "x")])
    assert "[red]acme[/red]" in out.stdout.getvalue()
    assert "Source" in out.stdout.getvalue()


def test_a_table_needs_no_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setenv("COLUMNS", "60")
    out = Output(stdout=Terminal(), stderr=io.StringIO())
    out.table(HEADERS, ROWS)
    assert out.stdout.getvalue().startswith("Name  Source\n")


@pytest.mark.parametrize(
    ("env", "no_color", "stream", "expected"),
    [
        ({}, False, Terminal(), True),
        ({"NO_COLOR": "1"}, False, Terminal(), False),
        ({"NO_COLOR": ""}, False, Terminal(), True),
        ({"TERM": "dumb"}, False, Terminal(), False),
        ({}, True, Terminal(), False),
        ({}, False, io.StringIO(), False),
        ({}, False, None, False),
    ],
)
def test_colour_is_for_terminals_that_did_not_decline_it(env, no_color, stream, expected):
    assert wants_color(env, stream, no_color=no_color) is expected


def test_a_closed_stdout_takes_what_is_written_to_it(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    out = Output(stderr=io.StringIO())
    out.line("gone")
    out.write("gone")
    out.table(HEADERS, ROWS)
    out.json(json.loads("{}"))


def test_long_json_is_the_same_value_with_a_line_for_each_entry(capsys):
    value = {"count": 2000, "models": [{"id": f"m{number}", "tags": ["a", "ä"]} for number in range(2000)], "none": [], "x": {}}

    Output(json=True).json(value)

    text = capsys.readouterr().out
    assert json.loads(text) == value
    assert len(text.splitlines()) == 2000 + 7


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("rows", [2, 500])
def test_json_is_json_whatever_letters_standard_output_can_write(encoding, rows):
    value = {"names": [{"name": "Ärger\u2028 \U0001f600 \udc80"}] * rows}
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, encoding=encoding, errors="backslashreplace")
    out = Output(json=True, stdout=stdout)

    out.json(value)
    out.event(value)
    stdout.flush()

    text = raw.getvalue().decode(encoding)
    first, _, event = text.rstrip("\n").rpartition("\n")
    assert (json.loads(first), json.loads(event)) == (value, value)
