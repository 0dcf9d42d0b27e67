"""The Model/auth menus: the prompts, their order, and the same result as with the flags of `onboard`."""

from __future__ import annotations

import io
import sys

import pytest

from portico.testing.secret_service import missing_part
from tests.minimax_session import SIGN_IN, secret_service_users
from tests.person import CTRL_C, ENTER, sit_down

KEY = "sk-emulator-global"
PORTAL, KEYED = "minimax-portal/MiniMax-M2.1", "minimax/MiniMax-M2.1"
# The answers in the menus, and the same as flags.
OAUTH = ["minimax", "minimax-portal", "global", PORTAL, "n"]
API_KEY = ["minimax", "minimax-api", "keyring", KEY, KEYED]
LOCAL = ["lmstudio", "lmstudio/minimax-m2.1-gs32"]
WALKS = {
    "oauth": (OAUTH, (*SIGN_IN, "--region", "global")),
    "api-key": (API_KEY, ("onboard", "--auth-choice", "minimax-api", "--api-key-stdin", "--non-interactive")),
    "another model": (
        [*API_KEY[:4], "minimax/MiniMax-M3"],
        (*("onboard", "--auth-choice", "minimax-api", "--api-key-stdin"), "--default-model", "MiniMax-M3", "--non-interactive"),
    ),
    "lm-studio": (LOCAL, ("onboard", "--auth-choice", "lmstudio", "--non-interactive")),
}


@pytest.fixture
def session(minimax):
    return minimax()


@pytest.fixture
def flags(session, monkeypatch, tmp_path):
    """Run `onboard` with flags in a copy of the session's first state; return the config."""

    def run(words):
        config = tmp_path / "by-flags" / session.paths.config.name
        config.parent.mkdir()
        config.write_bytes(session.info.config.read_bytes())
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\n"))
        session.ok(*words, *session.store, env={"PORTICO_CONFIG": str(config), "PORTICO_STATE_DIR": str(tmp_path / "state-2")})
        return config.read_text(encoding="utf-8")

    return run


def onboard(session, answers, *options):
    return sit_down(session, "onboard", *session.store, *options, answers=answers)


def everything(session):
    """Everything that a command could change: config, index, encrypted files, keyring."""
    paths = session.paths
    index = paths.index.read_bytes() if paths.index.exists() else None
    sealed = sorted(paths.encrypted_records.iterdir()) if paths.encrypted_records.exists() else []
    return paths.config.read_bytes(), index, sealed, secret_service_users() if missing_part() is None else []


@pytest.mark.requirement("P6")
@pytest.mark.parametrize("walk", WALKS)
def test_the_menus_write_the_same_config_as_the_flags_byte_for_byte(session, flags, walk):
    answers, words = WALKS[walk]

    result, _ = onboard(session, answers)

    assert result.returncode == 0, result.stderr
    assert session.paths.config.read_text(encoding="utf-8") == flags(words)


@pytest.mark.requirement("P6")
@pytest.mark.parametrize("walk", ["oauth", "api-key", "lm-studio"])
def test_ctrl_c_or_the_end_of_input_at_any_prompt_changes_nothing(session, walk):
    answers, _ = WALKS[walk]
    before = everything(session)

    for place in range(len(answers)):
        result, person = onboard(session, [*answers[:place], CTRL_C])
        assert (len(person.asked), result.returncode) == (place + 1, 130)
        assert everything(session) == before
    result, _ = onboard(session, answers[:-1])
    assert (result.returncode, "the input has ended" in result.stderr) == (2, True)
    assert everything(session) == before


@pytest.mark.requirement("P6")
def test_the_pages_steps_are_the_rows_of_the_menus(session):
    result, person = sit_down(session, "configure", answers=["1", "1", "2", "config", KEY, ENTER, ENTER])

    assert result.returncode == 0, result.stderr
    shown = person.shown.getvalue()
    for row in ("1) Model/auth - ", "1) MiniMax - MiniMax M2.1: ", "2) MiniMax M2.1 - API key, Global: api.minimax.io"):
        assert f"  {row}" in shown
    assert person.asked[-2:] == ["Default model", "Select a section to configure"]
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")


def test_the_current_model_can_stay_and_enter_chooses_the_new_model(session):
    session.ok("config", "set", "agents.defaults.model.primary", "anthropic/claude-opus-4-6")

    result, person = onboard(session, [*API_KEY[:4], "keep"])
    assert "  1) Keep current (anthropic/claude-opus-4-6)" in person.shown.getvalue()
    assert "Default model  anthropic/claude-opus-4-6" in result.stderr
    assert "answering as MiniMax-M2.1" in session.ok("ask", "--model", KEYED, "Hello")

    result, _ = onboard(session, [*OAUTH[:3], ENTER, "n"])
    assert f"Default model  {PORTAL}\n" in result.stderr


@pytest.mark.parametrize(
    ("typed", "said", "becomes"),
    [
        (["minimax-m3", "MiniMax-M3"], "Did you mean minimax/MiniMax-M3?", "minimax/MiniMax-M3"),
        (["MiniMax-M33", "n", "MiniMax-M3"], "Did you mean minimax/MiniMax-M3? Use", "minimax/MiniMax-M3"),
        (["MiniMax-M9", "y"], "not known to have MiniMax-M9", "minimax/MiniMax-M9"),
        (["", "anthropic/claude-opus-4-5", "anthropic/claude-opus-4-6"], "lists no model", "anthropic/claude-opus-4-6"),
    ],
)
def test_a_typed_model_is_checked_and_asked_for_again(session, typed, said, becomes):
    result, person = onboard(session, [*API_KEY[:4], "manually", *typed])

    assert result.returncode == 0, result.stderr
    assert said in result.stderr + person.shown.getvalue()
    assert session.ok("models", "status", "--plain").strip() == becomes
    assert person.answers == []


def test_back_returns_to_the_providers_and_leaving_changes_nothing(session):
    before = everything(session)

    result, person = onboard(session, ["minimax", "back", "back"])

    assert (result.returncode, everything(session)) == (0, before)
    assert person.asked == ["Model/auth provider", "MiniMax auth method", "Model/auth provider"]
    assert "Nothing was set up." in result.stderr


def test_an_option_replaces_its_prompt(session):
    options = ("--keep-key", "config", "--keep-default", "--no-check")
    session.ok("config", "set", "agents.defaults.model.primary", "anthropic/claude-opus-4-6")

    _, person = onboard(session, ["minimax", "minimax-cn-api", KEY], *options)

    assert person.asked == ["Model/auth provider", "MiniMax auth method", "Enter MiniMax API key"]


def test_lm_studio_offers_what_it_has_loaded(minimax, unused_tcp_port):
    session = minimax(knobs={"lmstudio": str(unused_tcp_port)})
    session.ok("onboard", "--auth-choice", "lmstudio", "--non-interactive", "--no-check")
    session.ok("config", "set", "models.providers.lmstudio.baseUrl", f'"http://127.0.0.1:{unused_tcp_port}/v1"')
    session.ok("config", "set", "models.providers.lmstudio.models", '[{ "id": "another" }]')
    session.ok("models", "set", "lmstudio/another")

    _, person = sit_down(session, "configure", "--section", "default-model", answers=["3"])

    assert "  2) lmstudio/another - not in the provider's current list\n" in person.shown.getvalue()
    assert session.ok("models", "status", "--plain").strip() == "lmstudio/minimax-m2.1-gs32"


def test_without_a_network_the_catalogue_is_offered_and_the_key_is_stored(session, unused_tcp_port):
    proxy = f"http://127.0.0.1:{unused_tcp_port}"
    env = {"HTTPS_PROXY": proxy, "https_proxy": proxy}

    result, person = sit_down(session, "onboard", *session.store, answers=API_KEY, env=env)

    assert "not checked (" in result.stderr
    assert f"  1) {KEYED} - MiniMax M2.1, 204,800 tokens\n" in person.shown.getvalue()
    assert "answering as MiniMax-M2.1" in session.ok("ask", "Hello")
