"""`completion`: what a shell reads to complete commands and options. It is made of the parsers, and asks nothing when used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from portico.cli.runtime import Runtime
    from portico.cli.tree import Node

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
    parser.set_defaults(handler=completion, tells_trouble=False)


def completion(args: argparse.Namespace, rt: Runtime) -> int:
    """Print it."""
    from portico.cli.tree import every_command

    script = _SHELLS[args.shell](list(every_command(rt.program)), rt.program)
    if rt.out.is_json:
        rt.out.json({"shell": args.shell, "script": script})
    else:
        rt.out.write(script)
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
