"""The table of keys as JSON Schema (https://json-schema.org/draft/2020-12), for editors that complete and check as one types.

It allows keys that it does not name: OpenClaw has more of them. What it cannot say, such as which URLs may be named, is said by
`config validate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.config.keys import TOP

if TYPE_CHECKING:
    from portico.config.keys import Key
    from portico.interfaces.basics import JsonValue

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_TEXTS: Final[dict[str, JsonValue]] = {"type": "array", "items": {"type": "string", "minLength": 1}}
_INCLUDE: Final[dict[str, JsonValue]] = {
    "description": "Files that stand in the place of this object, relative to this one; keys beside it come on top.",
    "anyOf": [{"type": "string", "minLength": 1}, _TEXTS],
}


def json_schema() -> dict[str, JsonValue]:
    """The whole schema."""
    top = _schema(TOP)
    return {"$schema": DRAFT, "title": "Portico", **top, "$defs": {"include": _INCLUDE}}


def _schema(key: Key) -> dict[str, JsonValue]:
    schema = _SIMPLE[key.kind] if key.kind in _SIMPLE else _container(key)
    if key.kind == "text":
        schema = {"enum": [*key.words]} if key.words else schema
    elif key.kind == "whole":
        schema = {**schema, "minimum": key.low} | ({"maximum": key.high} if key.high is not None else {})
    if key.or_text:
        schema = {"anyOf": [{"type": "string", "minLength": 1}, schema]}
    return {"description": key.says, **schema} if key.says else dict(schema)


def _container(key: Key) -> dict[str, JsonValue]:
    if key.kind == "array":
        return {"type": "array", "items": _schema(key.of) if key.of is not None else {}}
    properties: dict[str, JsonValue] = {name: _schema(inner) for name, inner in key.keys.items()}
    schema: dict[str, JsonValue] = {"type": "object", "properties": {**properties, "$include": {"$ref": "#/$defs/include"}}}
    needed: list[JsonValue] = [name for name, inner in key.keys.items() if inner.required]
    if needed:
        schema["required"] = needed
    if key.of is not None:
        schema["additionalProperties"] = _schema(key.of)
    return schema


_SIMPLE: Final[dict[str, dict[str, JsonValue]]] = {
    "any": {},
    "string": {"type": "string"},
    "text": {"type": "string", "minLength": 1},
    "flag": {"type": "boolean"},
    "whole": {"type": "integer"},
    "amount": {"type": "number", "minimum": 0},
    "texts": _TEXTS,
}
