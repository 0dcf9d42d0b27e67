"""The sections for models: the default model, the fallbacks, and the allowed models."""

from __future__ import annotations

import json

import pytest

from tests.person import ENTER, sit_down

OPUS = "anthropic/claude-opus-4-6"
M21, LIGHTNING = "minimax/MiniMax-M2.1", "minimax/MiniMax-M2.1-lightning"
PORTAL, PORTAL_LIGHTNING = "minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning"
SHORTHANDS = {PORTAL: {"alias": "minimax-m2.1"}, PORTAL_LIGHTNING: {"alias": "minimax-m2.1-lightning"}}
KEYS = {"MINIMAX_API_KEY": "sk-emulator-global", "ANTHROPIC_API_KEY": "sk-ant-emulator"}


@pytest.fixture
def session(minimax):
    """Two providers with keys in the environment; OPUS is the default model."""
    session = minimax()
    session.env |= KEYS
    session.ok("plugins", "enable", "minimax-portal-auth")
    session.ok("models", "set", OPUS)
    return session


def section(session, name, *answers):
    result, person = sit_down(session, "configure", "--section", name, answers=[*answers])
    assert result.returncode == 0, result.stderr
    return result.stderr, person


def defaults(session, *path):
    return json.loads(session.ok("config", "get", ".".join(("agents.defaults", *path)), "--json"))


def given(session, models, **more):
    session.ok("config", "set", "agents.defaults.models", json.dumps(models))
    for name, value in more.items():
        session.ok("config", "set", f"agents.defaults.{name}", json.dumps(value))


def may_be_named(session, reference):
    return session.run("ask", "--model", reference, "Hello").returncode == 0


def test_the_menu_sets_a_default_model_as_models_set_does(session):
    output, person = section(session, "default-model", M21)
    assert f"Default model: {M21}\n" in output
    assert f"  1) Keep current ({OPUS})" in person.shown.getvalue()
    by_menu = session.paths.config.read_bytes()

    session.ok("models", "set", OPUS)
    session.ok("models", "set", M21)
    assert session.paths.config.read_bytes() == by_menu


def test_keeping_the_default_writes_nothing(session):
    before = session.paths.config.read_bytes()
    assert "(unchanged)" in section(session, "default-model", ENTER)[0]
    assert session.paths.config.read_bytes() == before


@pytest.mark.parametrize("name", ["default-model", "fallbacks", "allowed-models"])
def test_without_a_provider_a_note_appears_and_no_prompt(minimax, name):
    output, person = section(minimax(), name)
    assert "Model/auth" in output
    assert person.asked == []


@pytest.mark.requirement("P4")
def test_the_menu_sets_fallbacks_as_models_fallbacks_does_and_keeps_their_order(session):
    section(session, "fallbacks", f"{LIGHTNING},{M21}")
    by_menu = session.paths.config.read_bytes()
    session.ok("models", "fallbacks", "clear")
    session.ok("config", "unset", "agents.defaults.models")
    session.ok("config", "unset", "agents.defaults.allow")
    session.ok("models", "fallbacks", "add", M21)
    session.ok("models", "fallbacks", "add", LIGHTNING)
    assert defaults(session, "model", "fallbacks") == [M21, LIGHTNING]
    assert json.loads(by_menu) == json.loads(session.paths.config.read_bytes())

    session.ok("config", "set", "agents.defaults.model.fallbacks", json.dumps([LIGHTNING, M21]))
    _, person = section(session, "fallbacks", f"{LIGHTNING},{M21},minimax/MiniMax-M3")
    assert f"  1) [x] {LIGHTNING}" in person.shown.getvalue()
    assert OPUS not in person.shown.getvalue()
    assert defaults(session, "model", "fallbacks") == [LIGHTNING, M21, "minimax/MiniMax-M3"]
    section(session, "fallbacks", "none")
    assert defaults(session, "model", "fallbacks") == []


def test_a_fallback_written_as_an_alias_stays_an_alias(session):
    session.ok("models", "aliases", "add", "mm", M21)
    session.ok("config", "set", "agents.defaults.model.fallbacks", '["mm"]')
    before = session.paths.config.read_bytes()

    assert "Fallbacks: mm (unchanged)" in section(session, "fallbacks", ENTER)[0]
    assert session.paths.config.read_bytes() == before
    section(session, "fallbacks", f"{M21},{LIGHTNING}")
    assert defaults(session, "model", "fallbacks") == ["mm", LIGHTNING]


def test_only_chosen_models_and_the_default_are_allowed_and_none_means_all(session):
    assert may_be_named(session, LIGHTNING)
    output, person = section(session, "allowed-models", M21)
    assert "[x]" not in person.shown.getvalue()
    assert f"{OPUS} - in use, so always allowed" in person.shown.getvalue()
    assert "Allowed models: 2 listed" in output
    assert [may_be_named(session, each) for each in (OPUS, M21, LIGHTNING)] == [True, True, False]

    _, person = section(session, "allowed-models", ENTER)
    assert f"[x] {M21}" in person.shown.getvalue()
    section(session, "allowed-models", "none")
    assert may_be_named(session, LIGHTNING)
    assert defaults(session, "models") == {M21: {}}


def test_choosing_models_restricts_an_open_list(session):
    given(session, {M21: {"alias": "mm"}}, allow="all")
    section(session, "allowed-models", LIGHTNING, "n")

    assert defaults(session, "models") == {M21: {"alias": "mm"}, LIGHTNING: {}}
    assert not may_be_named(session, "minimax/MiniMax-M3")


@pytest.mark.parametrize(("answer", "left"), [("n", {M21: {"alias": "mm"}, LIGHTNING: {}}), ("y", {LIGHTNING: {}})])
def test_an_entry_with_an_alias_is_removed_only_if_the_user_agrees(session, answer, left):
    given(session, {M21: {"alias": "mm"}, LIGHTNING: {}, "minimax/MiniMax-M3": {}})

    said, person = section(session, "allowed-models", LIGHTNING, answer)

    assert person.asked[1:] == [f"{M21} has the alias mm. Remove both?"]
    assert defaults(session, "models") == left
    assert (f"{M21} stays allowed." in said) == (answer == "n")


def test_the_default_models_entry_stays_marked_or_not(session):
    given(session, {OPUS: {"alias": "opus"}, M21: {}})
    section(session, "allowed-models", LIGHTNING)
    assert defaults(session, "models") == {OPUS: {"alias": "opus"}, LIGHTNING: {}}


@pytest.mark.parametrize("chosen", [[PORTAL], [PORTAL, PORTAL_LIGHTNING]])
def test_a_list_of_only_a_sign_ins_own_models_stays_a_list_at_the_next_sign_in(session, chosen):
    given(session, SHORTHANDS)
    assert may_be_named(session, "minimax-portal/MiniMax-M3")

    section(session, "allowed-models", ",".join(chosen))

    assert defaults(session, "models") == {key: {} for key in chosen}
    assert not may_be_named(session, "minimax-portal/MiniMax-M3")
    assert may_be_named(session, "minimax-m2.1")
    session.sign_in("--region", "global", "--keep-default")
    assert not may_be_named(session, "minimax-portal/MiniMax-M3")


def test_models_listed_in_the_base_file_stay_allowed_with_a_note(session, tmp_path):
    base = tmp_path / "openclaw.json"
    base.write_text(json.dumps({"agents": {"defaults": {"models": {M21: {}, LIGHTNING: {}}}}}), encoding="utf-8")
    session.ok("config", "set", "base", json.dumps(str(base)))

    output, _ = section(session, "allowed-models", M21)

    assert f"{LIGHTNING} stays allowed: it is listed at {base}:1:" in output
    assert may_be_named(session, LIGHTNING)
