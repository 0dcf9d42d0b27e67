"""The config of a command, and the errors of a faulty config."""

from __future__ import annotations

import os

import pytest

from portico.config.document import ConfigFile
from portico.config.load import load_config
from portico.errors import ConfigError
from portico.paths import Paths
from portico.testing.canary import canary, exempt


@pytest.fixture
def config_paths(tmp_path):
    return Paths(config=tmp_path / "portico.json5", state=tmp_path / "state", state_id="test")


def test_a_missing_file_is_the_default_configuration(config_paths):
    loaded = load_config(config_paths, {})
    assert loaded.config.gateway.port == 18444
    assert (loaded.problems, loaded.file.path) == ((), config_paths.config)
    assert not config_paths.state.exists()


def test_variables_come_from_the_process_first(config_paths):
    config_paths.config.write_text("{ env: { A: 'config', B: 'config' } }", encoding="utf-8")
    assert load_config(config_paths, {"A": "process"}).env == {"A": "process", "B": "config"}


def test_warnings_do_not_stop_anybody(config_paths):
    config_paths.config.write_text("{ plugins: { colour: 1 } }", encoding="utf-8")
    (problem,) = load_config(config_paths, {}).problems
    assert (problem.level, problem.where) == ("warning", f"{config_paths.config}:1:14")


def test_one_error_has_its_place_and_a_suggestion(config_paths):
    config_paths.config.write_text("{ gateway: { prot: 1 } }", encoding="utf-8")
    with pytest.raises(ConfigError) as exc_info:
        load_config(config_paths, {})
    error = exc_info.value
    assert (error.id, error.where, error.hint) == ("config-invalid", f"{config_paths.config}:1:14", "did you mean `port`?")


def test_all_errors_are_reported_at_once(config_paths):
    config_paths.config.write_text("{\n gateway: { prot: 1 },\n plugins: { enabled: 1 },\n}", encoding="utf-8")
    with pytest.raises(ConfigError) as exc_info:
        load_config(config_paths, {})
    assert exc_info.value.message.splitlines() == [
        f"2 errors in {config_paths.config}:",
        f"  {config_paths.config}:2:13: `gateway.prot` is not a key that Portico knows (did you mean `port`?)",
        f"  {config_paths.config}:3:22: `plugins.enabled` must be true or false",
    ]


# --- faults of a file ------------------------------------------------------------------------------------------------------


def error_of(files) -> ConfigError:
    with pytest.raises(ConfigError) as exc_info:
        files.load()
    return exc_info.value


@pytest.mark.requirement("E75")
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("\ufeff{\r\n  gateway: { port: 0 },\r\n}\r\n", "2:20"),
        ("{\r  gateway: { port: 0 },\r}", "2:20"),
        ("// caf\u00e9 \U0001f600\n{ gateway: { port: 0 } }", "2:20"),
        ("{ gateway: { prot: 1 } }", "1:14"),
        ("{ gateway: { port: '18500' } }", "1:20"),
        ("{ gateway: 18500 }", "1:12"),
        ("[]", "1:1"),
    ],
)
def test_a_fault_has_the_file_and_the_line_and_column_of_an_editor(files, text, where):
    files.write_own(text)
    assert error_of(files).where == f"{files.own}:{where}"


@pytest.mark.requirement("E75")
def test_what_is_written_twice_is_warned_of_where_it_loses(files):
    files.write_own("{ gateway: { port: 1111,\n port: 2222 } }")
    loaded = files.load()
    assert loaded.config.gateway.port == 2222
    assert files.warnings(loaded) == ["portico/portico.json5:1:14: `gateway.port` is written twice; the last value is used"]


@pytest.mark.requirement("E75")
def test_no_secret_is_in_the_errors_of_a_faulty_file(files):
    exempt(files.home)
    key = canary("key")
    files.write_own(
        f"""{{
        env: {{ A: ["{key}"], vars: "{key}" }},
        models: {{ mode: "{key}", providers: {{
            p: {{ apiKey: {{ source: "exec", id: "{key}" }}, baseUrl: "https://{key}@h.example", headers: {{ X: ["{key}"] }} }},
            q: {{ apiKey: ["{key}"], api: "{key}" }},
        }} }},
        plugins: {{ entries: {{ x: {{ enabled: "{key}", config: "{key}" }} }} }},
        base: ["{key}"],
    }}"""
    )
    error = error_of(files)
    assert "7 errors" in error.message  # the one of the base URL stops nothing
    assert key not in f"{error} {error.hint}"


@pytest.mark.requirement("E75")
def test_a_file_of_ten_megabytes_is_refused_at_once(files):
    files.write_own("{ a: '" + "x" * 10_000_000 + "' }")
    error = error_of(files)
    assert (error.id, error.message) == ("config-unreadable", f"Could not read {files.own}.")
    assert error.why == "it is larger than 4 MiB"
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        ConfigFile(files.own, files.paths.locks).edit(lambda document: document)


@pytest.mark.requirement("E75")
def test_an_edit_that_would_make_the_file_too_large_to_be_read_again_is_refused(files):
    files.write_own("{}")
    with pytest.raises(ConfigError, match="too large"):
        files.load().file.edit(lambda document: document.set(("a",), "x" * 5_000_000))
    assert files.own.read_text(encoding="utf-8") == "{}"


@pytest.mark.skipif(os.name != "posix", reason="POSIX modes and links")
@pytest.mark.requirement("E75")
def test_files_that_others_may_write_are_each_warned_of_behind_a_link_too(files):
    files.write_base("{ env: { $include: 'env.json5' } }").chmod(0o666)
    files.write("openclaw/env.json5", "{ A: '1' }").chmod(0o622)
    real = files.write_own("{ base: '../openclaw/openclaw.json' }").rename(files.home / "real.json5")
    files.own.symlink_to(real)
    real.chmod(0o602)
    assert files.warnings(files.load()) == [
        "portico/portico.json5: other users may change it (its mode is 0602) (chmod go-w portico/portico.json5)",
        "openclaw/openclaw.json: other users may change it (its mode is 0666) (chmod go-w openclaw/openclaw.json)",
        "openclaw/env.json5: other users may change it (its mode is 0622) (chmod go-w openclaw/env.json5)",
    ]


# --- problems that stop no command -----------------------------------------------------------------------------------------


@pytest.mark.requirement("E75")
@pytest.mark.parametrize(
    ("entry", "where", "message"),
    [
        ("5", "1:28", "`plugins.entries.x` must be an object"),
        ("null", "1:28", "`plugins.entries.x` must not be null"),
        ("{ enabled: 'yes' }", "1:39", "`plugins.entries.x.enabled` must be true or false"),
        ("{ enabld: true }", "1:30", "`plugins.entries.x.enabld` is not a key that Portico knows"),
        ("{ config: [] }", "1:38", "`plugins.entries.x.config` must be an object"),
    ],
)
def test_a_bad_entry_of_a_plugin_is_a_warning_and_that_plugin_alone_is_unusable(files, entry, where, message):
    files.write_own(f"{{ plugins: {{ entries: {{ x: {entry}, y: {{ enabled: true }} }} }}, gateway: {{ port: 18500 }} }}")
    loaded = files.load()
    (warning,) = loaded.problems
    assert (warning.level, warning.where, warning.plugin) == ("warning", f"{files.own}:{where}", "x")
    assert message in warning.message
    assert warning.message.endswith("the plugin x is not used")
    entries = loaded.config.plugins.entries
    assert message in entries["x"].problem
    assert (entries["y"].problem, entries["y"].enabled, loaded.config.gateway.port) == (None, True, 18500)


def test_an_unset_variable_stops_no_command_that_does_not_use_it(files):
    files.write_own(
        "{ models: { providers: { p: { apiKey: '${NOWHERE}', headers: { A: '${NOR_HERE}' }, models: [{ id: 'm' }] } } } }"
    )
    loaded = files.load()
    assert (loaded.problems, loaded.config.models.providers["p"].headers) == ((), {"A": "${NOR_HERE}"})
