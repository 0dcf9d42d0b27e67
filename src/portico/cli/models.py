"""`models`: list them, choose the default, and OpenClaw's names for signing in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from portico.cli.runtime import Runtime

_EXAMPLES = """examples:
  {prog} models list --all
  {prog} models set minimax-portal/MiniMax-M2.1
  {prog} models auth login --provider minimax-portal --set-default
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `models`."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(metavar="COMMAND")
    listing = commands.add_parser("list", help="list models", epilog="example:\n  {prog} models list --all --json")
    listing.add_argument("--all", action="store_true", help="every known model, not only those in the config")
    listing.add_argument("--plain", action="store_true", help="references only, one per line")
    listing.add_argument("--provider", metavar="ID", help="models of this provider only")
    listing.set_defaults(handler=list_)
    setting = commands.add_parser(
        "set", help="choose the default model", epilog="example:\n  {prog} models set minimax-portal/MiniMax-M2.1"
    )
    setting.add_argument("reference", metavar="REF", help="provider/model or an alias")
    setting.set_defaults(handler=set_)
    auth = commands.add_parser("auth", help="sign in and out", epilog="example:\n  {prog} models auth list")
    _configure_auth(auth)


def _configure_auth(parser: argparse.ArgumentParser) -> None:
    from portico.cli.auth import add_list, add_logout
    from portico.cli.auth_order import add_order
    from portico.cli.sign_in_options import add_sign_in_options

    commands = parser.add_subparsers(metavar="COMMAND")
    login = commands.add_parser(
        "login", help="sign in to a provider", epilog="example:\n  {prog} models auth login --provider minimax-portal"
    )
    login.add_argument("--provider", metavar="ID", help="the provider to sign in to")
    login.add_argument("--method", metavar="ID", help="oauth (Global) or oauth-cn: the region, in OpenClaw's words")
    login.add_argument("--set-default", action="store_true", help="make its model the default")
    add_sign_in_options(login)
    login.set_defaults(handler=login_)
    add_list(commands)
    add_logout(commands)
    add_order(commands)


def list_(args: argparse.Namespace, rt: Runtime) -> int:
    """List models."""
    from portico.cli.models_view import show_models

    return show_models(rt, everything=args.all, plain=args.plain, provider=args.provider)


def set_(args: argparse.Namespace, rt: Runtime) -> int:
    """Choose the default model."""
    from portico.cli.models_set import set_default

    return set_default(args.reference, rt)


def login_(args: argparse.Namespace, rt: Runtime) -> int:
    """Sign in; the default model changes only when asked, or where there is none."""
    from portico.cli.models_login import login

    return login(args, rt)
