"""From words to a handler: global options, then the command's module, then its arguments.

Beside every command the user is told of sign-ins that have ended, from the first terminal failure on.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from portico.cli.commands import COMMANDS, load_function
from portico.errors import ExitCode, PorticoError, SignInNeeded, UsageError

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable
    from typing import TextIO

    from portico.app import App


def dispatch(words: list[str], program: str) -> int:
    """Run the command that `words` name and return its exit code.

    Raises:
        UsageError: there is no such command, or its arguments do not make sense.
    """
    given, rest = _leading_options(words)
    if "version" in given:
        return _say_version(program, as_json="json" in given)
    if rest[:1] == ["help"]:
        rest = [*rest[1:], "--help"]
    if "help" in given or rest == ["--help"]:
        return _say_help(program, sys.stdout)
    if not rest:
        if "json" in given:
            raise _no_command(program)
        _say_help(program, sys.stderr)
        return ExitCode.USAGE
    if rest[0] in COMMANDS:
        return _run_own(rest[0], rest[1:], given, program)
    return _run_plugin_command(rest[0], rest[1:], given, program)


def _run_own(name: str, words: list[str], given: dict[str, str], program: str) -> int:
    from portico.cli.parser import add_global_options, has_commands, make_parser

    parser = make_parser(program, name, COMMANDS[name].summary)
    COMMANDS[name].add_arguments(parser)
    add_global_options(parser, lazily=True)
    if words[:1] == ["help"] and has_commands(parser):
        words = [*words[1:], "--help"]
    args, unknown = parser.parse_known_args(words)
    if unknown:
        args.parser.refuse(unknown)
    handler = getattr(args, "handler", None)
    if handler is None:
        if "json" in given or "json" in args:
            raise _no_command(args.parser.prog)
        args.parser.print_help(sys.stderr)
        return ExitCode.USAGE
    return _carry_out(load_function(handler) if isinstance(handler, str) else handler, args, _runtime(given, args, program))


def _carry_out(handler: Callable[[Namespace, App], int], args: Namespace, app: App) -> int:
    """Run the command; beside it, tell of sign-ins that have ended, unless that is what the command itself failed for."""
    if not getattr(args, "tells_trouble", True):
        return handler(args, app)

    try:
        code = handler(args, app)
    except SignInNeeded:
        raise
    except PorticoError:
        say_ended(app)
        raise
    say_ended(app)
    return code


def _runtime(given: dict[str, str], args: Namespace | None, program: str) -> App:
    from portico.app import App, Options

    after = vars(args) if args is not None else {}
    options = Options(
        config=after.get("config", given.get("config")),
        json=bool(after.get("json") or "json" in given),
        quiet=bool(after.get("quiet") or "quiet" in given),
        verbose=bool(after.get("verbose") or "verbose" in given),
        no_color=bool(after.get("no_color") or "no-color" in given),
    )
    return App(program, options)


def _run_plugin_command(name: str, words: list[str], given: dict[str, str], program: str) -> int:
    app = _runtime(given, None, program)
    try:
        commands = {command.name: command for command in app.plugins.cli_commands()}
    except PorticoError:
        commands = {}  # a broken configuration must not hide that the word is misspelt
    if name not in commands:
        raise _unknown_command(name, [*COMMANDS, *commands])
    code: int = load_function(commands[name].target)(words)
    return code


def _no_command(prog: str) -> UsageError:
    return UsageError("No command was given.", hint=f"See `{prog} --help`.")


def _unknown_command(name: str, known: list[str]) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean `{{prog}} {close[0]}`?" if close else "See `{prog} --help`."
    return UsageError(f"Unknown command: {name}", hint=hint)


def _leading_options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """The global options before the command, and the rest."""
    given: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag == "--config":
            if not equals and not rest:
                raise UsageError("Argument --config: expected a path.")
            given["config"] = value if equals else rest.pop(0)
        elif word in _FLAGS:
            given[_FLAGS[word]] = ""
        else:
            raise UsageError(f"Unknown option: {flag}", hint="See `{prog} --help`.")
    return given, rest


_FLAGS = {
    "--json": "json",
    "--quiet": "quiet",
    "--verbose": "verbose",
    "--no-color": "no-color",
    "--version": "version",
    "-V": "version",
    "--help": "help",
    "-h": "help",
}


def _say_version(program: str, *, as_json: bool) -> int:
    import json

    from portico.version import __version__

    said = json.dumps({"program": program, "version": __version__}) if as_json else f"{program} {__version__}"
    print(said)  # noqa: T201 - answered before there is an Output
    return ExitCode.OK


def _say_help(program: str, stream: TextIO) -> int:
    from portico.cli.commands import top_level_help
    from portico.terminal.output import fitted_help

    print(fitted_help(top_level_help(program), stream), file=stream)
    return ExitCode.OK


def say_ended(app: App) -> None:
    """One line on stderr for all sign-ins that the provider has refused to refresh for good; nothing when quiet.

    Whatever is wrong with the index is for the commands that need it to say.
    """
    from portico.errors import PorticoError

    try:
        if not os.path.exists(app.paths.index):  # noqa: PTH110 - Path's own raises where a folder may not be looked into
            return  # nobody has ever signed in, which need not be asked of the index
        from portico.auth.health import ended_profiles
        from portico.store.profiles import login_command

        ended = ended_profiles(app.token_store.profiles())
    except PorticoError:
        return
    if len(ended) == 1 and ended[0].failure is not None:
        remedy = login_command(ended[0]).replace("{prog}", app.program)
        why = " ".join(ended[0].failure.message.split())
        app.out.note(f"{app.program}: {ended[0].id} has to be signed in again: {why} - {remedy}")
    elif ended:
        names = ", ".join(profile.id for profile in ended)
        app.out.note(f"{app.program}: these have to be signed in again: {names} - see {app.program} auth status")
