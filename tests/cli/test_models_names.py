"""`models aliases` and `models fallbacks`: OpenClaw's words, in the config's own places."""

from __future__ import annotations

import json

import pytest

M21, LIGHTNING = "minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning"
CONFIG = '{\n  // mine\n  plugins: { entries: { "minimax-portal-auth": { enabled: true } } },\n}\n'


@pytest.fixture
def portico(paths, run_portico):
    paths.config.write_text(CONFIG, encoding="utf-8")
    return run_portico


def reads(portico, *path):
    done = portico("config", "get", ".".join(path), "--json")
    return json.loads(done.stdout) if done.returncode == 0 else None


@pytest.mark.requirement("P12")
def test_fallbacks_are_added_in_order_and_taken_out_again(portico, paths):
    assert portico("models", "fallbacks", "list").stdout == "Fallbacks (0):\n- none\n"
    assert portico("models", "fallbacks", "add", M21).stdout == f"Fallbacks: {M21}\n"
    assert portico("models", "fallbacks", "add", "minimax/MiniMax-M2.1").stdout == f"Fallbacks: {M21}, minimax/MiniMax-M2.1\n"
    assert json.loads(portico("models", "fallbacks", "list", "--json").stdout) == {"fallbacks": [M21, "minimax/MiniMax-M2.1"]}
    again = json.loads(portico("models", "fallbacks", "add", M21, "--json").stdout)
    assert (again["changed"], again["fallbacks"]) == (False, [M21, "minimax/MiniMax-M2.1"])
    assert portico("models", "fallbacks", "remove", M21).stdout == "Fallbacks: minimax/MiniMax-M2.1\n"
    assert portico("models", "fallbacks", "clear").stdout == "Fallback list cleared.\n"
    assert "// mine" in paths.config.read_text(encoding="utf-8")


def test_a_fallback_beside_the_short_form_keeps_the_default(portico, paths):
    portico("config", "set", "agents.defaults.model", json.dumps(M21))

    assert portico("models", "fallbacks", "add", LIGHTNING).returncode == 0

    assert reads(portico, "agents", "defaults", "model") == {"primary": M21, "fallbacks": [LIGHTNING]}


def test_a_fallback_that_is_none_is_said_with_exit_1_as_in_openclaw(portico, paths):
    done = portico("models", "fallbacks", "remove", M21)

    assert (done.returncode, f"Fallback not found: {M21}" in done.stderr) == (1, True)
    unknown = portico("models", "fallbacks", "add", "minimax-portal/minimax-m2.1")
    assert (unknown.returncode, f"Did you mean {M21}?" in unknown.stderr) == (2, True)
    assert paths.config.read_text(encoding="utf-8") == CONFIG


@pytest.mark.parametrize(
    "words",
    [
        ("set", "anthropic/claude-opus-4-6"),
        ("fallbacks", "add", "anthropic/claude-opus-4-6"),
        ("aliases", "add", "opus", "anthropic/claude-opus-4-6"),
        ("aliases", "add", "mm", M21),
    ],
)
def test_after_a_sign_in_nothing_that_is_named_locks_the_other_models_out(portico, words):
    """A sign-in writes an entry for each of its own aliases, which is no list of allowed models (openclaw#20265)."""
    shorthands = {M21: {"alias": "minimax-m2.1"}, LIGHTNING: {"alias": "minimax-m2.1-lightning"}}
    portico("config", "set", "agents.defaults.models", json.dumps(shorthands))

    assert portico("models", *words).returncode == 0

    asked = portico("ask", "--model", "minimax/MiniMax-M3", "Hello?", env={"MINIMAX_API_KEY": None})
    assert (asked.returncode, "no credential for provider minimax" in asked.stderr) == (3, True)


@pytest.mark.requirement("P12")
def test_an_alias_names_a_model_wherever_a_model_is_named(portico):
    assert portico("models", "aliases", "add", "mm", LIGHTNING).stdout == f"Alias mm -> {LIGHTNING}\n"
    assert f"- mm -> {LIGHTNING}" in portico("models", "aliases", "list").stdout
    assert portico("models", "set", "MM").stdout == f"Default model: {LIGHTNING}\n"
    assert portico("models", "fallbacks", "add", "mm").stdout == f"Fallbacks: {LIGHTNING}\n"
    assert portico("models", "aliases", "remove", "mm").stdout == "Removed alias mm\n"
    assert "mm" not in json.loads(portico("models", "aliases", "list", "--json").stdout)["aliases"]


def test_an_alias_that_is_taken_or_is_no_name_is_refused(portico):
    portico("models", "aliases", "add", "mm", LIGHTNING)

    taken = portico("models", "aliases", "add", "mm", M21)
    assert (taken.returncode, f"Alias mm already points to {LIGHTNING}." in taken.stderr) == (2, True)
    assert portico("models", "aliases", "add", "mm", LIGHTNING).returncode == 0
    wrong = portico("models", "aliases", "add", "m/m", M21)
    assert (wrong.returncode, "letters, numbers" in wrong.stderr) == (2, True)
    assert "Alias cannot be empty." in portico("models", "aliases", "add", " ", M21).stderr
    gone = portico("models", "aliases", "remove", "other")
    assert (gone.returncode, "Alias not found: other" in gone.stderr) == (1, True)


def test_the_first_alias_locks_no_other_model_out(portico):
    portico("models", "aliases", "add", "mm", LIGHTNING)

    assert portico("models", "set", M21).returncode == 0
    done = portico("ask", "--model", "minimax/MiniMax-M2.1", "Hello")
    assert "allowed" not in done.stderr
    assert reads(portico, "agents", "defaults", "allow") == "all"


def test_a_list_that_was_there_keeps_counting_and_grows_with_what_is_added(portico):
    portico("config", "set", "agents.defaults.models", f'{{ "{M21}": {{}} }}')
    refused = portico("ask", "--model", "minimax/MiniMax-M2.1", "Hello")
    assert "not in the list of allowed models" in refused.stderr or "allow" in refused.stderr

    portico("models", "fallbacks", "add", "minimax/MiniMax-M2.1")

    assert set(reads(portico, "agents", "defaults", "models")) == {M21, "minimax/MiniMax-M2.1"}
    assert reads(portico, "agents", "defaults", "allow") is None


def test_an_alias_of_the_file_underneath_is_not_taken_out_of_this_one(portico, paths, tmp_path):
    base = tmp_path / "openclaw.json"
    base.write_text(f'{{ agents: {{ defaults: {{ models: {{ "{M21}": {{ alias: "theirs" }} }} }} }} }}', encoding="utf-8")
    portico("config", "set", "base", json.dumps(str(base)))

    done = portico("models", "aliases", "remove", "theirs")

    assert done.returncode == 9
    assert f"{base}:1:" in done.stderr
    assert "config unset --write-base" in done.stderr
