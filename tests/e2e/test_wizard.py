"""The wizard, walked at a real terminal to the config that the flags give."""

from __future__ import annotations

import io
import sys

import pytest

from portico.store.profiles import ProfileIndex
from tests.e2e.terminal import CTRL_C, ENTER, NO, SECOND
from tests.minimax_session import GLOBAL, SIGN_IN

KEY = "sk-emulator-global"
BY_KEY = ("onboard", "--auth-choice", "minimax-api", "--api-key-stdin", "--non-interactive")
LOCAL = ("onboard", "--auth-choice", "lmstudio", "--non-interactive")
MENU = "Select a section to configure"


@pytest.fixture
def desk(machine, minimax):
    """A machine whose shell is pointed at an emulator, with the config that this needs and nothing else."""
    machine.session = minimax()
    machine.env |= machine.session.run_portico.environment(machine.session.env) | {"PATH": machine.env["PATH"]}
    return machine


@pytest.fixture
def by_flags(desk, tmp_path, monkeypatch):
    """What the config is after a command with flags, on a machine where nothing has been set up yet."""

    def run(*words):
        config = tmp_path / "by-flags" / "portico.json5"
        config.parent.mkdir()
        config.write_bytes(desk.session.info.config.read_bytes())
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n"))
        desk.session.ok(*words, env={"PORTICO_CONFIG": str(config), "PORTICO_STATE_DIR": str(tmp_path / "by-flags")})
        return config.read_text(encoding="utf-8")

    return run


def config(desk):
    return desk.session.paths.config.read_text(encoding="utf-8")


def answer(terminal, question, keys):
    terminal.expect(question)
    terminal.press(keys)


@pytest.mark.requirement("P3")
@pytest.mark.requirement("P6")
def test_the_pages_steps_typed_as_they_stand_set_minimax_up_with_a_key_that_is_never_shown(desk, by_flags):
    terminal = desk.sit_down("configure")
    answer(terminal, MENU, ENTER)
    terminal.expect("Model/auth - ")
    answer(terminal, "Model/auth provider", ENTER)
    terminal.expect("MiniMax - MiniMax M2.1: ")
    answer(terminal, "MiniMax M2.1 - API key", SECOND)
    answer(terminal, "Where do you want to store the key", ENTER)
    answer(terminal, "Enter MiniMax API key", f"sk-wrong-1234567890{ENTER}")
    answer(terminal, "empty: give up", KEY + ENTER)
    answer(terminal, "Default model.*\n.*> minimax/MiniMax-M2.1 - ", ENTER)
    terminal.expect("checked: minimax/MiniMax-M2.1 answers")
    answer(terminal, rf"{MENU} \(arrow keys\)(\n.*)+> Done", ENTER)

    assert terminal.end() == 0
    assert KEY not in terminal.raw
    assert "sk-wrong" not in terminal.raw
    assert config(desk) == by_flags(*BY_KEY)
    assert KEY not in config(desk)
    assert "answering as MiniMax-M2.1" in desk.type("ask", "Hello").stdout


@pytest.mark.requirement("P6")
def test_the_sign_in_by_oauth_is_last_and_comes_to_what_the_flags_give(desk, by_flags):
    terminal = desk.sit_down("onboard", columns=80, LC_ALL="C")
    answer(terminal, "Model/auth provider", ENTER)
    answer(terminal, "MiniMax auth method", ENTER)
    answer(terminal, "Select MiniMax endpoint", ENTER)
    answer(terminal, "Default model", ENTER)
    answer(terminal, "Stay signed in", NO)
    terminal.expect(f"Signed in: {GLOBAL}")

    assert terminal.end() == 0
    assert config(desk) == by_flags(*SIGN_IN, "--region", "global")


@pytest.mark.requirement("P5")
@pytest.mark.requirement("P6")
def test_a_narrow_terminal_without_menus_gets_numbered_lists_that_fit(desk, by_flags):
    terminal = desk.sit_down("onboard", term="dumb", columns=40, LANG="C")
    answer(terminal, "Choose 1-5", f"x{ENTER}")
    answer(terminal, "Please type a number from 1 to 5", f"4{ENTER}")
    answer(terminal, "Default model(\n.*)+: ", ENTER)
    terminal.expect("Next:")

    assert terminal.end() == 0
    assert "\x1b" not in terminal.raw
    lists = [line for line in terminal.text.splitlines() if ") " in line]
    assert max(map(len, lists)) <= 40
    assert config(desk) == by_flags(*LOCAL)


@pytest.mark.requirement("P6")
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_ctrl_c_while_a_key_is_typed_changes_nothing_and_no_letter_of_it_is_shown(desk, term):
    before = config(desk)
    terminal = desk.sit_down("configure", "--section", "model", term=term)
    answer(terminal, "Model/auth provider(\n.*)*", ENTER)
    answer(terminal, "MiniMax auth method", f"2{ENTER}" if term == "dumb" else SECOND)
    answer(terminal, "Where do you want to store the key", ENTER)
    answer(terminal, "Enter MiniMax API key", "QXZ")
    answer(terminal, "Enter MiniMax API key", CTRL_C)

    assert terminal.end() == 130
    assert "Traceback" not in terminal.text
    assert "QXZ" not in terminal.raw
    assert (config(desk), desk.records()) == (before, [])
    assert ProfileIndex(desk.session.paths).profiles() == ()
