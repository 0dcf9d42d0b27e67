"""What people read, on terminals from 20 columns on, in code pages without our letters, and where there is no terminal at all."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.e2e.terminal import as_text

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
END = "\x1c"  # of what one command has shown
_EACH = f"""
import json, sys
from portico.cli.main import main
for words in json.loads(sys.argv[1]):
    main(words, "portico")
    print({END!r}, flush=True)
"""


@pytest.fixture
def desk(machine, minimax):
    """A machine that meets the emulator and is signed in."""
    session = minimax(redirect=False)
    machine.env |= session.run_portico.environment(session.env) | {"PATH": machine.env["PATH"]}
    words = ("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--non-interactive", "--no-background")
    assert machine.type(*words).returncode == 0
    return machine


def shown(desk, commands, columns, *, term="xterm", **env):
    """What each command shows on a terminal, as it comes: one process runs them all, since what is drawn depends on the terminal."""
    terminal = desk.open_terminal(sys.executable, "-c", _EACH, json.dumps(commands), term=term, columns=columns, **env)
    code = terminal.end(timeout=60)
    desk.terminals.remove(terminal)
    desk.keep(terminal.text)
    *parts, rest = terminal.raw.split(END)
    assert (code, rest.strip()) == (0, ""), terminal.text
    return dict(zip(commands, parts, strict=True))


@pytest.mark.parametrize("columns", [20, 80])
def test_no_line_is_wider_than_the_terminal_but_for_what_is_to_be_copied(desk, columns):
    wide = []
    for words, raw in shown(desk, COMMANDS, columns).items():
        text = as_text(raw)
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
    # One by the program itself, whose streams nothing has touched before.
    first = desk.sit_down(*DRAWN[0], columns=80, **env)
    assert first.end() == 0
    for words, raw in [("the program itself", first.raw), *shown(desk, DRAWN, 80, **env).items()]:
        assert "Traceback" not in raw, words
        if encoding == "ascii":
            assert raw.isascii(), words


@pytest.mark.parametrize(("term", "env"), [("dumb", {}), ("xterm", {"NO_COLOR": "1"})])
def test_without_colour_nothing_but_text_is_shown(desk, term, env):
    for words, raw in shown(desk, DRAWN, 80, term=term, **env).items():
        assert "\x1b" not in raw, words


def test_where_there_is_no_terminal_nothing_is_drawn_or_redrawn(desk):
    commands = (*DRAWN, ("ask", "Hello"))
    words = [sys.executable, "-c", _EACH, json.dumps(commands)]
    result = subprocess.run(
        words, env=desk.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
    desk.keep(result.stdout + result.stderr)
    assert (result.returncode, result.stdout.count(END)) == (0, len(commands)), result.stderr
    assert not re.search(r"[\x1b\r]", result.stdout + result.stderr)
