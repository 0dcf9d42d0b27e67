from __future__ import annotations

import json

import pytest

from portico.errors import ConfigError
from portico.plugins.manifest import AuthChoice, PluginFailed, read_manifest

GOOD = {"id": "acme", "name": "Acme", "description": "A plugin", "module": "acme.plugin"}


def _write(tmp_path, value):
    path = tmp_path / "portico.plugin.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_manifest_says_what_the_plugin_is_without_its_code(tmp_path):
    choice = {"id": "acme", "provider": "acme", "label": "Acme", "hint": "in the browser"}
    manifest = read_manifest(_write(tmp_path, {**GOOD, "providers": ["acme"], "authChoices": [choice], "dialects": ["d"]}))
    assert (manifest.id, manifest.providers, manifest.dialects) == ("acme", ("acme",), ("d",))
    assert manifest.auth_choices == (AuthChoice("acme", "acme", "Acme", "in the browser"),)
    assert manifest.version is None


def test_a_manifest_of_today_says_which_plugin_api_it_is_written_for_and_an_older_one_does_not(tmp_path):
    assert read_manifest(_write(tmp_path, {**GOOD, "api": 1})) == read_manifest(_write(tmp_path, GOOD))


def test_a_manifest_without_a_schema_takes_no_config(tmp_path):
    assert read_manifest(_write(tmp_path, GOOD)).config_schema == {"type": "object", "additionalProperties": False}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "failed to parse plugin manifest"),
        ("[" * 100_000, "failed to parse plugin manifest"),
        ("[]", "plugin manifest must be an object"),
        ({}, "plugin manifest requires id"),
        ({**GOOD, "id": " "}, "plugin manifest requires id"),
        ({**GOOD, "name": 3}, "plugin manifest requires name"),
        ({**GOOD, "name": "\x1b[2J"}, "name must be one line of printable text"),
        ({**GOOD, "authChoices": [{"id": "a", "provider": "a", "label": "\x1b[2J"}]}, "authChoices must be a list"),
        ({**GOOD, "api": 2}, "needs version 2 of the plugin API, and this Portico has version 1: upgrade Portico"),
        ({**GOOD, "api": "1"}, "api must be a whole number"),
        ({**GOOD, "id": "Ac/me"}, "lower-case letters"),
        ({**GOOD, "module": "../evil"}, "must be a dotted name"),
        ({**GOOD, "version": 1}, "version must be a string"),
        ({**GOOD, "providers": "acme"}, "providers must be a list of strings"),
        ({**GOOD, "dialects": [1]}, "dialects must be a list of strings"),
        ({**GOOD, "authChoices": [{"id": "x"}]}, "authChoices must be a list"),
        ({**GOOD, "authChoices": [{"id": "a", "provider": "a", "label": "A", "aliases": ["b"]}]}, "authChoices must be a list"),
        (
            {**GOOD, "authChoices": [{"id": "a", "provider": "a", "label": "A", "aliases": {"b": 1}}]},
            "authChoices must be a list",
        ),
        ({**GOOD, "configSchema": []}, "configSchema must be an object"),
        (" " * 300_000, "larger than"),
    ],
)
def test_a_manifest_that_does_not_say_what_it_must_is_refused_with_its_place(tmp_path, content, message):
    path = _write(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as exc_info:
        read_manifest(path)
    assert (type(exc_info.value), exc_info.value.where) == (PluginFailed, str(path))


def test_a_missing_manifest_is_named(tmp_path):
    with pytest.raises(ConfigError, match="plugin manifest not found"):
        read_manifest(tmp_path / "portico.plugin.json")


def test_a_folder_in_place_of_a_manifest_is_an_error_not_a_crash(tmp_path):
    with pytest.raises(ConfigError, match="could not read plugin manifest"):
        read_manifest(tmp_path)
