"""`auth`: which sign-ins there are, one access token for another tool, and signing out.

`auth token` is called by other tools on each of their starts: nothing is imported here that it does not need.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} auth list --verbose            where each sign-in is kept
  {prog} auth token                     one access token on stdout, for an apiKeyHelper
  {prog} auth logout minimax-portal:cn --yes
  {prog} auth import --dry-run          take over another tool's sign-in
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `auth`."""
    from portico.cli.auth_order import add_order

    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(metavar="COMMAND")
    add_list(commands)
    add_status(commands)
    token = commands.add_parser("token", help="print one access token", epilog="example:\n  {prog} auth token")
    token.add_argument("profile", nargs="?", metavar="PROFILE", help="such as minimax-portal:cn (default: the one in use)")
    token.set_defaults(handler=token_, tells_trouble=False)
    add_logout(commands)
    taking = "take over a MiniMax sign-in that another tool keeps"
    commands.add_parser("import", help=taking, arguments_from="portico.cli.auth_import:add_arguments")
    add_order(commands)
    keeping = "refresh sign-ins before they end, without the gateway"
    commands.add_parser("keep-fresh", help=keeping, arguments_from="portico.cli.keep_fresh:add_arguments")


def add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `list` to `auth` or to `models auth`."""
    epilog = (
        "example:\n  {prog} auth list --verbose\n\n"
        "With --verbose --json, `generation` numbers the stored tokens, counted over all sign-ins and never twice;\n"
        "`refreshedAt` is null until the first refresh.\n"
    )
    parser = commands.add_parser("list", help="list the sign-ins", epilog=epilog)
    parser.set_defaults(handler=list_)


def add_status(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `status` to `auth`."""
    epilog = (
        "example:\n  {prog} auth status --check --json\n\n"
        "An account is ok if a request with it would succeed, as far as that is known without asking a server or you.\n\n"
        "exit code: 0 all are ok; 3 a sign-in is needed; 7 the store does not give the tokens back (locked, wrong passphrase);\n"
        "9 a plugin that is needed is off or broken; with --check also 12 if one ends within 24 h and cannot be refreshed.\n"
    )
    parser = commands.add_parser("status", help="show whether each account can be used, and what to do", epilog=epilog)
    parser.add_argument("--check", action="store_true", help="let the keyring ask you; exit with 12 if one ends within 24 h")
    parser.set_defaults(handler=status_)


def add_logout(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `logout` to `auth` or to `models auth`."""
    epilog = "example:\n  {prog} auth logout minimax-portal:default --yes"
    parser = commands.add_parser("logout", help="revoke a sign-in and delete its tokens", epilog=epilog)
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help="such as minimax-portal:cn (default: the only one)")
    parser.add_argument("--all", action="store_true", help="sign out of every profile")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(handler=logout)


def token_(args: argparse.Namespace, rt: Runtime) -> int:
    """Print one access token and nothing else."""
    from portico.cli.token import print_token

    return print_token(args.profile, rt)


def list_(_args: argparse.Namespace, rt: Runtime) -> int:
    """List the profiles."""
    from portico.cli.auth_view import show_list

    return show_list(rt)


def status_(args: argparse.Namespace, rt: Runtime) -> int:
    """Say how each profile is."""
    from portico.cli.auth_status import show_status

    return show_status(rt, check=args.check)


def logout(args: argparse.Namespace, rt: Runtime) -> int:
    """Sign out of one profile or of all."""
    from portico.cli.logout import run_logout

    return run_logout(args.profile, rt, all_profiles=args.all, yes=args.yes)
