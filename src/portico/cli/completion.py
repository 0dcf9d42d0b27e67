"""`completion`: what a shell needs to complete commands and options; made of the tree of all commands, as the reference is."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.cli.commands import COMMANDS
from portico.cli.parser import add_global_options, make_parser
from portico.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portico.app import App

_EXAMPLES = """examples:
  eval "$({prog} completion bash)"                                     in ~/.bashrc
  {prog} completion zsh > "${{fpath[1]}}/_{prog}"                       then start zsh anew
  {prog} completion fish > ~/.config/fish/completions/{prog}.fish
""".replace("{{", "{").replace("}}", "}")
_BASH: Final = """\
_@_complete() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path="" word
    for word in "${COMP_WORDS[@]:1:$((COMP_CWORD-1))}"; do
        case "$path $word" in
%(steps)s
        esac
    done
    case "$path $prev" in
%(values)s
    esac
    case "$path" in
%(words)s
    esac
}
complete -o default -F _@_complete @
"""
_ZSH: Final = """\
#compdef @
autoload -Uz bashcompinit && bashcompinit
%(bash)s"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `completion`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("shell", choices=tuple(_SHELLS), help="which shell's")
    parser.set_defaults(handler=completion, warns_of_ended=False)


def completion(args: argparse.Namespace, app: App) -> int:
    """Print it."""
    script = _SHELLS[args.shell](list(every_command(app.program)), app.program)
    if app.out.is_json:
        app.out.json({"shell": args.shell, "script": script})
    else:
        app.out.write(script)
    return ExitCode.OK


def bash(nodes: list[Node], program: str) -> str:
    """For bash: where the words so far lead to is followed, then the words of that command are offered."""
    steps = [f'            {_case(node)}) path="{_path(node)}" ;;' for node in nodes if node.path]
    values = [
        f'        {_quoted(f"{_path(node)} {flag}")}) COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$cur")); return ;;'
        for node in nodes
        for option in node.options
        for flag in option.flags
        if option.choices
    ]
    words = [
        f'        {_quoted(_path(node))}) COMPREPLY=($(compgen -W "{" ".join(_offered(node))}" -- "$cur")) ;;' for node in nodes
    ]
    parts = {"steps": "\n".join(steps), "values": "\n".join(values), "words": "\n".join(words)}
    return _named(_BASH % parts, program)


def zsh(nodes: list[Node], program: str) -> str:
    """For zsh, by its own emulation of bash's completion."""
    return _named(_ZSH % {"bash": bash(nodes, program)}, program)


def fish(nodes: list[Node], program: str) -> str:
    """For fish, with what each command and option is for."""
    lines = [f"complete -c {program} -f"]
    for node in nodes:
        seen = " ".join(f"__fish_seen_subcommand_from {word};" for word in node.path)
        below = f" not __fish_seen_subcommand_from {' '.join(node.commands)};" if node.commands else ""
        condition = (seen + below).replace(";", "; and", max(0, (seen + below).count(";") - 1)).rstrip(";")
        given = f" -n {_single(condition)}" if condition else ""
        told = {child.path[-1]: child.summary for child in nodes if child.path[:-1] == node.path and child.path}
        lines += [
            f"complete -c {program}{given} -a {word} -d {_single(told.get(word, ''))}" for word in (*node.commands, *node.words)
        ]
        for option in node.options:
            names = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.flags)
            value = f" -x -a {_single(' '.join(option.choices))}" if option.choices else " -r" if option.takes_value else ""
            lines.append(f"complete -c {program}{given} {names}{value} -d {_single(option.help)}")
    return "\n".join([*lines, ""])


def _offered(node: Node) -> Iterable[str]:
    yield from (*node.commands, *node.words)
    for option in node.options:
        yield from option.flags


def _path(node: Node) -> str:
    return "".join(f" {word}" for word in node.path)


def _case(node: Node) -> str:
    return _quoted(f"{''.join(f' {word}' for word in node.path[:-1])} {node.path[-1]}")


def _quoted(text: str) -> str:
    return f'"{text}"'


def _single(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("%(prog)s", "") + "'"


def _named(script: str, program: str) -> str:
    name = "".join(letter if letter.isalnum() else "_" for letter in program)
    return script.replace("_@_complete", f"_{name}_complete").replace(" @\n", f" {program}\n")


_SHELLS: Final[dict[str, Callable[[list[Node], str], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


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
