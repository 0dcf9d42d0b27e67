"""`configure`: its menu, its sections by name, and what it says where nobody can be asked."""

from __future__ import annotations

import json

import pytest

from tests.person import CTRL_C, ENTER, sit_down

MENU = "Select a section to configure"


@pytest.fixture
def session(minimax):
    return minimax()


def test_without_a_terminal_the_commands_that_do_the_same_are_named(session):
    before = session.paths.config.read_bytes()

    done = session.run("configure")
    one = session.run("configure", "--section", "fallbacks")
    as_json = session.run("configure", "--json")

    assert (done.returncode, one.returncode, as_json.returncode) == (2, 2, 2)
    for command in ("onboard --auth-choice ID --non-interactive", "models set REF", "models status --probe"):
        assert f"  portico {command}\n" in done.stderr
    assert one.stderr.splitlines()[-2] == "  portico models fallbacks add REF"
    assert json.loads(as_json.stdout)["error"]["id"] == "input-needed"
    assert session.paths.config.read_bytes() == before


def test_a_section_that_there_is_not_gets_a_did_you_mean(session):
    done = session.run("configure", "--section", "models")
    assert (done.returncode, "did you mean model?" in done.stderr) == (2, True)


def test_the_menu_comes_again_until_done_and_says_what_is_so(session):
    session.env["MINIMAX_API_KEY"] = "sk-emulator-global"

    done, person = sit_down(session, "configure", answers=["default-model", "minimax/MiniMax-M3", "9", "wrong", ENTER])

    assert done.returncode == 0, done.stderr
    assert person.asked == [MENU, "Default model", MENU, MENU, MENU]
    shown = person.shown.getvalue()
    assert "  2) Default model - none yet\n" in shown
    assert "  2) Default model - minimax/MiniMax-M3\n" in shown
    assert "Please type a number from 1 to 6." in shown
    assert f"Done: {session.paths.config}" in done.stderr


def test_what_fails_in_a_section_is_told_and_the_menu_comes_again(session):
    session.sign_in("--region", "global")
    answers = ["model", "minimax", "minimax-portal", "global", "n", "done"]

    done, person = sit_down(session, "configure", answers=answers)

    assert (done.returncode, person.asked[-1]) == (0, MENU)
    both = "To keep both: portico models auth login --provider minimax-portal --profile NAME"
    assert f"minimax-portal:default was not replaced.\n  {both}" in done.stderr
    alone, _ = sit_down(session, "configure", "--section", "model", answers=answers[1:-1])
    assert alone.returncode == 2


def test_sections_that_are_named_are_all_that_is_asked(session):
    session.env["MINIMAX_API_KEY"] = "sk-emulator-global"

    named = ("--section", "default-model", "--section", "fallbacks")
    done, person = sit_down(session, "configure", *named, answers=["minimax/MiniMax-M3", "minimax/MiniMax-M2.1"])

    assert done.returncode == 0
    assert person.asked == ["Default model", "Fallbacks, tried in this order"]


def test_ctrl_c_keeps_the_sections_that_were_finished_and_nothing_of_the_one_it_is_pressed_in(session):
    session.env["MINIMAX_API_KEY"] = "sk-emulator-global"

    done, _ = sit_down(session, "configure", answers=["default-model", "minimax/MiniMax-M3", "fallbacks", CTRL_C])

    assert done.returncode == 130
    assert session.ok("models", "status", "--plain").strip() == "minimax/MiniMax-M3"
    assert json.loads(session.ok("models", "fallbacks", "list", "--json")) == {"fallbacks": []}


def test_the_health_check_asks_what_is_set_up(session):
    session.sign_in("--region", "global")

    done, _ = sit_down(session, "configure", answers=["health", "done"])

    assert "minimax-portal/MiniMax-M2.1" in done.stdout
    assert "ok (" in done.stdout


def test_going_back_leads_to_the_same_row_of_the_menu_again(session):
    _, person = sit_down(session, "configure", answers=["model", "back", "fallbacks", ENTER])

    prompts = [line for line in person.shown.getvalue().splitlines() if line.startswith("Choose 1-6")]
    assert person.asked == [MENU, "Model/auth provider", MENU, MENU]
    assert [line.partition("]")[0][-1] for line in prompts] == ["1", "1", "6"]
