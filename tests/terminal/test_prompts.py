"""Prompts, some of them on a real pseudo-terminal."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys

import pytest

from portico.cli.main import main
from portico.errors import UsageError
from portico.interfaces.basics import Choice
from portico.terminal.prompts import MenuPrompter, NonInteractive, NumberedPrompter, fitting, make_prompter
from portico.terminal.read_line import read_line

MODELS = [Choice(f"acme/m{number}", f"acme/m{number}") for number in range(1, 5)]
REGIONS = [Choice("global", "Global", "api.minimax.io"), Choice("cn", "CN", "api.minimaxi.com")]
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX terminals")


def _numbered(answers):
    return NumberedPrompter(io.StringIO(answers), io.StringIO())


@pytest.mark.parametrize(("typed", "answer"), [("2\n", "cn"), ("cn\n", "cn"), ("\n", "global"), ("9\nx\n\u00b2\n0\n2\n", "cn")])
def test_a_numbered_menu_takes_numbers_and_values_and_asks_again_for_anything_else(typed, answer):
    prompter = _numbered(typed)
    assert prompter.choose("Select endpoint", REGIONS, flag="--region", default="global") == answer
    assert "  2) CN - api.minimaxi.com\n" in prompter._stderr.getvalue()


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("1,3-4\n", (1, 3, 4)),
        ("4 acme/m2\n", (2, 4)),
        ("\n", (2,)),
        ("none\n", ()),
        ("All\n", (1, 2, 3, 4)),
        ("5\n3-2\n0\n1;2\n-\n\u00b2\nacme/m9\n2,2\n", (2,)),
    ],
)
def test_several_are_chosen_by_numbers_ranges_or_names_and_come_in_the_lists_order(typed, answer):
    prompter = _numbered(typed)
    chosen = prompter.choose_many("Allowed", MODELS, flag="--x", chosen=("acme/m2",))
    assert chosen == tuple(f"acme/m{number}" for number in answer)
    assert "  1) [ ] acme/m1\n  2) [x] acme/m2\n" in prompter._stderr.getvalue()


@pytest.mark.parametrize(("typed", "default", "answer"), [("y\n", False, True), ("\n", True, True), ("?\nNO\n", True, False)])
def test_a_question_is_answered_with_yes_or_no(typed, default, answer):
    assert _numbered(typed).confirm("Replace?", flag="--replace", default=default) is answer


@pytest.mark.parametrize(("typed", "answer"), [("mine\n", "mine"), ("\n", "default")])
def test_a_text_may_have_a_default(typed, answer):
    assert _numbered(typed).text("Name", flag="--profile", default="default") == answer


@pytest.mark.parametrize(
    ("prompter", "why"),
    [
        (NonInteractive(), "no terminal to ask on"),
        (NonInteractive("--json asks no questions"), "--json asks no questions"),
        (_numbered(""), "the input has ended"),
    ],
    ids=["none", "json", "ended"],
)
def test_a_prompt_without_an_answer_is_an_error_that_names_the_flag(prompter, why):
    with pytest.raises(UsageError) as caught:
        prompter.choose("Select endpoint?", REGIONS, flag="--region")
    assert (caught.value.id, caught.value.message) == ("input-needed", f"Select endpoint: specify --region ({why}).")
    assert "--region" in caught.value.hint
    for ask in (prompter.confirm, prompter.text):
        with pytest.raises(UsageError, match=rf"Sure: specify --yes \({why}\)\."):
            ask("Sure?", flag="--yes")
    with pytest.raises(UsageError) as many:
        prompter.choose_many("Fallbacks", MODELS, flag="{prog} models fallbacks add REF")
    assert many.value.message == f"Fallbacks: {why}."
    assert many.value.hint_for("openclaw") == "Run: openclaw models fallbacks add REF"


@pytest.mark.parametrize(
    ("words", "message", "why"),
    [
        (("onboard",), r".*: specify --auth-choice \(no terminal to ask on\)\.", None),
        (("onboard", "--json"), r".*: specify --auth-choice \(--json asks no questions\)\.", None),
        (("onboard", "--non-interactive"), r".*: specify --auth-choice \(--non-interactive asks no questions\)\.", None),
        (("configure", "--json"), "`configure` needs a terminal.", "--json asks no questions"),
        (("config", "edit", "--json"), "`config edit` needs a terminal.", "--json asks no questions"),
        (("config", "edit"), "`config edit` needs a terminal.", None),
    ],
)
def test_a_command_that_cannot_ask_gives_its_own_reason(tmp_path, words, message, why):
    env = {"PORTICO_CONFIG": str(tmp_path / "own.json5"), "PORTICO_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    stdin, out, err = (_Terminal() if "--json" in words else io.StringIO()), io.StringIO(), io.StringIO()

    assert main(words, "portico", env=env, stdin=stdin, stdout=out, stderr=err) == 2

    if "--json" in words:
        error = json.loads(out.getvalue())["error"]
        assert re.fullmatch(message, error["message"])
        assert error.get("why") == why
    else:
        assert re.match(rf"portico: {message}\n", err.getvalue())


def test_a_secret_needs_a_terminal():
    with pytest.raises(UsageError, match="no terminal to ask on"):
        NonInteractive().secret("Passphrase", flag="PORTICO_PASSPHRASE_FILE")


def test_streams_without_a_terminal_get_no_prompts():
    assert not make_prompter(io.StringIO(), io.StringIO()).interactive
    closed = io.StringIO()
    closed.close()
    assert not make_prompter(closed, closed).interactive


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_menus_or_numbers_where_the_menus_are_missing(monkeypatch):
    pytest.importorskip("questionary", reason="questionary draws the menus")
    assert isinstance(make_prompter(_Terminal(), _Terminal(), {"TERM": "xterm"}), MenuPrompter)
    assert isinstance(make_prompter(_Terminal(), _Terminal(), {"TERM": "dumb"}), NumberedPrompter)
    monkeypatch.setitem(sys.modules, "questionary", None)
    assert isinstance(make_prompter(_Terminal(), _Terminal()), NumberedPrompter)


LONG = [
    Choice("a", "minimax-portal/MiniMax-M2.1-lightning", "MiniMax M2.1 Lightning, 204,800 tokens"),
    Choice("b", "minimax-portal/MiniMax-M2.1", "MiniMax M2.1"),
]


@pytest.mark.parametrize(
    ("room", "first"),
    [
        (80, "minimax-portal/MiniMax-M2.1-lightning - MiniMax M2.1 Lightning, 204,800 tokens"),
        (66, "minimax-portal/MiniMax-M2.1-lightning - MiniMax M2.1 Lightning..."),
        (54, "minimax-portal/MiniMax-M2.1-lightning - MiniMax..."),
        (40, None),
        (30, None),
    ],
)
def test_a_hint_that_does_not_fit_is_cut_and_where_too_little_would_be_left_there_is_no_menu(room, first):
    rows = fitting(LONG, room)
    assert (rows and rows[0]) == first
    assert rows is None or max(map(len, rows)) <= room


def test_where_a_menu_does_not_fit_or_its_marks_cannot_be_shown_the_list_is_numbered(monkeypatch):
    pytest.importorskip("questionary", reason="questionary draws the menus")
    monkeypatch.setenv("COLUMNS", "40")
    narrow = _Terminal()
    asked = MenuPrompter(NumberedPrompter(io.StringIO("2\n"), narrow), narrow)
    assert asked.choose("Default model", LONG, flag="--default-model") == "b"
    shown = narrow.getvalue().splitlines()
    assert max(map(len, shown)) <= 40
    assert "minimax-portal/MiniMax-M2.1-lightning" in narrow.getvalue()

    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    asked = MenuPrompter(NumberedPrompter(io.StringIO("1,2\n"), latin), latin)
    assert asked.choose_many("Endpoints", REGIONS, flag="--x") == ("global", "cn")


SCRIPT = """
import asyncio, sys
from portico.terminal.prompts import make_prompter
from portico.interfaces.basics import Choice
prompter = make_prompter()
def ask():
    return [
        prompter.choose("Endpoint", [Choice("global", "Global", "io"), Choice("cn", "CN", "com")], flag="--region"),
        prompter.choose_many("Models", [Choice(x, x) for x in "abc"], flag="--models", chosen=["b"]),
        prompter.confirm("Stay", flag="--background", default=True),
        prompter.text("Name", flag="--profile", default="default"),
        len(prompter.secret("Phrase", flag="--x").reveal()),
    ]
async def inside(): return ask()
print(ask() if sys.argv[1] == "outside" else asyncio.run(inside()))
"""
# What is typed once the last question has been drawn.
KEYS = [
    (b"Endpoint", b"\x1b[B\r"),
    (b"Models", b" \x1b[B\x1b[B \r"),
    (b"Stay", b"n"),
    (b"Name", b"2\r"),
    (b"Phrase", b"hunter22\r"),
]


@POSIX
@pytest.mark.parametrize("loop", ["outside", "inside"])
def test_menus_work_on_a_real_terminal_and_leave_stdout_alone(loop):
    pytest.importorskip("questionary", reason="questionary draws the menus")
    import pty

    master, terminal = pty.openpty()
    env = {**os.environ, "PROMPT_TOOLKIT_NO_CPR": "1", "TERM": "xterm"}
    command = [sys.executable, "-c", SCRIPT, loop]
    with subprocess.Popen(
        command, stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, env=env, start_new_session=True
    ) as child:
        os.close(terminal)
        shown = b""
        for question, keys in KEYS:
            while question not in shown:
                shown += os.read(master, 4096)
            os.write(master, keys)
            shown = b"" if question == b"Phrase" else shown.partition(question)[2]
        _drain(master, child)
        stdout = child.stdout.read().decode()
    os.close(master)
    assert stdout == "['cn', ('a', 'b', 'c'), False, 'default2', 8]\n"


def _drain(master, child):
    while child.poll() is None:
        try:
            if b"hunter22" in os.read(master, 4096):
                child.kill()
        except OSError:
            break


@pytest.fixture
def typed(monkeypatch):
    import pty

    master, terminal = pty.openpty()
    with os.fdopen(terminal, "r") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        yield lambda data: os.write(master, data)
    os.close(master)


@POSIX
async def test_a_line_is_read_from_the_terminal(typed):
    typed(b"http://127.0.0.1/callback?code=x\n")
    assert await asyncio.wait_for(read_line(sys.stdin), 10) == "http://127.0.0.1/callback?code=x"


@POSIX
async def test_a_cancelled_read_takes_no_later_line_with_it(typed):
    first = asyncio.create_task(read_line(sys.stdin))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    typed(b"second\n")
    assert await asyncio.wait_for(read_line(sys.stdin), 10) == "second"


@POSIX
async def test_an_empty_line_is_empty_and_the_end_of_input_is_an_error(typed):
    typed(b"\n")
    assert await asyncio.wait_for(read_line(sys.stdin), 10) == ""
    typed(b"\x04")
    with pytest.raises(EOFError):
        await asyncio.wait_for(read_line(sys.stdin), 10)
