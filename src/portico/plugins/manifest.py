"""`portico.plugin.json`, the manifest of a plugin, read without importing the plugin.

    {
      "api": 1, "id": "acme-auth", "name": "Acme", "description": "Sign in to Acme", "version": "1.0",
      "module": "acme_auth.plugin",
      "providers": ["acme"],
      "authChoices": [{"id": "acme", "provider": "acme", "label": "Acme", "hint": "browser sign-in"}],
      "dialects": ["acme"], "emulators": ["acme"],
      "configSchema": {"type": "object", "properties": {}}
    }

`id`, `name`, `description` and `module` are required. `api` is the version of the plugin API that the plugin uses, 1 by
default. `module` is imported if the plugin is on. The manifest is in the folder of `module`'s top package. An auth choice may
have `"aliases": {"acme-eu": "eu"}`: further names, each with its region; `--auth-choice` accepts them, and menus do not show
them.

A plugin's own config is checked against the `configSchema` of its manifest, with these keywords of JSON Schema: `type`, `enum`,
`const`, `properties`, `required`, `additionalProperties`, `items`, `anyOf`, `oneOf`, `minimum`, `maximum`, `minLength`, `$ref`
into the schema's own `$defs`, and `format: uri`, which allows only URLs that requests may go to. Other keywords are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from portico.config.document import ConfigPath, format_path
from portico.errors import ConfigError
from portico.urls import why_not_a_safe_url
from portico.util.files import read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from portico.interfaces.basics import JsonValue

MANIFEST_NAME: Final = "portico.plugin.json"
API: Final = 1
"""The version of the plugin API that this Portico offers."""
_MAX_BYTES: Final = 256 * 1024


class PluginFailed(ConfigError):
    """The plugin has a fault that its author must correct."""

    id = "plugin-failed"


@dataclass(frozen=True, slots=True)
class AuthChoice:
    """One value of `--auth-choice` from a manifest. `aliases` maps further names, which menus do not show, to their region."""

    id: str
    provider: str
    label: str
    hint: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of one `portico.plugin.json`."""

    path: Path
    id: str
    name: str
    description: str
    module: str
    version: str | None = None
    providers: tuple[str, ...] = ()
    auth_choices: tuple[AuthChoice, ...] = ()
    dialects: tuple[str, ...] = ()
    emulators: tuple[str, ...] = ()
    config_schema: Mapping[str, JsonValue] = field(default_factory=dict)


def read_manifest(path: Path) -> Manifest:
    """Read the manifest at `path`.

    Raises:
        ConfigError: `plugin-failed`: the manifest is missing, unreadable or invalid.
    """
    fields = _read_object(path)
    if (problem := next(_problems(fields), None)) is not None:
        raise _manifest_error(path, problem)
    return Manifest(
        path=path,
        id=fields["id"],
        name=fields["name"],
        description=fields["description"],
        module=fields["module"],
        version=fields.get("version"),
        providers=tuple(fields.get("providers", ())),
        auth_choices=tuple(_choice(choice) for choice in fields.get("authChoices", ())),
        dialects=tuple(fields.get("dialects", ())),
        emulators=tuple(fields.get("emulators", ())),
        config_schema=fields.get("configSchema", {"type": "object", "additionalProperties": False}),
    )


def _read_object(path: Path) -> dict[str, Any]:
    import json

    try:
        text = read_file(path, _MAX_BYTES)
    except FileNotFoundError:
        raise _manifest_error(path, "plugin manifest not found") from None
    except OSError as exc:
        raise _manifest_error(path, f"could not read plugin manifest: {exc.strerror}") from exc
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _manifest_error(path, f"failed to parse plugin manifest: {exc}") from None
    if not isinstance(value, dict):
        raise _manifest_error(path, "plugin manifest must be an object")
    return value


def _problems(fields: Mapping[str, object]) -> Iterator[str]:
    yield from _api_problems(fields.get("api", API))
    yield from _text_problems(fields)
    if not _is_id(str(fields["id"])):
        yield f"plugin manifest id must be lower-case letters, digits and hyphens, not {fields['id']!r}"
    if not all(part.isidentifier() for part in str(fields["module"]).split(".")):
        yield f"plugin manifest module must be a dotted name, not {fields['module']!r}"
    version = fields.get("version", "")
    if not isinstance(version, str) or not version.isprintable():
        yield "plugin manifest version must be a string"
    for name in ("providers", "dialects", "emulators"):
        if not _is_strings(fields.get(name, [])):
            yield f"plugin manifest {name} must be a list of strings"
    choices = fields.get("authChoices", [])
    if not isinstance(choices, list) or not all(map(_is_choice, choices)):
        yield "plugin manifest authChoices must be a list of {id, provider, label, hint?, aliases?}"
    if not isinstance(fields.get("configSchema", {}), dict):
        yield "plugin manifest configSchema must be an object"


def _api_problems(api: object) -> Iterator[str]:
    if not isinstance(api, int) or isinstance(api, bool) or api < 1:
        yield f"plugin manifest api must be a whole number of at least 1, not {api!r}"
    elif api > API:
        yield f"the plugin needs version {api} of the plugin API, and this Portico has version {API}: upgrade Portico"


def _text_problems(fields: Mapping[str, object]) -> Iterator[str]:
    for name in ("id", "name", "description", "module"):
        value = fields.get(name)
        if not isinstance(value, str) or not value.strip():
            yield f"plugin manifest requires {name}"
        elif not value.isprintable():
            yield f"plugin manifest {name} must be one line of printable text"


def _is_id(text: str) -> bool:
    return text.isascii() and text == text.lower() and text.replace("-", "").isalnum() and not text.startswith("-")


def _is_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each.isprintable() for each in value)


def _is_choice(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    texts = [value.get("id"), value.get("provider"), value.get("label"), value.get("hint", "")]
    aliases = value.get("aliases", {})
    return _is_strings(texts) and isinstance(aliases, dict) and _is_strings([*aliases, *aliases.values()])


def _choice(value: Mapping[str, Any]) -> AuthChoice:
    return AuthChoice(value["id"], value["provider"], value["label"], value.get("hint", ""), dict(value.get("aliases", {})))


def _manifest_error(path: Path, message: str) -> ConfigError:
    return PluginFailed(message, where=str(path))


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
    """A value that a schema does not allow, and its path."""

    path: ConfigPath
    message: str

    def __str__(self) -> str:
        return f"{format_path(self.path) or 'config'}: {self.message}"


def config_problems(schema: Mapping[str, JsonValue], value: object) -> Iterator[SchemaProblem]:
    """Yield each part of `value` that the schema does not allow."""
    return _SchemaChecker(schema).problems(schema, value, ())


class _SchemaChecker:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = root.get("$defs") or {}

    def problems(self, schema: Mapping[str, Any], value: object, path: ConfigPath) -> Iterator[SchemaProblem]:
        schema = self._resolve(schema)
        type_name = schema.get("type")
        if type_name is not None and not _is_of_type(value, type_name):
            yield SchemaProblem(path, f"must be {' or '.join(map(str, type_name)) if isinstance(type_name, list) else type_name}")
            return
        for keyword, check in _CHECKS.items():
            if keyword in schema and not check(schema[keyword], value):
                yield SchemaProblem(path, f"must satisfy {keyword} {schema[keyword]!r}")
        if schema.get("format") == "uri" and isinstance(value, str) and (reason := why_not_a_safe_url(value)):
            yield SchemaProblem(path, f"cannot be used: {reason}")
        for keyword in ("anyOf", "oneOf"):
            choices = schema.get(keyword)
            if isinstance(choices, list) and not any(not [*self.problems(choice, value, path)] for choice in choices):
                yield SchemaProblem(path, "matches none of the allowed forms")
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
                yield SchemaProblem((*path, name), f"is unknown{_suggestion(name, known)}")


def _suggestion(name: str, known: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _is_of_type(value: object, type_name: object) -> bool:
    if isinstance(type_name, list):
        return any(_is_of_type(value, each) for each in type_name)
    if isinstance(value, bool):
        return type_name == "boolean"
    return isinstance(value, _TYPES.get(str(type_name), (object,)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_CHECKS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "enum": lambda choices, value: value in choices,
    "const": lambda constant, value: bool(value == constant),
    "minimum": lambda minimum, value: not _is_number(value) or value >= minimum,
    "maximum": lambda maximum, value: not _is_number(value) or value <= maximum,
    "minLength": lambda minimum, value: not isinstance(value, str) or len(value) >= minimum,
}
