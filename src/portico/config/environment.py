"""Variables of a config: `${VAR}` in its values, and the `.env` file beside it.

A reference is resolved when a value is used, and never written back. An `apiKey` and a header may also be the bare name of a
variable, as OpenClaw's model library pi resolves them (https://github.com/earendil-works/pi,
packages/coding-agent/docs/models.md).
"""

from __future__ import annotations

import os
import re
import stat
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.config.document import read_bytes
from portico.config.problem import Layer, Problem
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_REFERENCE: Final = re.compile(r"(\$?)\$\{([A-Z_][A-Z0-9_]*)\}")
# With an underscore, so that a key which is one word in capitals stays a key.
_BARE_NAME: Final = re.compile(r"(?=.*_)[A-Z][A-Z0-9_]*")
DOTENV: Final = ".env"
_LINE: Final = re.compile(
    r"""\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*"""
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'#]\S*(?:\s+[^\s#]\S*)*)?)"""
    r"""\s*(?:\#.*)?""",
    re.VERBOSE,
)
_NOTHING: Final = re.compile(r"\s*(?:#.*)?")
_ESCAPES: Final = re.compile(r"\\(.)")
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t"}


def resolve_variables(text: str, env: Mapping[str, str], *, where: str) -> str:
    """`text` with each `${VAR}` replaced from `env`; `$${VAR}` stands for a literal `${VAR}`. One pass, upper-case names only.

    Raises:
        ConfigError: a variable is unset or empty (`variable-unset`); `where` is what the message calls the value's place.
    """

    def resolve(found: re.Match[str]) -> str:
        escaped, name = found.groups()
        if escaped:
            return found[0][1:]
        value = env.get(name)
        if value:
            return value
        raise ConfigError(
            "variable-unset",
            f"the environment variable {name} is not set",
            why=f"`{where}` refers to it",
            hint=f"set {name}, or put it into the configuration: `{{prog}} config set env.{name} -`",
        )

    return _REFERENCE.sub(resolve, text)


def named_variable(text: str) -> str | None:
    """The variable that `text` is the bare name of (`ACME_API_KEY`); None where it is anything else."""
    return text if _BARE_NAME.fullmatch(text) else None


def resolve_header(text: str, env: Mapping[str, str], *, where: str) -> str:
    """The value of a header: that of the variable which `text` names, if it is set; else as `resolve_variables`.

    Raises:
        ConfigError: `variable-unset`.
    """
    name = named_variable(text)
    return (env.get(name) if name is not None else None) or resolve_variables(text, env, where=where)


def is_reference(text: str) -> bool:
    """Whether `text` is one `${VAR}` and nothing else."""
    found = _REFERENCE.fullmatch(text)
    return found is not None and not found[1]


def holds_reference(text: str) -> bool:
    """Whether there is a `${VAR}` in `text`."""
    return _REFERENCE.search(text) is not None


def with_defaults(env: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """`env` with the variables of a configuration's `env` section where it has none or an empty one."""
    return {**defaults, **{name: value for name, value in env.items() if value or name not in defaults}}


# --- `.env`: `NAME=value` lines for variables that the process does not have; the values may be API keys ------------------------


def read_dotenv(folder: Path, layer: Layer = "own") -> tuple[Mapping[str, str], tuple[Problem, ...]]:
    r"""The variables of `folder`'s `.env`, and what is wrong with that file: never an error, and never with a value in it.

    A value is as it stands: bare up to a `#` after a space, in single quotes literal, in double quotes with `\n`, `\t`, `\"`
    and `\\`. Nothing in it is expanded, and none goes over a line's end. A variable that is empty is as good as none.
    """
    path = folder / DOTENV
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


def others_may(path: Path, bits: int) -> str | None:
    """The mode of `path`, in words, where it gives any of `bits` to users other than its owner; None where it does not."""
    if os.name != "posix":
        return None
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
    return f"its mode is {mode:04o}" if mode & bits else None
