"""`.env` beside a configuration: `NAME=value` lines for variables that the process does not have. Its values may be API keys."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.problem import Layer, Problem
from portico.config.reading import others_may, read_bytes
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME: Final = ".env"
_LINE: Final = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'#]\S*(?:\s+[^\s#]\S*)*)?)"""
    r"""\s*(?:\#.*)?""",
    re.VERBOSE,
)
_NOTHING: Final = re.compile(r"\s*(?:#.*)?")
_ESCAPES: Final = re.compile(r"\\(.)")
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(folder: Path, layer: Layer = "own") -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    r"""The variables of `folder`'s `.env`, and what is wrong with that file: never an error, and never with a value in it.

    A value is as it stands: bare up to a `#` after a space, in single quotes literal, in double quotes with `\n`, `\t`, `\"`
    and `\\`. Nothing in it is expanded, and none goes over a line's end. A variable that is empty is as good as none.
    """
    path = folder / NAME
    try:
        data = read_bytes(path)
        text = data.decode() if data is not None else None
    except (ConfigError, UnicodeDecodeError) as error:
        why = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        return {}, (Problem("warning", str(path), (), f"it is not read: {why}", layer=layer),)
    if text is None:
        return {}, ()
    values: dict[str, str] = {}
    problems = [*_private(path, layer)]
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is not None:
            values[found["name"]] = _value(found)
        elif not _NOTHING.fullmatch(line):
            message = "this line is not NAME=value; it has no effect"
            problems.append(Problem("warning", f"{path}:{number}:1", (), message, layer=layer))
    return {name: value for name, value in values.items() if value}, tuple(problems)


def _value(found: re.Match[str]) -> str:
    if found["double"] is not None:
        return _ESCAPES.sub(lambda escape: _ESCAPED.get(escape[1], escape[1]), found["double"])
    return found["single"] if found["single"] is not None else (found["bare"] or "")


def _private(path: Path, layer: Layer) -> tuple[Problem, ...]:
    mode = others_may(path, 0o077)
    if mode is None:
        return ()
    return (Problem("warning", str(path), (), f"other users may read it ({mode})", f"chmod 600 {quote(str(path))}", layer),)
