"""`plugins list|info|enable|disable|doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.errors import ExitCode

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} plugins list
  {prog} plugins enable minimax-portal-auth
  {prog} plugins doctor
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(title="commands", metavar="<command>")
    listing = commands.add_parser("list", help="list the plugins", epilog="example:\n  {prog} plugins list --json\n")
    listing.description = "List the plugins and whether they are on."
    listing.add_argument("--enabled", action="store_true", help="only those that are loaded")
    listing.set_defaults(handler=list_plugins)
    _add_one(commands, "info", "show one plugin", info)
    _add_one(commands, "enable", "switch a plugin on", enable)
    _add_one(commands, "disable", "switch a plugin off", disable)
    doctor_epilog = "example:\n  {prog} plugins doctor --json\n"
    checkup = commands.add_parser("doctor", help="look for plugins that do not work", epilog=doctor_epilog)
    checkup.description = "Load the plugins that are on, run their own checks, and say what is wrong."
    checkup.set_defaults(handler=doctor)


def _add_one(commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, summary: str, handler: object) -> None:
    epilog = f"example:\n  {{prog}} plugins {name} minimax-portal-auth\n"
    parser = commands.add_parser(name, help=summary, epilog=epilog, description=f"{summary.capitalize()}.")
    parser.add_argument("id", help="the plugin's id, or its name")
    parser.set_defaults(handler=handler)


def list_plugins(args: argparse.Namespace, rt: Runtime) -> int:
    """Print every plugin found; those that are on are loaded, so that `loaded` is the truth."""
    from portico.cli.plugins_view import show_list

    rt.plugins.load()
    rt.plugins.cli_commands()
    show_list(rt, only_loaded=args.enabled)
    return ExitCode.OK


def info(args: argparse.Namespace, rt: Runtime) -> int:
    """Print what is known of one plugin."""
    from portico.cli.plugins_view import show_one

    record = rt.plugins.find(args.id)
    if record.enabled:
        rt.plugins.load({record.id})
        rt.plugins.cli_commands({record.id})
    show_one(rt, rt.plugins.find(args.id))
    return ExitCode.OK


def enable(args: argparse.Namespace, rt: Runtime) -> int:
    """Switch a plugin on, and say so only if it will load."""
    from portico.cli.plugins_switch import switch_on

    return switch_on(rt, args.id)


def disable(args: argparse.Namespace, rt: Runtime) -> int:
    """Switch a plugin off."""
    from portico.cli.plugins_switch import switch_off

    return switch_off(rt, args.id)


def doctor(args: argparse.Namespace, rt: Runtime) -> int:  # noqa: ARG001 - a handler's signature
    """Say what is wrong with the plugins."""
    from portico.cli.plugins_doctor import examine

    return examine(rt)
