"""Every command with its options, as the parsers have them: what completions and the reference are made of."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.cli.commands import COMMANDS
from portico.cli.parser import add_global_options, make_parser

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `flags` are its names; `choices` what it takes, where that is one of a few."""

    flags: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Node:
    """One command. `path` is its words behind the program's name, `commands` are those below it, `words` what it takes itself."""

    path: tuple[str, ...]
    summary: str
    parser: argparse.ArgumentParser
    options: tuple[Option, ...]
    commands: tuple[str, ...]
    words: tuple[str, ...]


def every_command(program: str) -> Iterator[Node]:
    """The root, then each command before those below it."""
    yield Node((), "", argparse.ArgumentParser(), (), tuple(COMMANDS), ())
    for name, command in COMMANDS.items():
        parser = make_parser(program, name, command.summary)
        command.add_arguments(parser)
        add_global_options(parser)
        yield from _below((name,), command.summary, parser)


def _below(path: tuple[str, ...], summary: str, parser: argparse.ArgumentParser) -> Iterator[Node]:
    children: dict[str, tuple[str, argparse.ArgumentParser]] = {}
    options: list[Option] = []
    words: list[str] = []
    for action in parser._actions:  # noqa: SLF001 - argparse offers no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - the only name this class has
            told = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001 - the same
            children |= {name: (told.get(name, ""), child) for name, child in action.choices.items()}
        elif action.help is not argparse.SUPPRESS and action.option_strings:
            options.append(_option(action))
        elif action.choices is not None:
            words += map(str, action.choices)
    yield Node(path, summary, parser, tuple(options), tuple(children), tuple(words))
    for name, (said, child) in children.items():
        yield from _below((*path, name), said, child)


def _option(action: argparse.Action) -> Option:
    choices = tuple(map(str, action.choices)) if action.choices is not None else ()
    return Option(tuple(action.option_strings), action.nargs != 0, choices, action.help or "")
