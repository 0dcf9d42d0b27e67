"""`config path|get|set|unset|validate`, by their words and exit codes."""

from __future__ import annotations

import io
import json
import os

import pytest

from portico.cli.main import main
from portico.gateway import control
from portico.paths import resolve_paths
from portico.testing.canary import canary, exempt

TEXT = """{
  // who answers
  agents: { defaults: { model: { primary: "minimax/MiniMax-M2.1" } } },
  gateway: { port: 18500 }, // mine
}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    path = tmp_path / "home" / "portico.json5"
    path.parent.mkdir()
    path.write_text(TEXT, encoding="utf-8")
    monkeypatch.setenv("PORTICO_CONFIG", str(path))
    monkeypatch.setenv("PORTICO_STATE_DIR", str(tmp_path / "state"))
    return path


@pytest.fixture
def portico(config, capsys):
    def run(*words: str) -> tuple[int, str, str]:
        code = main(["config", *words], program="portico")
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_path_names_the_file(portico, config):
    assert portico("path") == (0, f"{config}\n", "")
    assert json.loads(portico("path", "--json")[1]) == {"path": str(config), "exists": True}


def test_get_prints_text_as_it_is_and_the_rest_as_json(portico):
    assert portico("get", "agents.defaults.model.primary") == (0, "minimax/MiniMax-M2.1\n", "")
    assert portico("get", "gateway.port") == (0, "18500\n", "")
    assert portico("get", "agents.defaults.model.primary", "--json") == (0, '"minimax/MiniMax-M2.1"\n', "")
    assert json.loads(portico("get", "gateway")[1]) == {"port": 18500}
    assert list(json.loads(portico("get")[1])) == ["agents", "gateway"]


@pytest.mark.requirement("E78")
def test_get_of_what_is_not_there_says_so_and_exits_1(portico):
    code, out, err = portico("get", "gateway.prot")
    assert (code, out) == (1, "")
    assert "Config path not found: gateway.prot" in err
    assert "Did you mean `gateway.port`?" in err
    assert "Config path not found: agents.list[0]" in portico("get", "agents.list[0]")[2]


def test_get_masks_secrets_unless_told_otherwise(portico, config):
    exempt(config.parent)
    key, header = canary("key"), canary("key")
    config.write_text(
        f"{{ env: {{ MINIMAX_API_KEY: '{key}' }}, models: {{ providers: {{ p: {{ apiKey: '${{X}}',"
        f" headers: {{ Authorization: 'Bearer {header}' }}, models: [{{ id: 'm', maxTokens: 5 }}] }} }} }},"
        " url: 'https://h/?access_token=abcdefgh', tokenEndpoint: 'https://h/token' }",
        encoding="utf-8",
    )
    shown = json.loads(portico("get")[1])
    provider = shown["models"]["providers"]["p"]
    assert shown["env"] == {"MINIMAX_API_KEY": "[redacted]"}
    assert (provider["apiKey"], provider["headers"]) == ("${X}", {"Authorization": "[redacted]"})
    assert (provider["models"], shown["tokenEndpoint"]) == ([{"id": "m", "maxTokens": 5}], "https://h/token")
    assert "abcdefgh" not in shown["url"]
    assert portico("get", "env.MINIMAX_API_KEY")[1] == "[redacted]\n"
    assert portico("get", "env.MINIMAX_API_KEY", "--reveal")[1] == f"{key}\n"


@pytest.mark.requirement("S6")
def test_set_changes_one_value_and_says_so(portico, config):
    assert portico("set", "gateway.port", "18501") == (0, "Updated gateway.port.\n", "")
    assert config.read_text(encoding="utf-8") == TEXT.replace("18500", "18501")
    assert portico("set", "gateway.port", "18501") == (0, "gateway.port already has this value.\n", "")


def test_set_tells_to_restart_a_gateway_that_runs(portico):
    paths = resolve_paths()
    control.start(paths, port=0)
    try:
        assert portico("set", "gateway.port", "18501")[1] == "Updated gateway.port. Restart the gateway to apply.\n"
        assert portico("unset", "gateway")[1] == "Removed gateway. Restart the gateway to apply.\n"
    finally:
        control.stop(paths)


def test_set_takes_json5_or_else_plain_text(portico, config):
    portico("set", r"agents.defaults.models.minimax/MiniMax-M2\.1", "{ alias: 'mini' }")
    portico("set", "agents.defaults.model.primary", "minimax/MiniMax-M2.1-lightning")
    assert json.loads(portico("get", "agents.defaults")[1]) == {
        "model": {"primary": "minimax/MiniMax-M2.1-lightning"},
        "models": {"minimax/MiniMax-M2.1": {"alias": "mini"}},
    }
    code, out, _ = portico("set", "agents.defaults.model.primary", "plain text", "--json")
    assert (code, json.loads(out)["error"]["id"]) == (2, "usage")
    assert json.loads(portico("set", "gateway.port", "18502", "--json")[1]) == {"changed": True, "path": str(config)}


def test_set_reads_a_secret_from_standard_input(portico, config, monkeypatch):
    exempt(config.parent)
    key = canary("key")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{key}\n"))
    assert portico("set", "env.MINIMAX_API_KEY", "-") == (0, "Updated env.MINIMAX_API_KEY.\n", "")
    assert f'env: {{ MINIMAX_API_KEY: "{key}" }}' in config.read_text(encoding="utf-8")
    code, out, err = portico("unset", "env.MINIMAX_API_KEY")
    assert (code, out) == (0, "Removed env.MINIMAX_API_KEY.\n")
    assert "portico.json5.bak" in err


@pytest.mark.requirement("E78")
@pytest.mark.parametrize(
    ("path", "value", "code", "said"),
    [
        ("gateway.port", "0", 9, "`gateway.port` must be 1-65535"),
        ("gateway.prot", "1", 9, "did you mean `port`?"),
        ("gateway.port.x", "1", 9, "`gateway.port` is neither an object nor an array"),
        ("gateway..port", "1", 2, "is not a path in the config"),
    ],
)
def test_set_refuses_what_would_break_the_file(portico, config, path, value, code, said):
    got, out, err = portico("set", path, value)
    assert (got, out) == (code, "")
    assert said in err
    assert config.read_text(encoding="utf-8") == TEXT


def test_set_mends_a_file_that_has_errors(portico, config):
    config.write_text("{ gateway: { port: 0 }, plugins: { enabled: 'x' } }", encoding="utf-8")
    assert portico("set", "gateway.port", "18500")[0] == 0
    assert portico("validate")[0] == 9
    assert portico("set", "plugins.enabled", "true")[0] == 0
    assert portico("validate") == (0, f"{config} is valid.\n", "")


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.requirement("E44")
@pytest.mark.parametrize(("mode", "warned"), [(0o644, False), (0o600, False), (0o666, True), (0o646, True)])
def test_a_file_that_others_may_write_is_warned_of(portico, config, capsys, mode, warned):
    config.chmod(mode)

    code, out, _ = portico("validate")
    main(["plugins", "list"], program="portico")

    assert code == 0
    assert ("may change it" in out) is warned
    assert ("may change it" in capsys.readouterr().err) is warned


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes")
@pytest.mark.requirement("E44")
@pytest.mark.parametrize(
    ("path", "value", "mode"),
    [
        ("env.MINIMAX_API_KEY", canary("key"), 0o600),
        ("models.providers.mine", f"{{ baseUrl: 'https://api.example', apiKey: '{canary('key')}' }}", 0o600),
        ("env.MINIMAX_API_KEY", "${ELSEWHERE}", 0o666),
        ("gateway.port", "18501", 0o666),
    ],
    ids=["key", "key in an object", "reference", "no secret"],
)
def test_setting_a_secret_makes_the_file_private(portico, config, path, value, mode):
    exempt(config)
    config.chmod(0o666)

    assert portico("set", path, value)[0] == 0

    assert config.stat().st_mode & 0o777 == mode


def test_unset_takes_one_value_away(portico, config):
    assert portico("unset", "gateway") == (0, "Removed gateway.\n", "")
    assert config.read_text(encoding="utf-8") == TEXT.replace("  gateway: { port: 18500 }, // mine\n", "")
    code, _, err = portico("unset", "gateway")
    assert code == 1
    assert "Config path not found: gateway" in err


def test_validate_names_every_problem_at_its_place(portico, config):
    config.write_text("{ gateway: { port: 0 }, plugins: { colour: 1 } }", encoding="utf-8")
    code, out, _ = portico("validate")
    assert code == 9
    assert out.splitlines() == [
        f"error: {config}:1:20: `gateway.port` must be 1-65535",
        f"warning: {config}:1:36: `plugins.colour` is not a key that Portico knows; it has no effect",
    ]
    told = json.loads(portico("validate", "--json")[1])
    assert (told["valid"], [each["path"] for each in told["problems"]]) == (False, ["gateway.port", "plugins.colour"])
    config.unlink()
    assert "does not exist" in portico("validate")[1]


def test_a_file_that_is_not_json5_is_named_with_the_place(portico, config):
    config.write_text("{\n  gateway: [\n}", encoding="utf-8")
    for words in (["get", "gateway"], ["set", "a", "1"], ["validate"]):
        code, out, err = portico(*words)
        assert (code, out) == (9, "")
        assert f"{config}:3:1: a value is missing here" in err
    assert portico("path")[0] == 0


ENTRY = "plugins.entries.minimax-portal-auth.config"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{ENTRY}.portals.globl.clientId", "x", f"`{ENTRY}.portals.globl` is unknown; did you mean global?"),
        (f"{ENTRY}.portals.global.flow", "sideways", f"`{ENTRY}.portals.global.flow` must satisfy enum"),
    ],
)
def test_what_a_plugin_would_not_load_with_is_refused_and_found(portico, config, path, value, said):
    code, _, err = portico("set", path, value)
    assert code == 9
    assert said in err
    assert config.read_text(encoding="utf-8") == TEXT

    at = path.removeprefix(f"{ENTRY}.portals.").split(".")
    entry = {"config": {"portals": {at[0]: {at[1]: value}}}}
    config.write_text(json.dumps({"plugins": {"entries": {"minimax-portal-auth": entry}}}), encoding="utf-8")
    code, out, _ = portico("validate")
    assert code == 9
    assert out.startswith(f"error: {config}:1:")
    assert said in out


def test_a_plugins_right_settings_are_taken(portico):
    assert portico("set", f"{ENTRY}.portals.cn.clientId", "mine")[0] == 0
    assert portico("validate")[0] == 0


def test_a_plugins_wrong_setting_is_found_in_a_file_that_an_edit_brings_in_and_hinders_no_other_edit(portico, config):
    entry = {"config": {"portals": {"global": {"flow": "sideways"}}}}
    base = config.with_name("openclaw.json")
    base.write_text(json.dumps({"plugins": {"entries": {"minimax-portal-auth": entry}}}), encoding="utf-8")
    code, _, err = portico("set", "base", str(base))
    assert (code, config.read_text(encoding="utf-8")) == (9, TEXT)
    assert f"`{ENTRY}.portals.global.flow` must satisfy enum" in err

    config.write_text(json.dumps({"base": str(base)}), encoding="utf-8")
    assert portico("set", "gateway.port", "18555")[0] == 0


def test_setting_what_nobody_reads_is_warned_of(portico):
    code, out, err = portico("set", "portals.global.clientId", "mine")
    assert (code, out) == (0, "Updated portals.global.clientId.\n")
    assert err == "portico: `portals` is not a key that Portico knows; it has no effect.\n"
    assert portico("set", "logging.level", "debug")[2] == ""


@pytest.mark.parametrize("words", [("config", "validate"), ("config", "get"), ("plugins", "list")])
def test_a_file_that_is_named_has_to_be_there_unless_it_is_being_made(words, config, tmp_path, capsys):
    missing = tmp_path / "misspelt.json5"
    assert main([*words, "--config", str(missing)], program="portico") == 9
    assert f"There is no config file at {missing}." in capsys.readouterr().err
    assert main(["config", "set", "gateway.port", "18501", "--config", str(missing)], program="portico") == 0
    assert main([*words, "--config", str(missing)], program="portico") == 0


def test_the_placeholder_of_a_signed_in_provider_is_shown(portico):
    assert portico("set", "models.providers.minimax-portal.apiKey", "minimax-oauth")[0] == 0
    assert portico("get", "models.providers.minimax-portal.apiKey") == (0, "minimax-oauth\n", "")
