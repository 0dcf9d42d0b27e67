from __future__ import annotations

import pytest

from portico.plugins.manifest import config_problems

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "flow": {"enum": ["auto", "browser"]},
        "port": {"type": "integer", "minimum": 0, "maximum": 65535},
        "redirect": {"oneOf": [{"type": "boolean"}, {"$ref": "#/$defs/redirect"}]},
        "hosts": {"type": "array", "items": {"type": "string"}},
        "extra": {"type": "object", "additionalProperties": {"type": ["number", "null"]}},
        "version": {"const": 1},
    },
    "$defs": {"redirect": {"type": "object", "additionalProperties": False, "properties": {"port": {"type": "integer"}}}},
}


@pytest.mark.parametrize(
    "value",
    [
        {"id": "a"},
        {"id": "a", "flow": "auto", "port": 0, "redirect": True, "hosts": [], "extra": {"x": 1.5, "y": None}, "version": 1},
        {"id": "a", "redirect": {"port": 8080}, "hosts": ["h"]},
    ],
)
def test_what_the_schema_allows_passes(value):
    assert list(map(str, config_problems(SCHEMA, value))) == []


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([], "config: must be object"),
        ({}, "id: is required"),
        ({"id": ""}, "id: must satisfy minLength 1"),
        ({"id": "a", "flow": "x"}, "flow: must satisfy enum ['auto', 'browser']"),
        ({"id": "a", "port": 70000}, "port: must satisfy maximum 65535"),
        ({"id": "a", "port": -1}, "port: must satisfy minimum 0"),
        ({"id": "a", "port": True}, "port: must be integer"),
        ({"id": "a", "redirect": {"prot": 1}}, "redirect: matches none of the allowed forms"),
        ({"id": "a", "hosts": ["a", 2]}, "hosts[1]: must be string"),
        ({"id": "a", "extra": {"x": "y"}}, "extra.x: must be number or null"),
        ({"id": "a", "version": 2}, "version: must satisfy const 1"),
        ({"id": "a", "prot": 1}, "prot: is unknown; did you mean port?"),
    ],
)
def test_what_the_schema_does_not_allow_is_named_with_its_place_and_without_its_value(value, problem):
    assert list(map(str, config_problems(SCHEMA, value))) == [problem]
