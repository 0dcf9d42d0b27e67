"""The argparse parser of every command: it raises `UsageError`, keeps the line breaks of examples, adds the global options."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from portico.errors import UsageError
from portico.terminal.output import Streams, fitted_help, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import TextIO

    from _typeshed import SupportsWrite

    from portico.app import App

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the only name this class has
    Handler = Callable[[argparse.Namespace, App], int] | str

_LONGEST_USAGE: Final = 72
_FORMATTER_MARGIN: Final = 2  # columns that argparse leaves empty
_PLAIN_WORDS: Final = {"float": "a number", "int": "a whole number"}

# The help of options that several commands have.
MODEL_HELP: Final = "provider/model or an alias (default: the default model)"
PROFILE_HELP: Final = "name of the account, for example work (default: depends on the region)"
STORE_HELP: Final = "where to store the tokens (default: the configured store, else the store used last)"
WRITE_BASE_HELP: Final = "change the OpenClaw file (the path under `base` in your config) instead of your own config file"


class CommandParser(argparse.ArgumentParser):
    """The parser of a command or subcommand.

    `{prog}` in a description or epilog becomes the program's name. `arguments_from` is the `module:function` that adds the
    arguments when they are needed, so that a command does not load the modules of other commands. `global_actions` are the
    global options; usage lines do not show them.
    """

    program: str = "portico"
    streams: Streams | None = None
    # argparse makes a formatter for every added argument, but only the shown help needs the terminal's width.
    _shown_width: int = 80

    def __init__(self, *args: object, arguments_from: str = "", **kwargs: object) -> None:
        self.arguments_from = arguments_from
        self.is_complete = False
        self.global_actions: list[argparse.Action] = []
        kwargs.setdefault("allow_abbrev", False)
        kwargs.setdefault("formatter_class", self._formatter)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as argparse's subparsers pass them

    def _formatter(self, prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, width=self._shown_width)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.complete()
        return super().parse_known_args(args, namespace)

    def complete(self, *, lazily: bool = True) -> None:
        """Add the arguments of `arguments_from` and the global options. For `lazily` see `add_global_options`."""
        if self.is_complete:
            return
        if self.arguments_from:
            load_function(self.arguments_from)(self)
        add_global_options(self, lazily=lazily)

    def add_subparsers(self, **kwargs: Any) -> Any:
        kwargs = {"title": "commands", "metavar": "<command>", **kwargs}
        if not self._get_positional_actions():
            kwargs.setdefault("prog", self.prog)  # saves argparse the formatting of a usage line
        return super().add_subparsers(**kwargs)

    def error(self, message: str) -> NoReturn:
        for kind, words in _PLAIN_WORDS.items():
            message = message.replace(f"invalid {kind} value:", f"expected {words}, not")
        usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
        hint = f"Usage: {usage}" if len(usage) <= _LONGEST_USAGE else f"See `{self.prog} --help`."
        raise UsageError(_sentence(message), hint=hint)

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Raise a usage error for unknown arguments."""
        near = _nearest(unknown[0].partition("=")[0], self._option_string_actions) if unknown[0].startswith("-") else None
        self.error(f"unknown argument {unknown[0]}{f': did you mean {near}?' if near else ''}")

    def format_usage(self) -> str:
        self._set_usage()
        return super().format_usage()

    def format_help(self) -> str:
        self._set_usage()
        return super().format_help().replace("{prog}", self.program)

    def _set_usage(self) -> None:
        streams = self.streams or Streams()
        self._shown_width = width_of(streams.stdout, streams.env) - _FORMATTER_MARGIN
        if self.usage is None:
            formatter = self._get_formatter()
            own = [action for action in self._actions if action not in self.global_actions]
            formatter.add_usage(None, own, self._mutually_exclusive_groups)
            self.usage = formatter.format_help().removeprefix("usage: ").strip().replace("%", "%%")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        # argparse would ignore an OSError here.
        streams = self.streams or Streams()
        stream = cast("TextIO", file or streams.stdout)
        stream.write(fitted_help(self.format_help(), stream, streams.env))

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        near = _nearest(str(value), map(str, action.choices))
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the only name this class has
            hint = f"Did you mean `{self.prog} {near}`?" if near else f"See `{self.prog} --help`."
            raise UsageError(f"Unknown command: {self.prog.partition(' ')[2]} {value}", hint=hint)
        known = f"did you mean {near}?" if near else f"choose from {', '.join(map(str, action.choices))}"
        raise argparse.ArgumentError(action, f"unknown value {value}: {known}")


def load_function(target: str) -> Callable[..., Any]:
    """Import the module in `target`, which is `module:function`, and return the function."""
    from importlib import import_module

    module, _, function = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def make_parser(program: str, command: str, summary: str, streams: Streams | None = None) -> CommandParser:
    """Return the parser of a top-level command. It prints its help to `streams`, by default the process's own."""
    # argparse makes subparsers from the class alone, so the program's name and the streams are class attributes.
    named: type[CommandParser] = type("CommandParser", (CommandParser,), {"program": program, "streams": streams})
    return named(prog=f"{program} {command}", description=f"{summary}.")


def add_command(commands: Commands, words: str, summary: str, handler: Handler, arguments: str = "") -> argparse.ArgumentParser:
    """Add the subcommand with the full name `words`. Its help ends with an example of the command with `arguments`."""
    example = f"{words} {arguments}".rstrip()
    parser = commands.add_parser(words.rpartition(" ")[2], help=summary, epilog=f"example:\n  {{prog}} {example}\n")
    parser.set_defaults(handler=handler)
    return parser


def add_global_options(parser: CommandParser, *, lazily: bool = False) -> None:
    """Add the global options to `parser` and its subcommands. The parsed arguments have their parser in `parser`.

    With `lazily`, a subcommand gets its global options only when it is called (`CommandParser.complete`).
    """
    parser.is_complete = True
    group = parser.add_argument_group("global options")
    for flag, settings in _GLOBAL.items():
        if flag not in parser._option_string_actions:  # noqa: SLF001 - argparse offers no other way to ask
            parser.global_actions.append(group.add_argument(flag, default=argparse.SUPPRESS, **settings))
    parser.set_defaults(parser=parser)
    for child, summary in _children(parser):
        if child.description is None and summary:
            child.description = f"{summary[:1].upper()}{summary[1:]}."
        if not lazily:
            child.complete(lazily=False)


def has_commands(parser: argparse.ArgumentParser) -> bool:
    """Whether the parser has subcommands."""
    return any(_children(parser))


_GLOBAL: dict[str, dict[str, Any]] = {
    "--config": {"metavar": "PATH", "help": "use this config file"},
    "--json": {"action": "store_true", "help": "print JSON for programs"},
    "--quiet": {"action": "store_true", "help": "print results and errors only"},
    "--verbose": {"action": "store_true", "help": "print more"},
    "--no-color": {"action": "store_true", "help": "print without colour"},
}


def _children(parser: argparse.ArgumentParser) -> Iterator[tuple[CommandParser, str | None]]:
    """Yield the parsers of the subcommands of `parser`, each with its help line."""
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the only name this class has
            summaries = {each.dest: each.help for each in action._choices_actions}  # noqa: SLF001 - the same
            yield from {id(child): (child, summaries.get(name)) for name, child in action.choices.items()}.values()


def _nearest(value: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    return next(iter(get_close_matches(value, list(known), n=1)), None)


def _sentence(message: str) -> str:
    return message[:1].upper() + message[1:] + ("" if message.endswith((".", "?")) else ".")
