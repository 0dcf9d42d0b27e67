"""`models list` asking providers, and where each price comes from."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from portico.config.document import Document
from portico.store.profiles import ProfileIndex
from portico.store.records import Failure

M21 = "minimax-portal/MiniMax-M2.1"


@pytest.fixture
def session(minimax):
    return minimax()


def rows(session, *options, **more):
    told = json.loads(session.ok("models", "list", "--json", *options, **more))
    return {row["key"]: row for row in told["models"]}


def corrections(session, text):
    (session.paths.config.parent / "models.json").write_text(text, encoding="utf-8")


@pytest.mark.requirement("P12")
def test_live_says_which_models_the_provider_has_and_adds_what_only_it_knows(session):
    session.sign_in("--region", "global")
    session.ok("models", "fallbacks", "add", "minimax-portal/MiniMax-M2.1-lightning")
    corrections(session, '{ "providers": { "minimax-portal": { "models": [{ "id": "MiniMax-M0" }] } } }')
    session.ok("config", "set", "agents.defaults.models", '{ "minimax-portal/MiniMax-M0": {} }')
    session.ok("config", "set", "agents.defaults.allow", '"all"')

    found = rows(session, "--live")

    assert found[M21]["listedBy"] == "minimax-portal"
    assert found["minimax-portal/MiniMax-M0"]["listedBy"] == "nobody"
    only_there = [key for key, row in found.items() if "live" in row["tags"]]
    assert only_there, found
    assert all(row["listedBy"] == "minimax-portal" for row in (found[key] for key in only_there))
    assert "listedBy" not in rows(session)[M21]


def test_a_provider_that_does_not_answer_stops_no_other(session, unused_tcp_port):
    session.sign_in("--region", "global")
    away = f"http://127.0.0.1:{unused_tcp_port}/v1"
    block = {"baseUrl": away, "apiKey": "x", "api": "openai-completions", "models": [{"id": "thing"}]}
    session.ok("config", "set", "models.providers.acme", json.dumps(block))

    done = session.run("models", "list", "--live", "--json")

    assert done.returncode == 0
    assert "acme: not reached:" in done.stderr
    assert json.loads(done.stdout)["models"][0]["listedBy"] == "minimax-portal"


@pytest.mark.requirement("P5")
def test_local_asks_lm_studio_which_models_it_has_loaded(minimax, unused_tcp_port):
    session = minimax(knobs={"lmstudio": str(unused_tcp_port)})
    session.ok("onboard", "--auth-choice", "lmstudio", "--non-interactive", "--no-check")
    session.ok("config", "set", "models.providers.lmstudio.baseUrl", json.dumps(f"http://127.0.0.1:{unused_tcp_port}/v1"))
    session.ok("config", "set", "models.providers.lmstudio.models", '[{ "id": "another" }]')

    found = rows(session, "--local")

    assert found["lmstudio/minimax-m2.1-gs32"]["listedBy"] == "lmstudio"
    assert "Add it to models.providers.lmstudio.models" in found["lmstudio/minimax-m2.1-gs32"]["missingReason"]
    assert (found["lmstudio/another"]["listedBy"], found["lmstudio/another"]["local"]) == ("nobody", True)


def test_a_price_names_where_it_comes_from(session):
    session.sign_in("--region", "global")
    catalogue = rows(session, "--all")["minimax/MiniMax-M2.1"]
    assert catalogue["priceSource"].startswith("https://")

    session.ok(
        "config",
        "set",
        "models.providers.acme",
        "{ baseUrl: 'https://a.example/v1', models: [{ id: 'thing', cost: { input: 1, output: 2 } }] }",
    )
    from_config = rows(session)["acme/thing"]
    assert from_config["cost"] == {"input": 1, "output": 2, "cacheRead": 0, "cacheWrite": 0}
    assert from_config["priceSource"].startswith(f"config: {session.paths.config}:")

    corrections(session, '{ "providers": { "acme": { "models": [{ "id": "thing", "cost": { "input": 3, "output": 4 } }] } } }')
    corrected = rows(session)["acme/thing"]
    assert (corrected["cost"]["input"], corrected["priceSource"]) == (3, str(session.paths.config.parent / "models.json"))


def test_set_can_write_into_the_openclaw_file_that_lies_underneath(session):
    session.sign_in("--region", "global")
    session.ok("config", "unset", "agents.defaults.model")
    base = session.paths.config.parent / "openclaw.json"
    base.write_text("{\n  // theirs\n  channels: { any: 1 },\n}\n", encoding="utf-8")
    missing = session.run("models", "set", M21, "--write-base")
    assert (missing.returncode, "base" in missing.stderr) == (9, True)
    session.ok("config", "set", "base", json.dumps(str(base)))

    done = session.run("models", "set", M21, "--write-base")

    assert f"Updated {base}" in done.stderr
    text = base.read_text(encoding="utf-8")
    assert "// theirs" in text
    assert Document.parse(text, name="base").value()["agents"]["defaults"]["model"]["primary"] == M21
    assert session.ok("models", "status", "--plain") == f"{M21}\n"
    session.ok("models", "set", "minimax-portal/MiniMax-M2.1-lightning")
    shadowed = session.run("models", "set", M21, "--write-base")
    assert "overrides it with" in shadowed.stderr

    # Fallbacks that stand here are no default model: to remove them would lose them, and change nothing.
    included = session.paths.config.parent / "ours.json5"
    included.write_text("{ agents: { defaults: { model: { primary: 'minimax-portal/MiniMax-M2' } } } }", encoding="utf-8")
    session.ok("config", "set", "agents.defaults.model", f'{{ fallbacks: ["{M21}"] }}')
    text = session.paths.config.read_text(encoding="utf-8")
    session.paths.config.write_text(text.replace("{", '{ "$include": "./ours.json5",', 1), encoding="utf-8")
    shadowed = session.run("models", "set", M21, "--write-base")
    assert "config unset" not in shadowed.stderr
    assert f"To use the new default: remove it from {included}" in shadowed.stderr


def test_a_sign_in_that_ended_is_expired_in_the_list(session):
    session.sign_in("--region", "global")
    ended = Failure(at=1, id="sign-in-expired", message="Refused.", terminal=True, code="invalid_grant")
    ProfileIndex(session.paths).update("minimax-portal:default", lambda one: replace(one, failure=ended))

    assert rows(session)[M21]["auth"] == "expired"
    assert rows(session)[M21]["available"] is False
