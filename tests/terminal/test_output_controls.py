"""A terminal gets no control character of a model, a server or a file; a pipe gets the text unchanged."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from portico.cli import failures
from portico.errors import PorticoError
from portico.interfaces.basics import Choice
from portico.terminal.output import Output, Streams, visible
from portico.terminal.prompts import MenuPrompter, NumberedPrompter
from tests.minimax_session import GLOBAL

pytestmark = pytest.mark.requirement("E129")

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\a"
HOSTILE = [
    pytest.param(CLIPBOARD, r"\u001b]52;c;cm0gLXJmIH4=\u0007", id="fills the clipboard"),
    pytest.param("\x1b[2J\x1b[1;1H", r"\u001b[2J\u001b[1;1H", id="repaints the screen"),
    pytest.param("\x9b31m", r"\u009b31m", id="a control of one byte"),
    pytest.param("paid\rfree", r"paid\u000dfree", id="writes over its line"),
    pytest.param("a\b\b\x7f", r"a\u0008\u0008\u007f", id="deletes what was before"),
    pytest.param("\u202etxt.exe", r"\u202etxt.exe", id="turns text around"),
    pytest.param("\u2066x\u2069", r"\u2066x\u2069", id="isolates a direction"),
    pytest.param("a\u2028b", r"a\u2028b", id="ends a line unseen"),
    pytest.param("\U000e0041", r"\udb40\udc41", id="is not seen at all"),
]
PLAIN = "one\ttwo\nनमस्ते क्\u200dष می\u200cخواهم שלום\u200f 👩\u200d👩\u200d👧 e\u0301 \u3000日本 \ue0b0"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def out():
    return Output(stdout=Terminal(), stderr=Terminal(), verbose=True)


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_whatever_is_printed_a_control_is_shown_as_its_number(text, shown, out):
    for say in (out.line, out.exact, out.write, out.note, out.detail, out.warn):
        say(text)
    out.table(("Name",), [(text,)])
    out.table(("Name",), [(text + "x" * 200,)])

    printed = out.stdout.getvalue() + out.stderr.getvalue()
    assert printed.count(shown) == 8
    assert [each for each in printed if not each.isprintable() and each != "\n"] == []


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_json_on_a_terminal_has_no_control_either_and_is_still_the_same_json(text, shown, out):
    out.json({"answer": text})
    out.json({"rows": [text] * 101})

    printed = out.stdout.getvalue()
    first, at = json.JSONDecoder().raw_decode(printed)
    assert first == {"answer": text}
    assert json.loads(printed[at:]) == {"rows": [text] * 101}
    assert [each for each in printed if not each.isprintable() and each != "\n"] == []


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_an_error_and_a_question_show_it_as_well(text, shown, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    failures.show(PorticoError("network", f"It said {text}.", why=text), Streams(), json_output=False, program="portico")
    asks = NumberedPrompter(io.StringIO("1\n"), terminal)
    assert asks.choose(text, [Choice("a", text)], flag="--a") == "a"

    assert terminal.getvalue().count(shown) >= 4
    assert [each for each in terminal.getvalue() if not each.isprintable() and each != "\n"] == []


def test_what_people_write_with_is_left_alone(out):
    out.write(PLAIN)
    assert out.stdout.getvalue() == PLAIN
    assert visible("one\r\ntwo", Terminal()) == "one\ntwo"


@pytest.mark.parametrize("text", [param.values[0] for param in HOSTILE])
def test_a_pipe_and_a_file_get_the_text_as_it_is(text):
    out = Output(stdout=io.StringIO(), stderr=io.StringIO())
    out.write(text)
    out.exact(text)
    assert out.stdout.getvalue() == f"{text}{text}\n"


def test_the_screen_is_still_cleared_where_portico_wants_it(out):
    out.clear()
    assert out.stdout.getvalue() == "\x1b[2J\x1b[H"


def test_an_answer_that_fills_the_clipboard_is_read_on_a_terminal_and_passes_a_pipe(minimax):
    pty = pytest.importorskip("pty", reason="needs pseudo-terminals")
    session = minimax()
    session.sign_in("--region", "global")
    assert CLIPBOARD in session.ok("ask", "--profile", GLOBAL, f"Say {CLIPBOARD}")

    master, slave = pty.openpty()
    environment = session.run_portico.environment({**session.env, "COLUMNS": "200"})
    command = [sys.executable, "-m", "portico", "ask", f"Say {CLIPBOARD}"]
    try:
        with os.fdopen(slave, "w") as terminal:
            subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=terminal, check=True)
        shown = os.read(master, 65536).decode()
    finally:
        os.close(master)
    assert r"Say \u001b]52;c;cm0gLXJmIH4=\u0007" in shown
    assert "\x1b" not in shown


def answered(keys, ask) -> tuple[object, str]:
    """What `ask` makes of the keys that are typed into a menu, and what the terminal was sent."""
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input

    terminal = Terminal()
    with create_pipe_input() as typed, create_app_session(input=typed):
        typed.send_text(keys)
        answer = ask(MenuPrompter(NumberedPrompter(io.StringIO(), terminal), terminal))
    return answer, terminal.getvalue()


QUESTIONS = {
    "choose": ("\r", lambda asks, text: asks.choose(text, [Choice("a", text, text), Choice("b", "B")], flag="--a")),
    "choose many": ("\r", lambda asks, text: asks.choose_many(text, [Choice("a", text), Choice("b", "B")], flag="--a")),
    "confirm": ("y", lambda asks, text: asks.confirm(text, flag="--a")),
    "text": ("x\r", lambda asks, text: asks.text(text, flag="--a")),
    "secret": ("x\r", lambda asks, text: asks.secret(text, flag="--a")),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_menu_of_arrow_keys_turns_no_text_around(question, monkeypatch):
    pytest.importorskip("questionary", reason="questionary draws the menus")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    keys, ask = QUESTIONS[question]
    _, shown = answered(keys, lambda asks: ask(asks, "a\u202eb\u2028c"))
    assert r"a\u202eb\u2028c" in shown
    assert not {"\u202e", "\u2028"} & set(shown)


@pytest.mark.parametrize(("keys", "answer"), [("\r", "a\u202eb"), ("x\r", "x")])
def test_a_proposed_answer_turns_no_text_around_and_is_taken_as_it_is(keys, answer, monkeypatch):
    pytest.importorskip("questionary", reason="questionary draws the menus")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    chosen, shown = answered(keys, lambda asks: asks.text("name", flag="--a", default="a\u202eb"))

    assert chosen == answer
    assert r"[a\u202eb]" in shown
    assert "\u202e" not in shown


def test_a_line_break_in_a_label_makes_no_row_that_could_be_taken_for_a_choice(monkeypatch):
    choices = [Choice("a", "One\n  2) Two", "hint\r\n  3) Three"), Choice("b", "B")]
    terminal = Terminal()
    NumberedPrompter(io.StringIO("1\n"), terminal).choose("?", choices, flag="--a")
    assert "1) One   2) Two - hint   3) Three\n" in terminal.getvalue()

    pytest.importorskip("questionary", reason="questionary draws the menus")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    chosen, shown = answered("\r", lambda asks: asks.choose("?", choices, flag="--a"))
    assert chosen == "a"
    assert "One   2) Two - hint   3) Three" in shown
