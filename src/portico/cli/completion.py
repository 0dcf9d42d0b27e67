"""`completion`: print the completion script of a shell, made from the tree of all commands."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.cli.dispatch import COMMANDS
from portico.cli.parser import add_global_options, make_parser
from portico.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portico.app import App

_EXAMPLES = """examples:
  eval "$({prog} completion bash)"                                     add this line to ~/.bashrc
  {prog} completion zsh > "${{fpath[1]}}/_{prog}"                       then restart zsh
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
    parser.add_argument("shell", choices=tuple(_SHELLS), help="the shell to print the script for")
    parser.set_defaults(handler=completion, warns_of_ended=False)


def completion(args: argparse.Namespace, app: App) -> int:
    """Print the script."""
    script = _SHELLS[args.shell](list(every_command(app.program)), app.program)
    if app.out.is_json:
        app.out.json({"shell": args.shell, "script": script})
    else:
        app.out.write(script)
    return ExitCode.OK


def bash(nodes: list[Node], program: str) -> str:
    """Return the script for bash: follow the words typed so far to a command, then offer its words."""
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
    """Return the script for zsh, which emulates bash's completion."""
    return _named(_ZSH % {"bash": bash(nodes, program)}, program)


def fish(nodes: list[Node], program: str) -> str:
    """Return the script for fish, with a description of each command and option."""
    lines = [f"complete -c {program} -f"]
    for node in nodes:
        seen = " ".join(f"__fish_seen_subcommand_from {word};" for word in node.path)
        below = f" not __fish_seen_subcommand_from {' '.join(node.commands)};" if node.commands else ""
        condition = (seen + below).replace(";", "; and", max(0, (seen + below).count(";") - 1)).rstrip(";")
        only_if = f" -n {_single(condition)}" if condition else ""
        summaries = {child.path[-1]: child.summary for child in nodes if child.path[:-1] == node.path and child.path}
        lines += [
            f"complete -c {program}{only_if} -a {word} -d {_single(summaries.get(word, ''))}"
            for word in (*node.commands, *node.words)
        ]
        for option in node.options:
            names = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.flags)
            value = f" -x -a {_single(' '.join(option.choices))}" if option.choices else " -r" if option.takes_value else ""
            lines.append(f"complete -c {program}{only_if} {names}{value} -d {_single(option.help)}")
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
    """One option. `flags` are its names, `choices` the values it takes if they are a fixed list."""

    flags: tuple[str, ...]
    takes_value: bool
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Node:
    """One command. `path` are its words after the program's name, `commands` its subcommands, `words` its fixed arguments."""

    path: tuple[str, ...]
    summary: str
    parser: argparse.ArgumentParser
    options: tuple[Option, ...]
    commands: tuple[str, ...]
    words: tuple[str, ...]


def every_command(program: str) -> Iterator[Node]:
    """Yield the root, then every command before its subcommands."""
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
            summaries = {each.dest: each.help or "" for each in action._choices_actions}  # noqa: SLF001 - the same
            children |= {name: (summaries.get(name, ""), child) for name, child in action.choices.items()}
        elif action.help is not argparse.SUPPRESS and action.option_strings:
            options.append(_option(action))
        elif action.choices is not None:
            words += map(str, action.choices)
    yield Node(path, summary, parser, tuple(options), tuple(children), tuple(words))
    for name, (text, child) in children.items():
        yield from _below((*path, name), text, child)


def _option(action: argparse.Action) -> Option:
    choices = tuple(map(str, action.choices)) if action.choices is not None else ()
    return Option(tuple(action.option_strings), action.nargs != 0, choices, action.help or "")
