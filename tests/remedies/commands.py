"""The commands that a remedy names, and whether the real parsers take them."""

from __future__ import annotations

import re
import shlex
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final

from portico.cli.dispatch import COMMANDS
from portico.cli.parser import add_global_options, make_parser
from portico.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

# Where a command ends and the sentence goes on.
_END: Final = re.compile(r"[`;\n)]|, |: |\.$|   | \(|, then|\"\)")
# What may stand where a template leaves a gap: an id, a number, an order's subcommand, a key and its value, a store.
_FILLINGS: Final = ("minimax-portal:default", "8080", "clear --provider minimax", "key.of.config", "mmx", "device", "file")


def named_commands(text: str) -> Iterator[str]:
    """Each command of Portico's in a remedy, without the program's name; the sentence around it may still follow it."""
    for after in re.split(r"(?:\{prog\}|\bportico) (?=[a-z])", text)[1:]:
        yield _END.split(after, maxsplit=1)[0].strip().rstrip(".")


def accepted(command: str) -> list[str] | None:
    """The words of the command as far as the real parser takes them; None if it takes none, or not an option that is named.

    Gaps are filled. Words of the sentence behind it (`config set changes a value`) are not the command's.
    """
    for filling in product(_FILLINGS, repeat=min(command.count("{}"), 3)) if "{}" in command else [()]:
        words = _words(_filled(command, filling))
        gaps = {*" ".join(filling).split()}
        for length in range(len(words), 0, -1):
            if any(word.startswith("--") or word in gaps for word in words[length:]):
                break
            if _parses(words[:length]):
                return words[:length]
    return None


def _filled(command: str, filling: tuple[str, ...]) -> str:
    for each in filling:
        command = command.replace("{}", each, 1)
    return command.replace("{}", _FILLINGS[0])


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()


def _parses(words: list[str]) -> bool:
    parser = _parser(words[0])
    if parser is None:
        return False
    try:
        args, rest = parser.parse_known_args(_typed(words[1:]))
    except (UsageError, SystemExit):
        return False
    return not rest and hasattr(args, "handler")


def _typed(words: list[str]) -> list[str]:
    """Placeholders in capitals, as a person would replace them: a port is a number."""
    return ["18445" if word == "PORT" else word for word in words]


@cache
def _parser(name: str) -> argparse.ArgumentParser | None:
    command = COMMANDS.get(name)
    if command is None:
        return None
    parser = make_parser("portico", name, command.summary)
    command.add_arguments(parser)
    add_global_options(parser)
    return parser
