"""What the `config` commands do with values: find them, hide what is secret in them, check what they would make of the file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from portico.config.checker import check
from portico.config.document import Document, format_path, parse_path
from portico.config.environment import is_reference
from portico.config.file import ConfigFile
from portico.config.layers import refuse_errors
from portico.errors import ConfigError, ExitCode, PorticoError, UsageError
from portico.secret import REDACTED, redact

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.cli.runtime import Runtime
    from portico.config.section import Problem
    from portico.contracts import JsonValue

_SECRET_ENDINGS: Final = ("key", "token", "secret", "password", "passphrase", "authorization", "cookie", "credential")

# What stands where a key would, for a provider that is signed in to or asks for none: public words, worth seeing.
_PLACEHOLDERS: Final = frozenset({"minimax-oauth", "qwen-oauth", "lmstudio"})


class PathNotFound(PorticoError):
    """The configuration has nothing at a path. OpenClaw's exit code for it is 1."""


def show(rt: Runtime, at: str | None, *, reveal: bool) -> int:
    """Print the value at `at`, or all of it: text as it is, anything else as JSON, secrets masked unless `reveal`."""
    rt.refuse_missing_config()
    steps = parse_path(at) if at is not None else ()
    try:
        value = _file(rt).load().get(steps)
    except KeyError:
        raise not_found(at or "", rt) from None
    if not reveal:
        value = masked(value, str(steps[-1]) if steps else "")
    if isinstance(value, str) and not rt.out.is_json:
        rt.out.line(value)
    else:
        rt.out.json(value)
    return ExitCode.OK


def change(rt: Runtime, edit: Callable[[Document], Document], *, private: bool = False) -> bool:
    """Edit the file; what would make an error in it is refused, errors it had before are no hindrance to mending them.

    `private`: a secret comes into it, and nobody else is to read or write it from then on.
    """

    def checked(document: Document) -> Document:
        changed = edit(document)
        had = {(problem.path, problem.message) for problem in _problems(rt, document)}
        new = [problem for problem in _problems(rt, changed) if (problem.path, problem.message) not in had]
        refuse_errors(f"{document.name} as it would be", new)
        return changed

    return _file(rt).edit(checked, private=private)


def given_value(text: str, *, strict: bool) -> JsonValue:
    """The value a user typed: JSON5, else the text itself. `-` reads the text from standard input, for secrets.

    Raises:
        UsageError: `strict`, and it is not JSON5 (`config-value`).
    """
    if text == "-":
        return sys.stdin.read().rstrip("\r\n")
    try:
        return Document.parse(text, name="value").value()
    except ConfigError as error:
        if strict:
            raise UsageError("config-value", f"the value is not JSON5: {error.message}", where=error.where) from None
        return text


def not_found(at: str, rt: Runtime) -> PathNotFound:
    """The error of a path that leads nowhere, with the nearest that does."""
    from portico.config.section import nearest

    value = _file(rt).load().value()
    steps = parse_path(at)
    for depth, step in enumerate(steps):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
            continue
        near = nearest(str(step), value) if isinstance(value, dict) else None
        hint = f"did you mean `{format_path((*steps[:depth], near))}`?" if near else "`{prog} config get` prints all there is"
        return PathNotFound("config-path-not-found", f"Config path not found: {at}", hint=hint)
    return PathNotFound("config-path-not-found", f"Config path not found: {at}")


def masked(value: JsonValue, name: str) -> JsonValue:
    """`value` without what its name or its shape says is secret; `${VAR}` is shown, it only names one."""
    if isinstance(value, dict):
        return {key: masked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    if not isinstance(value, str) or not value or is_reference(value) or value in _PLACEHOLDERS:
        return value
    return REDACTED if names_secret(name) else redact(value)


def names_secret(name: str) -> bool:
    """Whether a key is named like one that holds a secret."""
    return name.lower().replace("_", "").replace("-", "").removesuffix("s").endswith(_SECRET_ENDINGS)


def show_problems(rt: Runtime) -> int:
    """Print every problem of the file; the exit code says whether one is an error."""
    rt.refuse_missing_config()
    file = _file(rt)
    problems = [*_problems(rt, file.load()), *file.warnings()]
    errors = sum(problem.level == "error" for problem in problems)
    if rt.out.is_json:
        listed = [
            {"level": each.level, "where": each.where, "path": format_path(each.path), "message": each.message, "hint": each.hint}
            for each in problems
        ]
        rt.out.json({"path": str(rt.paths.config), "valid": not errors, "problems": listed})
        return ExitCode.CONFIG if errors else ExitCode.OK
    for problem in problems:
        rt.out.line(f"{problem.level}: {problem}")
    if not errors:
        missing = "" if rt.paths.config.exists() else " It does not exist, which is the same as an empty one."
        rt.out.line(f"{rt.paths.config} is valid.{missing}")
    return ExitCode.CONFIG if errors else ExitCode.OK


def _problems(rt: Runtime, document: Document) -> list[Problem]:
    from portico.plugins.entry_config import entry_problems

    config, problems = check(document)
    return [*problems, *entry_problems(document, config.plugins, paths=rt.paths, env=rt.env)]


def _file(rt: Runtime) -> ConfigFile:
    return ConfigFile(rt.paths.config, rt.paths.locks)
