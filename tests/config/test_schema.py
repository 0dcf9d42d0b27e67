"""The table of keys: the check of each key, and the JSON Schema for editors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from portico.config.check import check
from portico.config.document import Document
from portico.config.load import checked_for_openclaw
from portico.config.schema import DRAFT, TOP, Key, is_known, json_schema, portico_only_paths
from portico.errors import ConfigError
from portico.plugins.manifest import config_problems

DATA = Path(__file__).parent / "data"
GOOD = {"string": "x", "text": "x", "secret": "x", "flag": True, "whole": 1, "amount": 0.5, "texts": ["x"], "any": 1}
BAD = {
    "string": 1,
    "text": 1,
    "secret": 1,
    "flag": "x",
    "whole": "x",
    "amount": "x",
    "texts": 1,
    "object": 1,
    "map": 1,
    "array": 1,
}


def sample(key: Key, name: str = "") -> object:
    """A value that has everything."""
    if key.kind == "object":
        return {inner: sample(of, inner) for inner, of in key.keys.items()}
    if key.kind == "map":
        return {**{inner: sample(of, inner) for inner, of in key.keys.items()}, "one": sample(key.of)}
    if key.kind == "array":
        return [sample(key.of)]
    return "https://h.example" if name == "baseUrl" else key.words[0] if key.words else GOOD[key.kind]


def all_keys(key: Key, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Key]]:
    """Every key of the table with a path to it."""
    keys = [(path, key)] if path else []
    for name, inner in key.keys.items():
        keys += all_keys(inner, (*path, name))
    if key.of is not None:
        keys += all_keys(key.of, (*path, 0 if key.kind == "array" else "one"))
    return keys


def changed(path: tuple[str | int, ...], value: object) -> Document:
    document = Document.parse(json.dumps(sample(TOP)), name="f")
    return document.set(path, value)


ALL_KEYS = [pytest.param(path, key, id=".".join(map(str, path))) for path, key in all_keys(TOP)]


def test_a_configuration_that_has_every_key_of_the_table_is_taken_without_a_word():
    config, problems = check(Document.parse(json.dumps(sample(TOP)), name="f"))
    assert problems == []
    assert [*config_problems(json_schema(), sample(TOP))] == []
    assert (config.base, config.gateway.models, config.auth.store) == ("x", {"one": "x"}, "keyring")


@pytest.mark.parametrize(("path", "key"), [param for param in ALL_KEYS if param.values[1].kind in BAD])
def test_a_value_of_another_type_is_an_error_for_the_checker_and_for_the_schema(path, key):
    wrong = changed(path, BAD[key.kind] if not key.or_text else ["x"])
    problems = check(wrong)[1]
    assert path in [problem.path for problem in problems if problem.level == "error"]
    assert [*config_problems(json_schema(), wrong.value())]


@pytest.mark.parametrize(("path", "key"), [param for param in ALL_KEYS if param.values[1].words])
def test_a_word_that_is_none_of_those_is_an_error_for_both(path, key):
    wrong = changed(path, "nobodys")
    assert path in [problem.path for problem in check(wrong)[1] if problem.level == "error"]
    assert [*config_problems(json_schema(), wrong.value())]
    for word in key.words:
        assert [*config_problems(json_schema(), changed(path, word).value())] == []


@pytest.mark.parametrize(("path", "key"), [param for param in ALL_KEYS if param.values[1].kind == "whole"])
def test_a_number_out_of_bounds_is_an_error_for_both(path, key):
    for number in [key.minimum - 1, *([] if key.maximum is None else [key.maximum + 1])]:
        wrong = changed(path, number)
        assert path in [problem.path for problem in check(wrong)[1] if problem.level == "error"]
        assert [*config_problems(json_schema(), wrong.value())]


@pytest.mark.parametrize(
    ("path", "key"), [param for param in ALL_KEYS if param.values[1].kind == "object" and param.values[1].keys]
)
def test_a_key_that_is_not_in_the_table_is_not_read(path, key):
    problems = check(changed((*path, "zzzzzz"), 1))[1]
    assert [problem.path for problem in problems] == [(*path, "zzzzzz")]


def test_every_section_is_known_by_name():
    assert all(is_known(name) for name in TOP.keys)


def test_what_is_marked_as_porticos_own_is_what_may_not_be_written_into_openclaws_file():
    tiers = ("models", "providers", "one", "models", 0, "cost", "tiers")
    assert [*portico_only_paths(sample(TOP))] == [
        ("base",),
        ("history",),
        ("auth", "store"),
        tiers,
        ("agents", "defaults", "allow"),
        ("gateway", "models"),
    ]
    model = {"id": "x", "name": "x", "cost": {"input": 1}}
    one = {"models": {"providers": {"one": {"baseUrl": "https://h.example", "models": [model]}}}}
    for path in portico_only_paths(sample(TOP)):
        before = Document.parse(json.dumps(one), name="f")
        with pytest.raises(ConfigError):
            checked_for_openclaw(before, before.set(path, sample(dict(all_keys(TOP))[path])))


@pytest.mark.parametrize("path", sorted(DATA.iterdir()), ids=lambda path: path.name)
def test_the_provider_pages_snippets_and_openclaws_own_file_hold_by_the_schema(path):
    value = Document.parse(path.read_text(encoding="utf-8"), name=path.name).value()
    assert [*config_problems(json_schema(), value)] == []


def test_the_schema_has_its_draft_describes_its_keys_and_allows_includes_anywhere():
    schema = json_schema()
    assert schema["$schema"] == DRAFT == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    assert all(key.description for path, key in all_keys(TOP) if isinstance(path[-1], str) and path[-1] != "one")
    included = {"$include": ["a.json5"], "models": {"$include": "b.json5", "providers": {"$include": "c.json5"}}}
    assert [*config_problems(schema, included)] == []
