"""Holding a plugin's own config to the `configSchema` of its manifest.

The part of JSON Schema that such schemas use: `type`, `enum`, `const`, `properties`, `required`, `additionalProperties`, `items`,
`anyOf`, `oneOf`, `minimum`, `maximum`, `minLength`, and `$ref` into the schema's own `$defs`; `format` where it is `uri`, which
is then held to the rules for URLs that requests may go to. Other keywords say nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from portico.config.document import ConfigPath, format_path
from portico.urls import why_not_a_safe_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portico.interfaces.basics import JsonValue

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "integer": (int,),
    "number": (int, float),
}


class SchemaProblem(NamedTuple):
    """Something that a schema does not allow, and where in the value it is."""

    path: ConfigPath
    message: str

    def __str__(self) -> str:
        return f"{format_path(self.path) or 'config'}: {self.message}"


def config_problems(schema: Mapping[str, JsonValue], value: object) -> Iterator[SchemaProblem]:
    """What in `value` the schema does not allow."""
    return _SchemaChecker(schema).problems(schema, value, ())


class _SchemaChecker:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = root.get("$defs") or {}

    def problems(self, schema: Mapping[str, Any], value: object, path: ConfigPath) -> Iterator[SchemaProblem]:
        schema = self._resolve(schema)
        wanted = schema.get("type")
        if wanted is not None and not _is_of_type(value, wanted):
            yield SchemaProblem(path, f"must be {_type_words(wanted)}")
            return
        for keyword, check in _CHECKS.items():
            if keyword in schema and not check(schema[keyword], value):
                yield SchemaProblem(path, f"must satisfy {keyword} {schema[keyword]!r}")
        if schema.get("format") == "uri" and isinstance(value, str) and (reason := why_not_a_safe_url(value)):
            yield SchemaProblem(path, f"cannot be used: {reason}")
        for keyword in ("anyOf", "oneOf"):
            choices = schema.get(keyword)
            if isinstance(choices, list) and not any(not [*self.problems(choice, value, path)] for choice in choices):
                yield SchemaProblem(path, "matches none of what is allowed")
        if isinstance(value, dict):
            yield from self._object_problems(schema, value, path)
        items = schema.get("items")
        if isinstance(value, list) and isinstance(items, dict):
            for number, item in enumerate(value):
                yield from self.problems(items, item, (*path, number))

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Mapping[str, Any] = self._definitions.get(reference.removeprefix("#/$defs/"), {})
        return target

    def _object_problems(
        self, schema: Mapping[str, Any], value: Mapping[str, object], path: ConfigPath
    ) -> Iterator[SchemaProblem]:
        known: Mapping[str, Any] = schema.get("properties") or {}
        others = schema.get("additionalProperties", True)
        for name in schema.get("required") or ():
            if name not in value:
                yield SchemaProblem((*path, name), "is required")
        for name, item in value.items():
            if name in known:
                yield from self.problems(known[name], item, (*path, name))
            elif isinstance(others, dict):
                yield from self.problems(others, item, (*path, name))
            elif others is False:
                yield SchemaProblem((*path, name), f"is not known{_suggestion(name, known)}")


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_of_type(value: object, wanted: object) -> bool:
    if isinstance(wanted, list):
        return any(_is_of_type(value, each) for each in wanted)
    if isinstance(value, bool):
        return wanted == "boolean"
    return isinstance(value, _TYPES.get(str(wanted), (object,)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_CHECKS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "enum": lambda choices, value: value in choices,
    "const": lambda constant, value: bool(value == constant),
    "minimum": lambda least, value: not _is_number(value) or value >= least,
    "maximum": lambda most, value: not _is_number(value) or value <= most,
    "minLength": lambda least, value: not isinstance(value, str) or len(value) >= least,
}


def _type_words(wanted: object) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)
