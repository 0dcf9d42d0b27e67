"""Find the handler for the words of a command line: parse the global options, then load the command's module and its arguments.

`COMMANDS` names the function `add_arguments(parser)` of each command's module, which adds the arguments and subcommands. Every
leaf sets `handler`: a function of `(args, app)` that returns the exit code, or `module:function` of another module. A module is
imported only when its command runs. The list of commands is printed without argparse, because that is faster.

After every command, a warning on stderr names the accounts that must sign in again.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, PorticoError, SignInNeeded, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable
    from typing import TextIO

    from portico.app import App
    from portico.terminal.output import Streams


class Command:
    """A command: the `module:function` that adds its arguments to a parser, and its line in `--help`."""

    def __init__(self, target: str, summary: str) -> None:
        self.target = target
        self.summary = summary

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Import the command's module and let it add its arguments."""
        from portico.cli.parser import load_function  # the help does without argparse

        load_function(self.target)(parser)


COMMANDS: Final[dict[str, Command]] = {
    "onboard": Command("portico.cli.onboard:add_onboard_arguments", "Sign in to a provider and set the default model"),
    "configure": Command(
        "portico.cli.onboard:add_configure_arguments", "Set up providers, the default model and fallbacks from menus"
    ),
    "auth": Command("portico.cli.auth:add_arguments", "List your accounts, print an access token, sign out"),
    "models": Command("portico.cli.models:add_arguments", "List models, set the default model, aliases and fallbacks"),
    "ask": Command("portico.cli.ask:add_arguments", "Ask a model one question and stream the answer"),
    "usage": Command("portico.cli.usage:add_arguments", "Show what is left of your plans and what requests cost"),
    "plugins": Command("portico.cli.plugins:add_arguments", "List, inspect, enable and disable plugins"),
    "doctor": Command("portico.cli.doctor:add_arguments", "Diagnose problems and suggest fixes"),
    "explain": Command("portico.cli.explain:add_arguments", "Explain an error and how to fix it"),
    "config": Command("portico.cli.config:add_arguments", "Read, change and check the configuration"),
    "gateway": Command("portico.cli.gateway:add_arguments", "Manage the local server that lets your tools use the models"),
    "exec": Command("portico.cli.exec:add_exec_arguments", "Run a tool through the gateway, with its own key"),
    "env": Command("portico.cli.exec:add_env_arguments", "Print the variables that point a shell's tools at the gateway"),
    "completion": Command("portico.cli.completion:add_arguments", "Print the completion script of a shell"),
    "purge": Command("portico.cli.purge:add_arguments", "Sign out of every account and delete Portico's data"),
    "emulator": Command("portico.cli.emulator:add_arguments", "Run an emulator of the providers' servers, offline"),
    "demo": Command("portico.cli.demo:add_arguments", "Try a complete sign-in against the emulator"),
}


GLOBAL_OPTIONS: Final = (
    ("--config PATH", "use this config file (or PORTICO_CONFIG)"),
    ("--json", "print JSON for programs"),
    ("--quiet", "print results and errors only"),
    ("--verbose", "print more"),
    ("--no-color", "print without colour (or NO_COLOR)"),
)


def top_level_help(program: str) -> str:
    """Return the text that `--help` prints."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {program} [options] <command> ...",
            "",
            "Sign in to a model provider once, and use its models in every tool on this machine.",
            "",
            "commands:",
            *(f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()),
            f"  {'help':{width}}  Print this help, or the help of a command",
            "",
            "options, before or after the command:",
            *(f"  {flag:13}  {what}" for flag, what in GLOBAL_OPTIONS),
            f"  {'--version':13}  print the version",
            f"  {'--help':13}  print this help; after a command, print its help",
            "",
            "examples:",
            f"  {program} onboard --auth-choice minimax-portal",
            f'  {program} ask "Why is the sky blue?"',
            f"  {program} plugins list",
            "",
            f"Plugins can add commands. To see them: {program} plugins list --verbose",
        ]
    )


def dispatch(words: list[str], program: str, streams: Streams) -> int:
    """Run the command that `words` name, on `streams`, and return its exit code.

    Raises:
        UsageError: there is no such command, or its arguments are wrong.
    """
    leading, rest = _leading_options(words)
    if "version" in leading:
        return _print_version(program, streams.stdout, as_json="json" in leading)
    if rest[:1] == ["help"]:
        rest = [*rest[1:], "--help"]
    if "help" in leading or rest == ["--help"]:
        return _print_help(program, streams.stdout, streams)
    if not rest:
        if "json" in leading:
            raise _no_command(program)
        _print_help(program, streams.stderr, streams)
        return ExitCode.USAGE
    if rest[0] in COMMANDS:
        return _run_host_command(rest[0], rest[1:], leading, program, streams)
    return _run_plugin_command(rest[0], rest[1:], leading, program, streams)


def _run_host_command(name: str, words: list[str], leading: dict[str, str], program: str, streams: Streams) -> int:
    from portico.cli.parser import add_global_options, has_commands, load_function, make_parser

    parser = make_parser(program, name, COMMANDS[name].summary, streams)
    COMMANDS[name].add_arguments(parser)
    add_global_options(parser, lazily=True)
    if words[:1] == ["help"] and has_commands(parser):
        words = [*words[1:], "--help"]
    args, unknown = parser.parse_known_args(words)
    if unknown:
        args.parser.refuse(unknown)
    handler = getattr(args, "handler", None)
    if handler is None:
        if "json" in leading or "json" in args:
            raise _no_command(args.parser.prog)
        args.parser.print_help(streams.stderr)
        return ExitCode.USAGE
    function = load_function(handler) if isinstance(handler, str) else handler
    return _run_command(function, args, _app(leading, args, program, streams))


def _run_command(handler: Callable[[Namespace, App], int], args: Namespace, app: App) -> int:
    """Run the command, then warn of accounts that ended, unless the command failed for this reason."""
    if not getattr(args, "warns_of_ended", True):
        return handler(args, app)
    try:
        code = handler(args, app)
    except SignInNeeded:
        raise
    except PorticoError:
        warn_of_ended(app)
        raise
    warn_of_ended(app)
    return code


def _app(leading: dict[str, str], args: Namespace | None, program: str, streams: Streams) -> App:
    from portico.app import App, Options

    after = vars(args) if args is not None else {}
    options = Options(
        config=after.get("config", leading.get("config")),
        json=bool(after.get("json") or "json" in leading),
        quiet=bool(after.get("quiet") or "quiet" in leading),
        verbose=bool(after.get("verbose") or "verbose" in leading),
        no_color=bool(after.get("no_color") or "no-color" in leading),
    )
    return App(program, options, streams=streams)


def _run_plugin_command(name: str, words: list[str], leading: dict[str, str], program: str, streams: Streams) -> int:
    from portico.cli.parser import load_function

    app = _app(leading, None, program, streams)
    try:
        commands = {command.name: command for command in app.plugins.cli_commands()}
    except PorticoError:
        commands = {}  # report the misspelt word, not the broken config
    if name not in commands:
        raise _unknown_command(name, [*COMMANDS, *commands])
    function = load_function(commands[name].target)
    with ExitStack() as stack:
        if streams.stdout is not sys.stdout:  # a plugin's command prints to `sys.stdout`
            stack.enter_context(redirect_stdout(streams.stdout))
        if streams.stderr is not sys.stderr:
            stack.enter_context(redirect_stderr(streams.stderr))
        code: int = function(words)
    return code


def _no_command(prog: str) -> UsageError:
    return UsageError("Specify a command.", hint=f"See `{prog} --help`.")


def _unknown_command(name: str, known: list[str]) -> UsageError:
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1)
    hint = f"Did you mean `{{prog}} {close[0]}`?" if close else "See `{prog} --help`."
    return UsageError(f"Unknown command: {name}", hint=hint)


def _leading_options(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Separate the global options before the command from the rest."""
    leading: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag == "--config":
            if not equals and not rest:
                raise UsageError("Argument --config: specify a path.")
            leading["config"] = value if equals else rest.pop(0)
        elif word in _FLAGS:
            leading[_FLAGS[word]] = ""
        else:
            raise UsageError(f"Unknown option: {flag}", hint="See `{prog} --help`.")
    return leading, rest


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


def _print_version(program: str, stdout: TextIO, *, as_json: bool) -> int:
    import json

    from portico.version import __version__

    print(json.dumps({"program": program, "version": __version__}) if as_json else f"{program} {__version__}", file=stdout)
    return ExitCode.OK


def _print_help(program: str, stream: TextIO, streams: Streams) -> int:
    from portico.terminal.output import fitted_help

    print(fitted_help(top_level_help(program), stream, streams.env), file=stream)
    return ExitCode.OK


def finish_pending_sign_ins(app: App) -> None:
    """Write the config of the profiles whose sign-in was interrupted before this step.

    Raises:
        ConfigError, LockBusy, StoreError: the config or the index cannot be changed.
    """
    if any(profile.config_pending for profile in app.token_store.profiles()):
        from portico.accounts.config_patch import finish_pending  # rarely needed, and imports everything for a sign-in

        finish_pending(app)


def warn_of_ended(app: App) -> None:
    """Print one line on stderr that names the accounts that must sign in again; nothing with `--quiet`.

    An unreadable profile index is ignored here; the commands that need it report it.
    """
    try:
        if not os.path.exists(app.paths.index):  # noqa: PTH110 - Path.exists raises PermissionError
            return  # no account was ever made
        from portico.util.files import read_private

        if b'"failure"' not in (read_private(app.paths.index) or b""):
            return  # no profile failed; parsing the index would take three times as long
        from portico.auth.freshness import ended_profiles
        from portico.store.profiles import login_command

        ended = ended_profiles(app.token_store.profiles())
    except PorticoError:
        return
    if len(ended) == 1 and ended[0].failure is not None:
        remedy = login_command(ended[0]).replace("{prog}", app.program)
        why = " ".join(ended[0].failure.message.split())
        app.out.note(f"{app.program}: {ended[0].id} must sign in again: {why} - {remedy}")
    elif ended:
        names = ", ".join(profile.id for profile in ended)
        app.out.note(f"{app.program}: these accounts must sign in again: {names} - see {app.program} auth status")
