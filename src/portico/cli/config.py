"""`config path|get|set|unset|validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} config get agents.defaults.model.primary
  {prog} config set gateway.port 18500
  {prog} config set env.MINIMAX_API_KEY - < key.txt
  {prog} config validate
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    _add(commands, "path", "print where the configuration file is", "config path", path)
    getting = _add(commands, "get", "print a value", "config get plugins.entries --json", get)
    getting.add_argument(
        "path", nargs="?", help=r"such as models.providers.minimax.baseUrl, a\.b for a key with a dot; default: all"
    )
    getting.add_argument("--reveal", action="store_true", help="print API keys and other secrets as they are")
    setting = _add(commands, "set", "set a value; comments and everything else stay", "config set gateway.port 18500", set_)
    setting.add_argument("path", help="where to set it; what is missing on the way is made")
    setting.add_argument("value", help="JSON5, else plain text (with --json only JSON5); - reads plain text from standard input")
    _add(commands, "unset", "remove a value", "config unset plugins.allow", unset).add_argument("path", help="what to remove")
    _add(commands, "validate", "name everything that is wrong in the file", "config validate --json", validate)


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
        rt.out.line(str(rt.paths.config))
    return ExitCode.OK


def get(args: argparse.Namespace, rt: Runtime) -> int:
    """Print one value."""
    from portico.cli.config_values import show

    return show(rt, args.path, reveal=args.reveal)


def set_(args: argparse.Namespace, rt: Runtime) -> int:
    """Set one value."""
    from portico.cli.config_values import change, given_value, masked
    from portico.config.checker import is_known
    from portico.config.document import parse_path

    at = parse_path(args.path)
    value = given_value(args.value, strict=rt.out.is_json)
    secret = masked(value, str(at[-1])) != value
    changed = change(rt, lambda document: document.set(at, value), private=secret)
    if not is_known(str(at[0])):
        rt.out.warn(f"{rt.program}: `{at[0]}` is not a key that Portico knows; it has no effect.")
    return _done(rt, changed, f"Updated {args.path}", f"{args.path} is set to that already")


def unset(args: argparse.Namespace, rt: Runtime) -> int:
    """Remove one value."""
    from portico.cli.config_values import change, names_secret, not_found
    from portico.config.document import parse_path

    at = parse_path(args.path)
    try:
        changed = change(rt, lambda document: document.unset(at))
    except KeyError:
        raise not_found(args.path, rt) from None
    if names_secret(str(at[-1])):
        rt.out.note(f"It is still in the older versions beside the file, {rt.paths.config.name}.bak and so on.")
    return _done(rt, changed, f"Removed {args.path}", "")


def validate(_args: argparse.Namespace, rt: Runtime) -> int:
    """Name every problem; exit 9 where one is an error."""
    from portico.cli.config_values import show_problems

    return show_problems(rt)


def _done(rt: Runtime, changed: bool, done: str, nothing: str) -> int:
    if rt.out.is_json:
        rt.out.json({"changed": changed, "path": str(rt.paths.config)})
    elif not changed:
        rt.out.line(f"{nothing}.")
    elif rt.gateway_runs():
        rt.out.line(f"{done}. Restart the gateway to apply.")
    else:
        rt.out.line(f"{done}.")
    return ExitCode.OK
