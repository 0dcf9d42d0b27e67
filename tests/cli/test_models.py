"""`models list` and `models set`."""

from __future__ import annotations

import json

import pytest

M21, LIGHTNING = "minimax-portal/MiniMax-M2.1", "minimax-portal/MiniMax-M2.1-lightning"
CONFIG = """{
  // the page's fallback example
  plugins: { entries: { "minimax-portal-auth": { enabled: true } } },
  agents: { defaults: {
    model: { primary: "anthropic/claude-opus-4-6", fallbacks: ["minimax/MiniMax-M2.1"] },
    models: { "anthropic/claude-opus-4-6": { alias: "opus" }, "minimax/MiniMax-M2.1": { alias: "minimax" } },
  } },
}
"""


@pytest.fixture
def configured(paths, run_portico):
    paths.config.write_text(CONFIG, encoding="utf-8")
    return run_portico


@pytest.mark.requirement("P12")
def test_list_shows_the_default_the_fallbacks_and_whether_each_could_answer(configured):
    found = json.loads(configured("models", "list", "--json", env={"MINIMAX_API_KEY": "not-a-real-one"}).stdout)

    rows = {row["key"]: row for row in found["models"]}
    assert found["count"] == len(rows)
    assert rows["anthropic/claude-opus-4-6"]["tags"] == ["default", "configured", "alias:opus"]
    assert rows["anthropic/claude-opus-4-6"]["available"] is False
    assert rows["minimax/MiniMax-M2.1"]["tags"] == ["fallback#1", "configured", "alias:minimax"]
    assert rows["minimax/MiniMax-M2.1"]["available"] is True


def test_all_lists_every_known_model_and_plain_only_their_names(configured):
    every = configured("models", "list", "--all", "--plain").stdout.split()
    own = configured("models", "list", "--plain").stdout.split()

    assert {M21, LIGHTNING, "minimax/MiniMax-M2.1"} <= set(every)
    assert own == ["anthropic/claude-opus-4-6", "minimax/MiniMax-M2.1"]
    only = configured("models", "list", "--all", "--plain", "--provider", "minimax-portal").stdout.split()
    assert only == [name for name in every if name.startswith("minimax-portal/")]


@pytest.mark.parametrize(("tokens", "shown"), [(200_000, "200k"), (1_000_000, "1M"), (1_048_576, "1M"), (1_500_000, "1.5M")])
def test_a_context_window_is_shown_in_decimal_units(configured, tokens, shown):
    model = f"{{ baseUrl: 'https://a.example', models: [{{ id: 'thing', contextWindow: {tokens} }}] }}"
    assert configured("config", "set", "models.providers.acme", model).returncode == 0

    (row,) = (line for line in configured("models", "list").stdout.splitlines() if line.startswith("acme/thing"))

    assert row.split()[2] == shown


def test_a_model_that_nobody_brings_is_tagged_missing(configured):
    configured("config", "set", "agents.defaults.model.fallbacks", '["acme/thing"]')

    rows = json.loads(configured("models", "list", "--json").stdout)["models"]

    assert {row["key"]: row["missing"] for row in rows}["acme/thing"] is True


def test_json_with_plain_is_refused_and_nothing_to_list_is_an_empty_list(paths, run_portico):
    assert run_portico("models", "list", "--json", "--plain").returncode == 2
    assert json.loads(run_portico("models", "list", "--json").stdout) == {"count": 0, "models": []}
    assert "No models found" in run_portico("models", "list").stderr


BLOCK = """{ models: { providers: { minimax: {
  baseUrl: "https://api.minimax.io/anthropic", apiKey: "sk-emulator-global", api: "anthropic-messages",
  models: [{ id: "MiniMax-M2.1", name: "MiniMax M2.1" }],
} } } }"""


@pytest.mark.requirement("P13")
@pytest.mark.requirement("P15")
@pytest.mark.parametrize(
    ("env", "config", "model"),
    [
        ({"MINIMAX_API_KEY": "sk-emulator-global"}, None, "minimax/MiniMax-M2.1"),
        ({}, BLOCK, "minimax/MiniMax-M2.1"),
        ({}, None, M21),
    ],
    ids=["the environment key", "the page's block", "a sign-in"],
)
def test_after_each_of_the_pages_ways_out_the_list_shows_the_model_and_it_answers(minimax, env, config, model):
    session = minimax()
    assert session.run("ask", "--model", "minimax/MiniMax-M2.1", "Hello").stderr.startswith(
        "Unknown model: minimax/MiniMax-M2.1\n"
    )
    assert session.run("models", "list", "--plain").stdout == ""
    if config is not None:
        session.paths.config.write_text(config, encoding="utf-8")
    elif not env:
        session.sign_in("--region", "global")

    listed = json.loads(session.ok("models", "list", "--json", env=env))["models"]

    assert {row["key"]: row["available"] for row in listed}[model] is True
    assert "answering as MiniMax-M2.1" in session.ok("ask", "--model", model, "Hello", env=env)


@pytest.mark.requirement("P12")
@pytest.mark.parametrize("name", [M21, "minimax-m2.1"])
def test_set_changes_the_default_and_touches_nothing_else(configured, paths, name):
    done = configured("models", "set", name)

    assert done.stdout == f"Default model: {M21}\n"
    assert f"Updated {paths.config}" in done.stderr
    text = paths.config.read_text(encoding="utf-8")
    assert "// the page's fallback example" in text
    assert f'primary: "{M21}", fallbacks: ["minimax/MiniMax-M2.1"]' in text
    again = configured("models", "set", name)
    assert (again.stdout, again.stderr) == (f"Default model: {M21}\n", "")


@pytest.mark.requirement("P14")
@pytest.mark.parametrize(
    ("typed", "meant"), [("minimax-portal/minimax-m2.1", M21), ("minimax-portal/MiniMax-M2.1-Lightning", LIGHTNING)]
)
def test_set_refuses_a_wrong_case_with_a_did_you_mean(configured, paths, typed, meant):
    done = configured("models", "set", typed)

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"Unknown model: {typed}"
    assert f"Did you mean {meant}?" in done.stderr
    assert paths.config.read_text(encoding="utf-8") == CONFIG


def test_set_refuses_what_is_no_reference(configured):
    done = configured("models", "set", "MiniMax-M9")

    assert done.returncode == 2
    assert "Invalid model reference: MiniMax-M9" in done.stderr


def test_list_refuses_a_provider_that_nobody_brings(configured):
    done = configured("models", "list", "--provider", "minimax-portl")

    assert done.returncode == 2
    assert "Did you mean minimax-portal?" in done.stderr
