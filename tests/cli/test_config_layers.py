"""`config` over several files, and what other commands do with one of them that cannot be used."""

from __future__ import annotations

import json

import pytest

from portico.cli.main import main
from portico.testing.canary import canary, exempt

BASE = """{
  // OpenClaw's
  env: { MINIMAX_API_KEY: "sk-base-0123456789" },
  agents: { defaults: { model: { primary: "minimax/MiniMax-M2.1", fallbacks: ["a/b"] }, models: { "minimax/MiniMax-M2.1": {} } } },
  gateway: { port: 18789 },
}
"""
OWN = "{\n  base: '../openclaw/openclaw.json', // below\n  gateway: { port: 18500 },\n}\n"


@pytest.fixture
def own(tmp_path, monkeypatch):
    for name, text in (("openclaw/openclaw.json", BASE), ("portico/portico.json5", OWN)):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    monkeypatch.setenv("PORTICO_CONFIG", str(tmp_path / "portico" / "portico.json5"))
    monkeypatch.setenv("PORTICO_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("MINIMAX_API_KEY", raising=False)
    return tmp_path / "portico" / "portico.json5"


@pytest.fixture
def base(own):
    return own.parents[1] / "openclaw" / "openclaw.json"


@pytest.fixture
def portico(own, capsys):
    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words], program="portico")
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


PRIMARY = "agents.defaults.model.primary"


def test_get_shows_the_value_that_counts_and_where_it_comes_from(portico, own, base):
    assert portico("config", "get", PRIMARY) == (0, "minimax/MiniMax-M2.1\n", "")
    assert portico("config", "get", "gateway.port", "--verbose") == (0, "18500\n", f"gateway.port: {own}:3:20\n")
    assert portico("config", "get", PRIMARY, "--verbose")[2] == f"{PRIMARY}: {base}:4:43\n"
    assert json.loads(portico("config", "get", PRIMARY, "--json", "--verbose")[1]) == {
        "path": PRIMARY,
        "value": "minimax/MiniMax-M2.1",
        "origin": {"file": str(base), "line": 4, "column": 43, "layer": "base"},
        "origins": {PRIMARY: f"{base}:4:43"},
    }
    whole = json.loads(portico("config", "get")[1])
    assert (whole["gateway"], whole["env"]) == ({"port": 18500}, {"MINIMAX_API_KEY": "[redacted]"})


def test_get_of_an_object_tells_the_place_of_each_part(portico, own, base):
    portico("config", "set", "agents.defaults.model.fallbacks", '["c/d"]')
    told = json.loads(portico("config", "get", "agents.defaults.model", "--json", "--verbose")[1])
    assert told["value"] == {"primary": "minimax/MiniMax-M2.1", "fallbacks": ["c/d"]}
    assert told["origins"][PRIMARY].startswith(f"{base}:")
    assert told["origins"]["agents.defaults.model.fallbacks[0]"].startswith(f"{own}:")


@pytest.mark.requirement("S6")
def test_set_writes_the_own_file_and_leaves_the_base_alone(portico, own, base):
    assert portico("config", "set", PRIMARY, "anthropic/claude-opus-4-6")[0] == 0
    assert base.read_text(encoding="utf-8") == BASE
    assert own.read_text(encoding="utf-8").startswith(OWN.removesuffix("}\n"))
    assert portico("config", "get", PRIMARY)[1] == "anthropic/claude-opus-4-6\n"


@pytest.mark.requirement("S6")
def test_write_base_changes_one_value_there_and_nothing_here(portico, own, base):
    said = portico("config", "set", PRIMARY, "anthropic/claude-opus-4-6", "--write-base")
    assert said == (0, f"Updated {PRIMARY} in {base}.\n", "")
    assert base.read_text(encoding="utf-8") == BASE.replace("minimax/MiniMax-M2.1", "anthropic/claude-opus-4-6", 1)
    assert own.read_text(encoding="utf-8") == OWN
    assert portico("config", "insert", "agents.defaults.model.fallbacks[0]", "x/y", "--write-base")[0] == 0
    assert 'fallbacks: ["x/y", "a/b"]' in base.read_text(encoding="utf-8")
    told = json.loads(portico("config", "unset", "agents.defaults.model.fallbacks", "--write-base", "--json")[1])
    assert told == {"changed": True, "path": str(base)}


def test_write_base_says_where_it_has_no_effect(portico):
    portico("config", "set", PRIMARY, "own/model")
    assert "has no effect, because" in portico("config", "set", PRIMARY, "base/model", "--write-base")[2]
    assert "is for OpenClaw only" in portico("config", "set", "gateway.port", "18790", "--write-base")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "gateway.models.x", "p/m", "--write-base"), "`gateway.models` is a key of Portico's own"),
        (("set", "models.mode", "marge", "--write-base"), '`models.mode` must be "merge" or "replace"'),
        (("set", "nobodys", "1", "--write-base"), "`nobodys` is not a key that Portico knows"),
        (("set", "agents.defaults.model.fallbacks[0]", "x/y"), "`agents.defaults.model.fallbacks` is set in another file"),
        (("insert", "agents.defaults.model.fallbacks[0]", "x/y"), "Set the whole of `agents.defaults.model.fallbacks`"),
        (("unset", PRIMARY), f"portico config unset --write-base {PRIMARY}"),
    ],
)
def test_what_would_do_other_than_it_says_is_refused(portico, own, base, words, said):
    code, out, err = portico("config", *words)
    assert (code, out) == (9, "")
    assert said in err
    assert (own.read_text(encoding="utf-8"), base.read_text(encoding="utf-8")) == (OWN, BASE)


def test_an_array_that_an_included_file_has_a_part_in_cannot_be_set_here(portico, own):
    own.with_name("deny.json5").write_text("{ deny: ['theirs'] }", encoding="utf-8")
    own.write_text("{ plugins: { $include: 'deny.json5', deny: ['mine'] } }", encoding="utf-8")
    code, _, err = portico("config", "set", "plugins.deny", '["other"]')
    assert code == 9
    assert "`plugins.deny` would not get this value" in err
    assert "deny.json5" not in own.read_text(encoding="utf-8").replace("'deny.json5'", "")


def test_unset_says_what_counts_then(portico, base):
    portico("config", "set", PRIMARY, "own/model")
    code, out, err = portico("config", "unset", PRIMARY)
    assert (code, out) == (0, f"Removed {PRIMARY}.\n")
    assert f"The effective value now comes from {base}:4:43." in err


def test_without_a_base_there_is_none_to_write_to(portico, own):
    own.write_text("{}", encoding="utf-8")
    code, _, err = portico("config", "set", PRIMARY, "x/y", "--write-base")
    assert (code, "names no base" in err) == (9, True)


def test_insert_puts_an_element_into_an_array(portico, own):
    portico("config", "set", "plugins.deny", '["a", "b"]')
    assert portico("config", "insert", "plugins.deny[1]", "x") == (0, "Inserted plugins.deny[1].\n", "")
    assert json.loads(portico("config", "get", "plugins.deny")[1]) == ["a", "x", "b"]
    assert portico("config", "insert", "plugins.deny[9]", "x")[0] == 9


def test_validate_covers_every_file(portico, own, base):
    code, out, _ = portico("config", "validate")
    assert (code, out) == (0, f"{own} is valid. So are the files it uses: {base}.\n")
    own.with_name("models.json").write_text('{ "providers": { "p": { "models": [{}] } } }', encoding="utf-8")
    own.with_name(".env").write_text("A=1\nnonsense\n", encoding="utf-8")
    base.write_text("{ models: { mode: 'marge' } }", encoding="utf-8")
    own.write_text(OWN.replace("18500", "0"), encoding="utf-8")
    code, out, _ = portico("config", "validate", "--json")
    told = json.loads(out)
    assert (code, told["valid"]) == (9, False)
    assert told["files"] == [str(base), str(own.with_name("models.json")), str(own.with_name(".env"))]
    assert [(each["level"], each["where"].removeprefix(str(own.parents[1]))) for each in told["problems"]] == [
        ("error", "/portico/portico.json5:3:20"),
        ("error", "/openclaw/openclaw.json:1:19"),
        ("error", "/portico/models.json:1:36"),
        ("warning", "/portico/.env"),
        ("warning", "/portico/.env:2:1"),
    ]
    assert [each["layer"] for each in told["problems"]] == ["own", "base", "own", "own", "own"]


def test_schema_prints_what_editors_need(portico):
    code, out, err = portico("config", "schema")
    assert (code, err) == (0, "")
    assert json.loads(out)["properties"]["gateway"]["properties"]["port"]["maximum"] == 65535
    assert portico("config", "schema", "--json")[1] == out


# --- a file that cannot be used --------------------------------------------------------------------------------------------

BROKEN = {
    "syntax": "{ models: {,",
    "type": "{ models: { providers: { minimax: { baseUrl: 5 } } } }",
    "include": "{ $include: 'gone.json5' }",
}


@pytest.mark.requirement("E75")
@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_base_stops_who_chooses_a_model_and_nobody_else(portico, base, text):
    base.write_text(text, encoding="utf-8")
    for words in (["models", "list"], ["ask", "hello"], ["models", "set", "minimax/MiniMax-M2.1"]):
        code, out, err = portico(*words)
        assert (code, out) == (9, ""), words
        assert f"{base}:1:" in err
    for words in (["plugins", "list"], ["plugins", "enable", "minimax-portal-auth"], ["auth", "list"], ["gateway", "status"]):
        code, _, err = portico(*words)
        assert code == 0, (words, err)
        assert words[0] == "gateway" or "this command ignores it" in err
    assert portico("config", "set", "gateway.port", "18501")[0] == 0
    assert portico("config", "get", "gateway.port")[1] == "18501\n"
    assert portico("config", "validate")[0] == 9


@pytest.mark.requirement("E75")
@pytest.mark.parametrize("text", [BROKEN["syntax"], BROKEN["include"]])
def test_what_a_file_that_cannot_be_read_may_have_a_say_in_is_not_shown_as_what_counts(portico, base, text):
    base.write_text(text, encoding="utf-8")
    for at in (PRIMARY, "gateway"):
        code, out, err = portico("config", "get", at)
        assert (code, out, f"{base}:1:" in err) == (9, "", True)


@pytest.mark.requirement("E75")
def test_a_bad_entry_of_a_plugin_stops_nobody_and_is_shown_with_that_plugin(portico, own):
    own.write_text("{ plugins: { entries: { 'minimax-portal-auth': { enabled: 'yes' }, stale: {} } } }", encoding="utf-8")
    reason = f"{own}:1:59: `plugins.entries.minimax-portal-auth.enabled` must be true or false"
    code, out, err = portico("models", "list", "--all")
    assert (code, reason in err, "minimax/MiniMax-M2.1" in out) == (0, True, True)
    (record,) = json.loads(portico("plugins", "list", "--json")[1])["plugins"]
    assert (record["status"], record["error"]) == ("error", reason)
    assert f"Error: {reason}" in portico("plugins", "info", "minimax-portal-auth")[1]
    code, out, _ = portico("plugins", "doctor")
    assert code == 9
    assert f"- minimax-portal-auth: {reason}" in out
    assert "plugins.entries: plugin not found: stale" in out
    assert portico("plugins", "enable", "minimax-portal-auth")[0] == 0
    assert json.loads(portico("plugins", "list", "--json")[1])["plugins"][0]["status"] == "loaded"


def test_plugins_that_only_openclaw_knows_are_not_called_missing(portico, own, base):
    base.write_text("{ plugins: { entries: { telegram: { enabled: true, config: { a: 1 } } } } }", encoding="utf-8")
    assert json.loads(portico("plugins", "list", "--json")[1])["diagnostics"] == []


@pytest.mark.requirement("E75")
def test_warnings_are_said_beside_every_command_and_many_are_summed_up(portico, own):
    own.write_text("{ zebra: 1 }", encoding="utf-8")
    _, _, err = portico("plugins", "list")
    assert err == f"portico: {own}:1:3: `zebra` is not a key that Portico knows; it has no effect\n"
    own.write_text("{ " + ", ".join(f"zebra{number}: 1" for number in range(9)) + " }", encoding="utf-8")
    _, _, err = portico("plugins", "list")
    assert len(err.splitlines()) == 6
    assert "4 more warnings: run `portico config validate`" in err


@pytest.mark.requirement("E75")
def test_no_secret_of_any_file_is_echoed(portico, own, base):
    exempt(own.parents[1])
    key = canary("key")
    base.write_text(
        f'{{ env: {{ A: "{key}" }}, models: {{ providers: {{ p: {{ baseUrl: "https://{key}@h" }} }} }} }}', encoding="utf-8"
    )
    own.with_name(".env").write_text(f"B={key}\n{key}\n", encoding="utf-8")
    for words in (
        ["config", "get"],
        ["config", "get", "--json", "--verbose"],
        ["config", "validate"],
        ["models", "list"],
        ["auth", "list"],
    ):
        _, out, err = portico(*words)
        assert key not in out + err


@pytest.mark.requirement("E75")
def test_with_a_broken_base_sign_ins_are_told_used_and_ended_but_not_which_one_would_be_taken(minimax, tmp_path):
    session = minimax()
    session.sign_in("--region", "global")
    broken = tmp_path / "openclaw.json"
    broken.write_text("{}", encoding="utf-8")
    session.ok("config", "set", "base", str(broken))
    broken.write_text("{ auth: {,", encoding="utf-8")

    (profile,) = json.loads(session.ok("auth", "list", "--json"))["profiles"]
    assert (profile["id"], profile["inUse"]) == ("minimax-portal:default", None)
    assert session.ok("auth", "list").splitlines()[-1].split()[-1] == "?"
    assert session.run("ask", "hello").returncode == 9
    assert session.ok("auth", "token").strip()
    assert session.run("auth", "logout", "--yes").returncode == 0


def test_a_base_that_is_broken_already_is_not_named_as_one(portico, own, base):
    own.write_text("{}", encoding="utf-8")
    base.write_text("{ auth: 5 }", encoding="utf-8")
    code, _, err = portico("config", "set", "base", str(base))
    assert (code, f"{base}:1:9" in err, own.read_text(encoding="utf-8")) == (9, True, "{}")
