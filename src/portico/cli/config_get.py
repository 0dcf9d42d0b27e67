"""`config get`: the value that counts, and with `--verbose` the file and line that each part of it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.cli.config_values import masked, not_found
from portico.config.document import Document, format_path, parse_path, read_document
from portico.config.sources import read_stack
from portico.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.cli.runtime import Runtime
    from portico.config.document import ConfigPath
    from portico.config.sources import Effective, Stack
    from portico.interfaces.basics import JsonValue


def show(rt: Runtime, at: str | None, *, reveal: bool) -> int:
    """Print the value at `at`, or all of it: text as it is, anything else as JSON, secrets masked unless `reveal`."""
    rt.refuse_missing_config()
    path = parse_path(at) if at is not None else ()
    config = rt.paths.config
    stack = read_stack(read_document(config) or Document.parse("{}", name=str(config)))
    _refuse_what_is_not_known(stack, path)
    try:
        value = stack.effective.get(path)
    except KeyError:
        raise not_found(at or "", stack.effective.value()) from None
    shown = value if reveal else masked(value, path)
    if rt.out.is_json and rt.out.verbose:
        origins = {format_path(place): str(stack.effective.origin(place)) for place in _leaves(path, value)}
        rt.out.json({"path": format_path(path), "value": shown, "origin": _origin(stack.effective, path), "origins": origins})
    elif isinstance(shown, str) and not rt.out.is_json:
        rt.out.exact(shown)
    else:
        rt.out.json(shown)
    for place in _leaves(path, value) if not rt.out.is_json else ():
        rt.out.detail(f"{format_path(place)}: {stack.effective.origin(place)}")
    return ExitCode.OK


def _refuse_what_is_not_known(stack: Stack, path: ConfigPath) -> None:
    """A file that cannot be read may have a word to say, except on a plain value that the own file gives itself."""
    error = next((problem for problem in stack.problems if problem.level == "error"), None)
    if error is None:
        return
    own = stack.own.document
    if own.has(path) and not isinstance(own.get(path), dict | list):
        return
    raise ConfigError("config-invalid", error.message, where=error.where, hint=error.hint)


def _leaves(path: ConfigPath, value: JsonValue) -> Iterator[ConfigPath]:
    """The paths of what holds nothing else, in their order."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves((*path, key), item)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves((*path, index), item)
    else:
        yield path


def _origin(effective: Effective, path: ConfigPath) -> dict[str, str | int]:
    origin = effective.origin(path)
    return {"file": origin.file, "line": origin.line, "column": origin.column, "layer": origin.layer}
