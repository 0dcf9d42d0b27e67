"""`config set|insert|unset`: one edit, of the own file or of its base when told, that leaves no new error and has its effect."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from portico.cli.config_check import checked, misfit_problems, problems_of
from portico.cli.config_values import given_value, is_secret_place, masked, not_found
from portico.config.document import ConfigFile, Document, format_path, parse_path, refuse_errors
from portico.config.json5_edit import same
from portico.config.schema import is_known
from portico.config.sources import NOT_FROM_BASE, read_stack
from portico.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from portico.cli.config_check import Checked
    from portico.cli.runtime import Runtime
    from portico.config.document import ConfigPath, Problem
    from portico.config.sources import Effective, Origin, Stack
    from portico.interfaces.basics import JsonValue

    Edit = Callable[[Document], Document]


def set_value(rt: Runtime, at: str, text: str, *, in_base: bool) -> int:
    """Set the value at `at`."""
    path = parse_path(at)
    value = given_value(text, strict=rt.out.is_json)

    def edit(document: Document) -> Document:
        return document.set(path, value)

    changed = _change(rt, path, edit, in_base=in_base, private=_is_secret(path, value), wanted=value)
    if not is_known(str(path[0])):
        rt.out.warn(f"{rt.program}: `{path[0]}` is not a key that Portico knows; it has no effect.")
    return _done(rt, changed, f"Updated {at}", f"{at} is set to that already", in_base=in_base)


def insert_value(rt: Runtime, at: str, text: str, *, in_base: bool) -> int:
    """Put a value into the array that `at` leads to, at its last index."""
    path = parse_path(at)
    value = given_value(text, strict=rt.out.is_json)

    def edit(document: Document) -> Document:
        return document.insert(path, value)

    changed = _change(rt, path, edit, in_base=in_base, private=_is_secret(path, value), wanted=value)
    return _done(rt, changed, f"Inserted {at}", "", in_base=in_base)


def unset_value(rt: Runtime, at: str, *, in_base: bool) -> int:
    """Remove the value at `at`, and say what counts in its place."""
    path = parse_path(at)
    try:
        changed = _change(rt, path, lambda document: document.unset(path), in_base=in_base)
    except KeyError:
        raise _nothing_to_unset(rt, at, path) from None
    if is_secret_place(path):
        rt.out.note(f"It is still in the older versions beside the file, {_target(rt, in_base=in_base).name}.bak and so on.")
    effective = _effective(rt)
    if effective.has(path):
        rt.out.note(f"What counts now is the value at {effective.origin(path)}.")
    return _done(rt, changed, f"Removed {at}", "", in_base=in_base)


def _change(rt: Runtime, path: ConfigPath, edit: Edit, *, in_base: bool, private: bool = False, wanted: JsonValue = None) -> bool:
    """Edit the file; what would make an error in it is refused, errors it had before are no hindrance to mending them.

    `private`: a secret comes into it, and nobody else is to read or write it from then on.
    """
    if in_base:
        changed = rt.settings.edit_base(edit, private=private)
        rt.reload_config()
        _say_what_counts(rt, path)
        return changed

    def checked_edit(document: Document) -> Document:
        before = checked(document)
        _refuse_elsewhere(before.stack.effective, path)
        changed = edit(document)
        after = checked(changed)
        _refuse_new_errors(rt, document.name, before, after)
        _refuse_without_effect(after.stack.effective, path, wanted)
        return changed

    return ConfigFile(rt.paths.config, rt.paths.locks).edit(checked_edit, private=private)


def _say_what_counts(rt: Runtime, path: ConfigPath) -> None:
    """Of a value in the base: what keeps it from having an effect here."""
    effective = _effective(rt)
    if any(path[: len(other)] == other for other in NOT_FROM_BASE):
        rt.out.warn(f"{rt.program}: it is about OpenClaw's own programs, and has no effect on Portico.")
    elif effective.has(path) and effective.origin(path).layer == "own":
        rt.out.warn(f"{rt.program}: it has no effect here while {effective.origin(path)} says something else.")


def _refuse_new_errors(rt: Runtime, name: str, before: Checked, after: Checked) -> None:
    """Refuse what `after` would make an error; of a URL and a protocol that do not fit, the other may be changed next.

    Plugins are looked for only if the edit changes what they are asked about.
    """
    old, new = before.problems, after.problems
    if after.config.plugins != before.config.plugins:
        old, new = problems_of(rt, before), problems_of(rt, after)
    refuse_errors(f"{name} as it would be", _new(old, new))
    if (after.config.plugins, after.config.models) != (before.config.plugins, before.config.models):
        for problem in _new(misfit_problems(rt, before), misfit_problems(rt, after)):
            rt.out.warn(f"{rt.program}: {problem}")


def _new(before: Iterable[Problem], after: Iterable[Problem]) -> list[Problem]:
    had = {(problem.path, problem.message) for problem in before}
    return [problem for problem in after if (problem.path, problem.message) not in had]


def _refuse_elsewhere(effective: Effective, path: ConfigPath) -> None:
    """An array of another file cannot be changed element by element here: the own file's array would replace or join it."""
    for depth in range(1, len(path)):
        around = path[:depth]
        if effective.has(around) and isinstance(effective.get(around), list) and not effective.document.has(around):
            origin, name = effective.origin(around), format_path(around)
            # To an included file's array the own file can only add.
            replaceable = origin.layer == "base"
            hint = f"set `{name}` as a whole, or change it in that file" if replaceable else "change it in that file"
            raise ConfigError("config-elsewhere", f"`{name}` stands in another file", where=str(origin), hint=hint)


def _refuse_without_effect(effective: Effective, path: ConfigPath, wanted: JsonValue) -> None:
    if wanted is None or isinstance(wanted, dict):  # an object is laid over what others say, and meant to be
        return
    if effective.has(path) and not same(effective.get(path), wanted):
        why = "an included file says something there, and arrays are joined"
        message = f"`{format_path(path)}` would not become that"
        where = str(_included_part(effective, path))
        raise ConfigError("config-elsewhere", message, why=why, where=where, hint="change it in that file")


def _included_part(effective: Effective, path: ConfigPath) -> Origin:
    """Where an included file says something in the array at `path`."""
    value = effective.get(path)
    places = [effective.origin((*path, index)) for index in range(len(value) if isinstance(value, list) else 0)]
    return next((place for place in places if place.file != effective.document.name), effective.origin(path))


def _nothing_to_unset(rt: Runtime, at: str, path: ConfigPath) -> Exception:
    effective = _effective(rt)
    return stands_elsewhere(rt, path, f"`{at}`") if effective.has(path) else not_found(at, effective.value())


def stands_elsewhere(rt: Runtime, path: ConfigPath, what: str) -> ConfigError:
    """The error of a value that cannot be taken out of the own file, because it stands in the base or in an included file."""
    stack = _stack(rt)
    # `--write-base` writes the base alone, and none of the files that it includes.
    in_base = stack.base is not None and stack.base.has(path)
    hint = f"{{prog}} config unset --write-base {quote(format_path(path))}" if in_base else "take it out of that file"
    where = str(stack.effective.origin(path))
    return ConfigError("config-elsewhere", f"{what} stands in another file", where=where, hint=hint)


def _is_secret(path: ConfigPath, value: JsonValue) -> bool:
    return masked(value, path) != value


def _effective(rt: Runtime) -> Effective:
    return _stack(rt).effective


def _stack(rt: Runtime) -> Stack:
    return read_stack(ConfigFile(rt.paths.config, rt.paths.locks).load())


def _target(rt: Runtime, *, in_base: bool) -> Path:
    base = rt.settings.base if in_base else None
    return base.path if base is not None else rt.paths.config


def _done(rt: Runtime, changed: bool, done: str, nothing: str, *, in_base: bool) -> int:
    target = _target(rt, in_base=in_base)
    if rt.out.is_json:
        rt.out.json({"changed": changed, "path": str(target)})
    elif not changed:
        rt.out.line(f"{nothing}.")
    else:
        place = f" in {target}" if in_base else ""
        rt.out.line(f"{done}{place}. Restart the gateway to apply." if rt.gateway_runs() else f"{done}{place}.")
    return ExitCode.OK
