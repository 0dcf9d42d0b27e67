from __future__ import annotations

import pytest

from portico.config.layers import load_config
from portico.errors import ConfigError
from portico.paths import Paths


@pytest.fixture
def places(tmp_path):
    return Paths(config=tmp_path / "portico.json5", state=tmp_path / "state", state_id="test")


def test_a_missing_file_is_the_default_configuration(places):
    loaded = load_config(places, {})
    assert loaded.config.gateway.port == 18444
    assert (loaded.problems, loaded.file.path) == ((), places.config)
    assert not places.state.exists()


def test_variables_come_from_the_process_first(places):
    places.config.write_text("{ env: { A: 'config', B: 'config' } }", encoding="utf-8")
    assert load_config(places, {"A": "process"}).env == {"A": "process", "B": "config"}


def test_warnings_do_not_stop_anybody(places):
    places.config.write_text("{ plugins: { colour: 1 } }", encoding="utf-8")
    (problem,) = load_config(places, {}).problems
    assert (problem.level, problem.where) == ("warning", f"{places.config}:1:14")


def test_one_error_is_told_with_its_place_and_what_was_meant(places):
    places.config.write_text("{ gateway: { prot: 1 } }", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(places, {})
    error = caught.value
    assert (error.id, error.where, error.hint) == ("config-invalid", f"{places.config}:1:14", "did you mean `port`?")


def test_all_errors_are_told_at_once(places):
    places.config.write_text("{\n gateway: { prot: 1 },\n plugins: { enabled: 1 },\n}", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(places, {})
    assert caught.value.message.splitlines() == [
        f"2 errors in {places.config}:",
        f"  {places.config}:2:13: `gateway.prot` is not a key that Portico knows (did you mean `port`?)",
        f"  {places.config}:3:22: `plugins.enabled` must be true or false",
    ]
