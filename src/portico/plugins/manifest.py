"""`portico.plugin.json`: what a plugin is, read without importing it.

    {
      "api": 1, "id": "acme-auth", "name": "Acme", "description": "Sign in to Acme", "version": "1.0",
      "module": "acme_auth.plugin",
      "providers": ["acme"],
      "authChoices": [{"id": "acme", "provider": "acme", "label": "Acme", "hint": "browser sign-in"}],
      "dialects": ["acme"], "emulators": ["acme"],
      "configSchema": {"type": "object", "properties": {}}
    }

`id`, `name`, `description` and `module` are required. `api` is the version of the plugin API that the plugin is written for, 1 if
it is missing. `module` is what is imported once the plugin is on; the file lies in the folder of `module`'s top package. An auth
choice may have `"aliases": {"acme-eu": "eu"}`: further names of it, each with the region that it means; `--auth-choice` takes
them, and menus do not show them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from portico.errors import ConfigError
from portico.util.files import read_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from portico.interfaces.basics import JsonValue

MANIFEST_NAME: Final = "portico.plugin.json"
API: Final = 1
"""The version of the plugin API that this Portico offers."""
_MAX_BYTES: Final = 256 * 1024


class PluginFailed(ConfigError):
    """A plugin cannot be used as its author wrote it."""

    id = "plugin-failed"


@dataclass(frozen=True, slots=True)
class AuthChoice:
    """One value of `--auth-choice`, as the plugin's manifest announces it.

    `aliases` maps a further name, which menus do not show, to the region that it means.
    """

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
    """The manifest at `path`.

    Raises:
        ConfigError: `plugin-failed`: it is missing, unreadable, or does not say what it must.
    """
    fields = _read_object(path)
    problem = _first_problem(fields)
    if problem is not None:
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
        raise _manifest_error(path, f"plugin manifest cannot be read: {exc.strerror}") from exc
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _manifest_error(path, f"failed to parse plugin manifest: {exc}") from None
    if not isinstance(value, dict):
        raise _manifest_error(path, "plugin manifest must be an object")
    return value


def _first_problem(fields: Mapping[str, object]) -> str | None:
    return next(_problems(fields), None)


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
        yield f"plugin manifest api must be a whole number from 1 on, not {api!r}"
    elif api > API:
        yield f"the plugin is written for version {api} of the plugin API, and this Portico offers {API}: upgrade Portico"


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
