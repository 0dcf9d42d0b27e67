"""What people read, on terminals from 20 columns on, in code pages without our letters, and where there is no terminal at all."""

from __future__ import annotations

import re

import pytest

COMMANDS = (
    ("--help",),
    ("models", "list", "--all"),
    ("models", "status"),
    ("models", "set", "minimax-portal/minimax-m2.1"),
    ("auth", "list", "--verbose"),
    ("auth", "status"),
    ("auth", "order", "get", "--provider", "minimax-portal"),
    ("usage",),
    ("usage", "cost"),
    ("plugins", "list"),
    ("plugins", "info", "minimax-portal-auth"),
    ("gateway", "status"),
    ("gateway", "key", "list"),
    ("config", "get"),
    ("doctor",),
    ("explain", "keyring-locked"),
    ("ask", "--help"),
    ("auth", "logout", "nobody"),
)
# Those with tables, bars or figures.
DRAWN = (
    ("models", "list"),
    ("auth", "status"),
    ("usage",),
    ("plugins", "list"),
    ("gateway", "status"),
    ("doctor",),
    ("explain",),
)


@pytest.fixture
def desk(machine, minimax):
    """A machine that meets the emulator and is signed in."""
    session = minimax(redirect=False)
    machine.env |= session.run_portico.environment(session.env) | {"PATH": machine.env["PATH"]}
    words = ("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--non-interactive", "--no-background")
    assert machine.type(*words).returncode == 0
    return machine


def shown(desk, words, columns, *, term="xterm", **env):
    """Everything that a command shows on a terminal, as it comes."""
    terminal = desk.open_terminal("portico", *words, term=term, columns=columns, **env)
    terminal.end(timeout=60)
    desk.terminals.remove(terminal)
    return terminal


@pytest.mark.parametrize("columns", [20, 80])
def test_no_line_is_wider_than_the_terminal_but_for_what_is_to_be_copied(desk, columns):
    wide = []
    for words in COMMANDS:
        text = shown(desk, words, columns).text
        # What is to be copied, or read by another program.
        exact = (
            {*text.split("\n")}
            if words == ("config", "get")
            else {*re.findall(r"^  .*", text.partition("\nexamples:\n")[2], re.MULTILINE)}
        )
        for line in text.split("\n"):
            # A word, such as a path, and a command between backquotes stay whole: broken, they could not be copied.
            breakable = re.sub(r"`[^`]*`", "x", line.strip())
            if len(line) > columns and " " in breakable and line not in exact:
                wide.append((" ".join(words), line))
    assert wide == []


@pytest.mark.parametrize(
    ("env", "encoding"), [({"LC_ALL": "C", "PYTHONUTF8": "0"}, "ascii"), ({"PYTHONIOENCODING": "cp437"}, "cp437")]
)
def test_a_code_page_without_our_letters_stops_no_command(desk, env, encoding):
    for words in DRAWN:
        terminal = shown(desk, words, 80, **env)
        assert "Traceback" not in terminal.text, words
        if encoding == "ascii":
            assert terminal.text.isascii(), words


@pytest.mark.parametrize(("term", "env"), [("dumb", {}), ("xterm", {"NO_COLOR": "1"})])
def test_without_colour_nothing_but_text_is_shown(desk, term, env):
    for words in DRAWN:
        assert "\x1b" not in shown(desk, words, 80, term=term, **env).raw, words


def test_where_there_is_no_terminal_nothing_is_drawn_or_redrawn(desk):
    for words in (*DRAWN, ("ask", "Hello")):
        result = desk.type(*words)
        assert not re.search(r"[\x1b\r]", result.stdout + result.stderr), words
