"""`config path|get|set|insert|unset|validate|schema|edit`.

An edit that would add an error to the config file is refused. One without effect is refused or gets a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.cli.parser import WRITE_BASE_HELP, add_command
from portico.config.document import (
    MAX_SHOWN,
    ConfigFile,
    Document,
    InvalidConfig,
    Problem,
    format_path,
    parse_path,
    read_document,
    refuse_errors,
    shown_path,
)
from portico.config.sources import DOTENV, NOT_FROM_BASE, exposed_files, is_reference, named_variable, read_dotenv, read_stack
from portico.errors import ConfigError, ExitCode, PorticoError, UsageError
from portico.secret import REDACTED, redact
from portico.util.files import read_text

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import TextIO

    from portico.app import App
    from portico.config.document import ConfigPath
    from portico.config.schema import Config
    from portico.config.sources import Effective, Origin, Stack
    from portico.interfaces.basics import JsonValue

    Edit = Callable[[Document], Document]

_EXAMPLES = """examples:
  {prog} config get agents.defaults.model.primary --verbose
  {prog} config set gateway.port 18500
  {prog} config set env.MINIMAX_API_KEY - < key.txt
  {prog} config set base '~/.openclaw/openclaw.json'
  {prog} config validate
"""
_JSON5 = "JSON5 or plain text (with --json only JSON5); - reads plain text from standard input"
_SECRET_ENDINGS: Final = ("key", "token", "secret", "password", "passphrase", "authorization", "cookie", "credential")
_USER: Final = re.compile(r"(?<=://)[^/@\s]+@")
# Values of `apiKey` for a provider that needs no key. They are public, so they are shown.
_PLACEHOLDERS: Final = frozenset({"minimax-oauth", "qwen-oauth", "lmstudio"})


class PathNotFound(PorticoError):
    """The config has no value at a path. The exit code is 1, as in OpenClaw."""

    id = "config-path-not-found"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers()
    add_command(commands, "config path", "print the path of the config file", show_path)
    summary = "print the effective value, merged from all config files"
    getting = add_command(commands, "config get", summary, show_value, "plugins.entries --json")
    getting.add_argument(
        "path", nargs="?", help=r"for example models.providers.minimax.baseUrl; a\.b for a key with a dot (default: everything)"
    )
    getting.add_argument("--reveal", action="store_true", help="print API keys and other secrets unmasked")
    setting = add_command(commands, "config set", "set a value; comments and other values stay", set_value, "gateway.port 18500")
    setting.add_argument("path", help="where to set the value; missing parents are created")
    setting.add_argument("value", help=_JSON5)
    inserting = add_command(commands, "config insert", "insert a value into an array", insert_value, "plugins.deny[0] telegram")
    inserting.add_argument("path", help="the array and the index of the new value; later items move up by one")
    inserting.add_argument("value", help=_JSON5)
    unsetting = add_command(commands, "config unset", "remove a value", unset_value, "plugins.allow")
    unsetting.add_argument("path", help="the value to remove")
    for changing in (setting, inserting, unsetting):
        changing.add_argument("--write-base", action="store_true", help=WRITE_BASE_HELP)
    add_command(commands, "config validate", "show every problem in every config file", validate, "--json")
    summary = "print the JSON Schema of the config file, for editors"
    add_command(commands, "config schema", summary, show_schema, "> portico.schema.json")
    summary = "edit the config file in $VISUAL or $EDITOR, and check it before it is saved"
    add_command(commands, "config edit", summary, "portico.cli.config_edit:edit")


def show_path(_args: argparse.Namespace, app: App) -> int:
    """Print the path of the config file, whether it exists or not."""
    if app.out.is_json:
        app.out.json({"path": str(app.paths.config), "exists": app.paths.config.exists()})
    else:
        app.out.exact(str(app.paths.config))
    return ExitCode.OK


def show_schema(_args: argparse.Namespace, app: App) -> int:
    """Print the JSON Schema of the config file."""
    from portico.config.schema import json_schema

    app.out.json(json_schema())
    return ExitCode.OK


def validate(_args: argparse.Namespace, app: App) -> int:
    """Print every problem in the config files; exit with 9 if one is an error."""
    from portico.config.load import MODELS_FILE

    app.refuse_missing_config()
    config = app.paths.config
    document = ConfigFile(config, app.paths.locks).load()
    files = checked(document)
    others = [*files.stack.others, *(path for path in (config.parent / MODELS_FILE, config.parent / DOTENV) if path.exists())]
    problems = [*problems_of(app, files), *misfit_problems(app, files), *_beside(config.parent)]
    problems += exposed_files((config, *others))
    errors = sum(problem.level == "error" for problem in problems)
    if app.out.is_json:
        listed = [problem.as_json() for problem in problems]
        app.out.json({"path": str(config), "valid": not errors, "files": [*map(str, others)], "problems": listed})
        return ExitCode.CONFIG if errors else ExitCode.OK
    for line in _lines(problems, app.program):
        app.out.line(line)
    if not errors:
        missing = "" if config.exists() else " The file does not exist, which is the same as an empty file."
        beside = f" So are the files it uses: {', '.join(map(str, others))}." if others else ""
        app.out.line(f"{config} is valid.{missing}{beside}")
    return ExitCode.CONFIG if errors else ExitCode.OK


def _lines(problems: list[Problem], program: str) -> Iterator[str]:
    """Yield the problems in the order of the text. If there are too many, yield only the first, errors before warnings."""
    shown = problems
    if len(problems) > MAX_SHOWN:
        shown = sorted(problems, key=lambda problem: problem.level != "error")[:MAX_SHOWN]
    yield from (f"{problem.level}: {problem}" for problem in shown)
    if len(problems) > len(shown):
        yield f"and {len(problems) - len(shown)} more; to see all: {program} config validate --json"


def _beside(folder: Path) -> tuple[Problem, ...]:
    from portico.config.load import read_corrections

    return (*read_corrections(folder)[1], *read_dotenv(folder)[1])


def show_value(args: argparse.Namespace, app: App) -> int:
    """Print a value: text as it is, every other value as JSON. Without `--reveal`, secrets are masked.

    With `--verbose`, also print the file and line of each value.
    """
    app.refuse_missing_config()
    path = parse_path(args.path) if args.path is not None else ()
    config = app.paths.config
    stack = read_stack(read_document(config) or Document.parse("{}", name=str(config)))
    _refuse_unknown_value(stack, path)
    try:
        value = stack.effective.get(path)
    except KeyError:
        raise _not_found(args.path or "", stack.effective.value()) from None
    shown = value if args.reveal else masked(value, path)
    if app.out.is_json and app.out.verbose:
        origins = {format_path(place): str(stack.effective.origin(place)) for place in _leaves(path, value)}
        app.out.json({"path": format_path(path), "value": shown, "origin": _origin(stack.effective, path), "origins": origins})
    elif isinstance(shown, str) and not app.out.is_json:
        app.out.exact(shown)
    else:
        app.out.json(shown)
    for place in _leaves(path, value) if not app.out.is_json else ():
        app.out.detail(f"{format_path(place)}: {stack.effective.origin(place)}")
    app.warn_if_exposed()
    return ExitCode.OK


def _refuse_unknown_value(stack: Stack, path: ConfigPath) -> None:
    """Fail if a file with an error may set the value at `path`. Such a file cannot change a scalar of the user's own file."""
    error = next((problem for problem in stack.problems if problem.level == "error"), None)
    if error is None:
        return
    own = stack.own.document
    if own.has(path) and not isinstance(own.get(path), dict | list):
        return
    raise InvalidConfig(error.message, where=error.where, hint=error.hint)


def _leaves(path: ConfigPath, value: JsonValue) -> Iterator[ConfigPath]:
    """Yield the paths of all scalars and empty containers, in order."""
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


def set_value(args: argparse.Namespace, app: App) -> int:
    """Set the value at a path."""
    from portico.config.schema import is_known

    path = parse_path(args.path)
    value = _typed_value(args.value, app.stdin, strict=app.out.is_json)

    def edit(document: Document) -> Document:
        return document.set(path, value)

    changed = _change(app, path, edit, in_base=args.write_base, private=_is_secret(path, value), wanted=value)
    if not is_known(str(path[0])):
        app.out.warn(f"{app.program}: `{path[0]}` is not a key that Portico knows; it has no effect.")
    return _report(app, changed, f"Updated {args.path}", f"{args.path} already has this value", in_base=args.write_base)


def insert_value(args: argparse.Namespace, app: App) -> int:
    """Insert a value into an array, at the index that ends the path."""
    path = parse_path(args.path)
    value = _typed_value(args.value, app.stdin, strict=app.out.is_json)

    def edit(document: Document) -> Document:
        return document.insert(path, value)

    changed = _change(app, path, edit, in_base=args.write_base, private=_is_secret(path, value), wanted=value)
    return _report(app, changed, f"Inserted {args.path}", "", in_base=args.write_base)


def unset_value(args: argparse.Namespace, app: App) -> int:
    """Remove the value at a path. If another file sets the value now, name that file."""
    path, in_base = parse_path(args.path), args.write_base
    try:
        changed = _change(app, path, lambda document: document.unset(path), in_base=in_base)
    except KeyError:
        raise _nothing_to_unset(app, args.path, path) from None
    if _is_secret_place(path):
        app.out.note(f"The backups beside the file still have it: {_target(app, in_base=in_base).name}.bak and so on.")
    effective = _effective(app)
    if effective.has(path):
        app.out.note(f"The effective value now comes from {effective.origin(path)}.")
    return _report(app, changed, f"Removed {args.path}", "", in_base=in_base)


def _typed_value(text: str, stdin: TextIO, *, strict: bool) -> JsonValue:
    """Parse `text` as JSON5, or return it as it is. `-` reads the text from `stdin`, for secrets.

    Raises:
        UsageError: with `strict`, the text is not JSON5 (`usage`).
    """
    if text == "-":
        return read_text(stdin).rstrip("\r\n")
    try:
        return Document.parse(text, name="value").value()
    except ConfigError as error:
        if strict:
            raise UsageError(f"the value is not JSON5: {error.message}", where=error.where) from None
        return text


def _change(app: App, path: ConfigPath, edit: Edit, *, in_base: bool, private: bool = False, wanted: JsonValue = None) -> bool:
    """Edit the file. A change that adds an error is refused; the errors that the file already has do not block it.

    `private`: the edit adds a secret, so the file becomes readable and writable by its owner only.
    """
    if in_base:
        changed = app.settings.edit_base(edit, private=private)
        app.reload_config()
        _warn_if_without_effect(app, path)
        return changed

    def checked_edit(document: Document) -> Document:
        before = checked(document)
        _refuse_elsewhere(before.stack.effective, path)
        changed = edit(document)
        after = checked(changed)
        _refuse_new_errors(app, document.name, before, after)
        _refuse_without_effect(after.stack.effective, path, wanted)
        return changed

    return ConfigFile(app.paths.config, app.paths.locks).edit(checked_edit, private=private)


def _warn_if_without_effect(app: App, path: ConfigPath) -> None:
    """Warn if the value, written into the base file, has no effect on Portico."""
    effective = _effective(app)
    if any(path[: len(other)] == other for other in NOT_FROM_BASE):
        app.out.warn(f"{app.program}: this value is for OpenClaw only, and has no effect on Portico.")
    elif effective.has(path) and effective.origin(path).layer == "own":
        app.out.warn(f"{app.program}: the value has no effect, because {effective.origin(path)} overrides it.")


def _refuse_new_errors(app: App, name: str, before: Checked, after: Checked) -> None:
    """Refuse the errors that only `after` has.

    A URL that does not fit its `api` is only a warning, because the next edit may fix it.

    Plugins are loaded only if the edit changes something that they check.
    """
    old, new = before.problems, after.problems
    if after.config.plugins != before.config.plugins:
        old, new = problems_of(app, before), problems_of(app, after)
    refuse_errors(f"{name} after this change", _new(old, new))
    if (after.config.plugins, after.config.models) != (before.config.plugins, before.config.models):
        for problem in _new(misfit_problems(app, before), misfit_problems(app, after)):
            app.out.warn(f"{app.program}: {problem}")


def _new(before: Iterable[Problem], after: Iterable[Problem]) -> list[Problem]:
    old = {(problem.path, problem.message) for problem in before}
    return [problem for problem in after if (problem.path, problem.message) not in old]


def _refuse_elsewhere(effective: Effective, path: ConfigPath) -> None:
    """Refuse to change one item of another file's array: an array in the own file would replace that array or be joined to it."""
    from portico.config.json5 import ConfigElsewhere

    for depth in range(1, len(path)):
        around = path[:depth]
        if effective.has(around) and isinstance(effective.get(around), list) and not effective.document.has(around):
            origin, name = effective.origin(around), format_path(around)
            # The own file can only add to an array of an included file.
            replaceable = origin.layer == "base"
            hint = f"Set the whole of `{name}`, or change it in that file." if replaceable else "Change it in that file."
            raise ConfigElsewhere(f"`{name}` is set in another file", where=str(origin), hint=hint)


def _refuse_without_effect(effective: Effective, path: ConfigPath, wanted: JsonValue) -> None:
    from portico.config.json5 import ConfigElsewhere
    from portico.config.json5_edit import same

    if wanted is None or isinstance(wanted, dict):  # an object is merged with the other files' objects
        return
    if effective.has(path) and not same(effective.get(path), wanted):
        why = "an included file also sets this array, and arrays are joined"
        message = f"`{format_path(path)}` would not get this value"
        where = str(_included_part(effective, path))
        raise ConfigElsewhere(message, why=why, where=where, hint="Change it in that file.")


def _included_part(effective: Effective, path: ConfigPath) -> Origin:
    """Return the first item of the array at `path` that comes from an included file."""
    value = effective.get(path)
    places = [effective.origin((*path, index)) for index in range(len(value) if isinstance(value, list) else 0)]
    return next((place for place in places if place.file != effective.document.name), effective.origin(path))


def _report(app: App, changed: bool, text: str, unchanged: str, *, in_base: bool) -> int:
    target = _target(app, in_base=in_base)
    if app.out.is_json:
        app.out.json({"changed": changed, "path": str(target)})
    elif not changed:
        app.out.line(f"{unchanged}.")
    else:
        place = f" in {target}" if in_base else ""
        app.out.line(f"{text}{place}. Restart the gateway to apply." if app.gateway_runs() else f"{text}{place}.")
    app.warn_if_exposed()
    return ExitCode.OK


def _target(app: App, *, in_base: bool) -> Path:
    base = app.settings.base if in_base else None
    return base.path if base is not None else app.paths.config


def _nothing_to_unset(app: App, at: str, path: ConfigPath) -> Exception:
    effective = _effective(app)
    return stands_elsewhere(app, path, f"`{at}`") if effective.has(path) else _not_found(at, effective.value())


def _not_found(at: str, value: JsonValue) -> PathNotFound:
    """Return the error for a path that `value` does not have. The hint names the most similar path."""
    from portico.config.check import nearest

    steps = parse_path(at)
    for depth, step in enumerate(steps):
        if isinstance(value, dict) and step in value:
            value = value[str(step)]
            continue
        near = nearest(str(step), value) if isinstance(value, dict) else None
        hint = f"Did you mean `{format_path((*steps[:depth], near))}`?" if near else "To see all values: {prog} config get"
        return PathNotFound(f"Config path not found: {at}", hint=hint)
    return PathNotFound(f"Config path not found: {at}")


def stands_elsewhere(app: App, path: ConfigPath, what: str) -> ConfigError:
    """Return the error for a value that cannot be removed, because the base file or an included file sets it."""
    from portico.config.json5 import ConfigElsewhere

    stack = _stack(app)
    # `--write-base` edits the base file only, not the files that it includes.
    in_base = stack.base is not None and stack.base.has(path)
    hint = f"{{prog}} config unset --write-base {quote(format_path(path))}" if in_base else "Remove it from that file."
    where = str(stack.effective.origin(path))
    return ConfigElsewhere(f"{what} is set in another file", where=where, hint=hint)


def _effective(app: App) -> Effective:
    return _stack(app).effective


def _stack(app: App) -> Stack:
    return read_stack(ConfigFile(app.paths.config, app.paths.locks).load())


def masked(value: JsonValue, path: ConfigPath) -> JsonValue:
    """Return `value` with its secrets masked: the values whose `path` is secret, and the values that look like a secret."""
    if isinstance(value, dict):
        return {key: masked(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, path) for item in value]
    if not isinstance(value, str) or not value or is_reference(value) or value in _PLACEHOLDERS:
        return value
    if path[:2] == ("models", "providers") and path[-1] == "apiKey" and named_variable(value) is not None:
        return value
    return REDACTED if _is_secret_place(path) else _USER.sub(f"{REDACTED}@", redact(value))


def _is_secret(path: ConfigPath, value: JsonValue) -> bool:
    return masked(value, path) != value


def _is_secret_place(path: ConfigPath) -> bool:
    """Whether a value at `path` is treated as a secret: a variable, a header, or a key that ends like `apiKey` or `token`."""
    if path[:1] == ("env",) or "headers" in path:
        return True
    name = str(path[-1]) if path else ""
    return name.lower().replace("_", "").replace("-", "").removesuffix("s").endswith(_SECRET_ENDINGS)


@dataclass(frozen=True, slots=True)
class Checked:
    """A config file with the files it includes and its base, and the problems in all of them."""

    stack: Stack
    config: Config
    problems: list[Problem]


def checked(document: Document) -> Checked:
    """Read and check the own file, the files it includes, and its base."""
    from portico.config.check import check_stack

    stack = read_stack(document)
    return Checked(stack, *check_stack(stack))


def problems_of(app: App, files: Checked) -> list[Problem]:
    """Return the problems in the files, including those in the plugins' settings."""
    from portico.plugins.manager import entry_problems

    entries = entry_problems(files.stack.effective, files.config.plugins, paths=app.paths, env=app.env)
    return [*files.problems, *entries]


def misfit_problems(app: App, files: Checked) -> Iterator[Problem]:
    """Yield the base URLs that, according to the enabled plugins, do not fit their provider's `api`."""
    effective, config = files.stack.effective, files.config
    if all(provider.base_url is None for provider in config.models.providers.values()):
        return
    from portico.models.endpoints import misfits
    from portico.plugins.manager import PluginHost

    specs = PluginHost(config.plugins, paths=app.paths, env=app.env).providers()
    for block, found in misfits(config, specs):
        path: ConfigPath = (*block, "baseUrl")
        origin, message = effective.origin(path), f"{shown_path(path)} {found.message}"
        if found.is_certain:
            yield Problem("error", str(origin), path, message, f"write {found.instead}", origin.layer, only=format_path(block))
        else:
            hint = f"if nothing answers there, write {found.key}: {found.instead}"
            yield Problem("warning", str(origin), path, message, hint, origin.layer, standing=True)
