"""OpenClaw's config becomes the base file only if the user agrees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portico.accounts.wizard import openclaw_file
from tests.person import CTRL_C, ENTER, sit_down

OPENCLAW = {"agents": {"defaults": {"model": {"primary": "minimax/MiniMax-M3"}}}}
DONE = "done"
QUESTION = "Use ~/.openclaw/openclaw.json as the base file?"


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def openclaw(session):
    """OpenClaw's config file, in its usual place."""
    path = Path(session.run_portico.environment(session.env)["HOME"]) / ".openclaw" / "openclaw.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(OPENCLAW), encoding="utf-8")
    return path


def configure(session, *answers):
    return sit_down(session, "configure", answers=[*answers])


def test_enter_means_yes_and_the_base_files_values_take_effect(session, openclaw):
    before = openclaw.read_bytes()

    result, person = configure(session, ENTER, DONE)

    assert person.asked == [QUESTION, "Select a section to configure"]
    assert "it adds its providers, models and aliases to Portico's" in result.stderr
    assert json.loads(session.ok("config", "get", "base", "--json")) == "~/.openclaw/openclaw.json"
    assert "  2) Default model - minimax/MiniMax-M3" in person.shown.getvalue()
    assert openclaw.read_bytes() == before
    assert configure(session, DONE)[1].asked == ["Select a section to configure"]


@pytest.mark.parametrize("answer", ["n", CTRL_C])
def test_no_and_ctrl_c_write_nothing_and_the_prompt_appears_again_next_time(session, openclaw, answer):
    before = session.paths.config.read_bytes()

    assert configure(session, answer, DONE)[0].returncode == (0 if answer == "n" else 130)
    assert session.paths.config.read_bytes() == before
    assert configure(session, "n", DONE)[1].asked[0] == QUESTION


def test_onboard_offers_the_base_file_too_but_not_with_a_section_or_a_choice(session, openclaw):
    assert sit_down(session, "onboard", answers=["n", "back"])[1].asked[0] == QUESTION
    assert sit_down(session, "configure", "--section", "fallbacks", answers=[])[1].asked == []
    assert sit_down(session, "onboard", "--auth-choice", "lmstudio", "--no-check", answers=[])[1].asked == []


def test_an_invalid_file_is_named_with_its_error_and_not_offered(session, openclaw):
    openclaw.write_text("{ agents: { defaults: { model: 7 } } }", encoding="utf-8")

    result, person = configure(session, DONE)

    assert person.asked == ["Select a section to configure"]
    assert "it cannot be the base file" in result.stderr
    assert "openclaw.json:1:" in result.stderr


def test_in_an_emulators_shell_the_file_is_not_offered(session, openclaw, tmp_path):
    session.env["PORTICO_EMULATOR_HOME"] = str(tmp_path)
    assert configure(session, DONE)[1].asked == ["Select a section to configure"]


def test_the_file_is_searched_where_openclaw_has_it(tmp_path):
    home, state, named = tmp_path / "home", tmp_path / "state", tmp_path / "named.json"
    places = [home / ".openclaw" / "openclaw.json", state / "openclaw.json", named]
    env = {"HOME": str(home)}
    assert openclaw_file(env) is None
    for place, more in zip(places, [{}, {"OPENCLAW_STATE_DIR": str(state)}, {"OPENCLAW_CONFIG_PATH": str(named)}], strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("{}", encoding="utf-8")
        env |= more
        assert openclaw_file(env) == place
