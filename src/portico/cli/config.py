"""`config path|get|set|insert|unset|validate|schema|edit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} config get agents.defaults.model.primary --verbose
  {prog} config set gateway.port 18500
  {prog} config set env.MINIMAX_API_KEY - < key.txt
  {prog} config set base '~/.openclaw/openclaw.json'
  {prog} config validate
"""
_JSON5 = "JSON5, else plain text (with --json only JSON5); - reads plain text from standard input"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    _add(commands, "path", "print where the configuration file is", "config path", path)
    getting = _add(commands, "get", "print the value that counts", "config get plugins.entries --json", get)
    getting.add_argument(
        "path", nargs="?", help=r"such as models.providers.minimax.baseUrl, a\.b for a key with a dot; default: all"
    )
    getting.add_argument("--reveal", action="store_true", help="print API keys and other secrets as they are")
    setting = _add(commands, "set", "set a value; comments and everything else stay", "config set gateway.port 18500", set_)
    setting.add_argument("path", help="where to set it; what is missing on the way is made")
    setting.add_argument("value", help=_JSON5)
    inserting = _add(commands, "insert", "put a value into an array", "config insert plugins.deny[0] telegram", insert)
    inserting.add_argument("path", help="the array and the index; what stands there moves on")
    inserting.add_argument("value", help=_JSON5)
    unsetting = _add(commands, "unset", "remove a value", "config unset plugins.allow", unset)
    unsetting.add_argument("path", help="what to remove")
    for changing in (setting, inserting, unsetting):
        changing.add_argument("--write-base", action="store_true", help="write into the OpenClaw file that `base` names")
    _add(commands, "validate", "name everything that is wrong, in every file that is read", "config validate --json", validate)
    _add(commands, "schema", "print the JSON Schema of the file, for editors", "config schema > portico.schema.json", schema)
    _add(commands, "edit", "open the file in $VISUAL or $EDITOR, and check it before it counts", "config edit", edit)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    summary: str,
    example: str,
    handler: Callable[[argparse.Namespace, Runtime], int],
) -> argparse.ArgumentParser:
    description = f"{summary[:1].upper()}{summary[1:]}."
    parser = commands.add_parser(name, help=summary, description=description, epilog=f"example:\n  {{prog}} {example}\n")
    parser.set_defaults(handler=handler)
    return parser


def path(_args: argparse.Namespace, rt: Runtime) -> int:
    """Print where the configuration file is, whether it exists or not."""
    if rt.out.is_json:
        rt.out.json({"path": str(rt.paths.config), "exists": rt.paths.config.exists()})
    else:
        rt.out.exact(str(rt.paths.config))
    return ExitCode.OK


def get(args: argparse.Namespace, rt: Runtime) -> int:
    """Print one value; with `--verbose` also the file and line that it comes from."""
    from portico.cli.config_get import show

    code = show(rt, args.path, reveal=args.reveal)
    rt.tell_exposed()
    return code


def set_(args: argparse.Namespace, rt: Runtime) -> int:
    """Set one value."""
    from portico.cli.config_change import set_value

    code = set_value(rt, args.path, args.value, in_base=args.write_base)
    rt.tell_exposed()
    return code


def insert(args: argparse.Namespace, rt: Runtime) -> int:
    """Put one element between two others."""
    from portico.cli.config_change import insert_value

    code = insert_value(rt, args.path, args.value, in_base=args.write_base)
    rt.tell_exposed()
    return code


def unset(args: argparse.Namespace, rt: Runtime) -> int:
    """Remove one value."""
    from portico.cli.config_change import unset_value

    code = unset_value(rt, args.path, in_base=args.write_base)
    rt.tell_exposed()
    return code


def validate(_args: argparse.Namespace, rt: Runtime) -> int:
    """Name every problem; exit 9 where one is an error."""
    from portico.cli.config_check import show_problems

    return show_problems(rt)


def schema(_args: argparse.Namespace, rt: Runtime) -> int:
    """Print what the file may hold, as JSON Schema."""
    from portico.config.schema import json_schema

    rt.out.json(json_schema())
    return ExitCode.OK


def edit(_args: argparse.Namespace, rt: Runtime) -> int:
    """Let a person edit a copy, and put it in place if it holds."""
    from portico.cli.config_edit import edit_by_hand

    code = edit_by_hand(rt)
    rt.tell_exposed()
    return code
