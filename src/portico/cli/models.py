"""`models`: list them, see what is set up, choose the default, aliases and fallbacks, and OpenClaw's names for signing in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.cli.runtime import Runtime

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the only name this class has

_EXAMPLES = """examples:
  {prog} models                                        the same as models status
  {prog} models list --all
  {prog} models set minimax-portal/MiniMax-M2.1
  {prog} models fallbacks add minimax/MiniMax-M2.1     who answers when the default cannot
  {prog} models aliases add opus anthropic/claude-opus-4-6
  {prog} models auth login --provider minimax-portal --set-default
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `models`."""
    parser.epilog = _EXAMPLES
    parser.set_defaults(handler=status, probe=False, check=False, plain=False)
    commands = parser.add_subparsers(metavar="COMMAND")
    _add_list(commands)
    _add_status(commands)
    _add_set(commands)
    _add_aliases(commands)
    _add_fallbacks(commands)
    auth = commands.add_parser("auth", help="sign in and out", epilog="example:\n  {prog} models auth list")
    _configure_auth(auth)


def _add_list(commands: Commands) -> None:
    epilog = "examples:\n  {prog} models list --all --json\n  {prog} models list --live --provider minimax-portal"
    parser = commands.add_parser("list", help="list models", epilog=epilog)
    parser.add_argument("--all", action="store_true", help="every known model, not only those in the config")
    parser.add_argument("--local", action="store_true", help="only models on this machine; LM Studio is asked what it has")
    parser.add_argument("--live", action="store_true", help="ask the providers that are set up which models they have now")
    parser.add_argument("--plain", action="store_true", help="references only, one per line")
    parser.add_argument("--provider", metavar="ID", help="models of this provider only")
    parser.set_defaults(handler=list_)


def _add_status(commands: Commands) -> None:
    epilog = "examples:\n  {prog} models status --check; echo $?\n  {prog} models status --probe --probe-provider minimax-portal"
    parser = commands.add_parser("status", help="the default, fallbacks, aliases, and who is signed in", epilog=epilog)
    parser.add_argument("--plain", action="store_true", help="the default model's reference and nothing else")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 where something in use has no credential, 2 where one ends soon"
    )
    parser.add_argument("--probe", action="store_true", help="one tiny real request for each credential")
    parser.add_argument("--probe-provider", metavar="ID", help="only this provider")
    parser.add_argument("--probe-profile", action="append", default=[], metavar="ID", help="only this sign-in; repeatable")
    parser.add_argument("--probe-timeout", type=float, default=8000.0, metavar="MS", help="for each request (8000)")
    parser.add_argument("--probe-concurrency", type=int, default=2, metavar="N", help="requests at once (2)")
    parser.add_argument("--probe-max-tokens", type=int, default=8, metavar="N", help="the longest answer (8)")
    parser.set_defaults(handler=status)


def _add_set(commands: Commands) -> None:
    epilog = "example:\n  {prog} models set minimax-portal/MiniMax-M2.1"
    parser = commands.add_parser("set", help="choose the default model", epilog=epilog)
    parser.add_argument("reference", metavar="REF", help="provider/model or an alias")
    parser.add_argument("--write-base", action="store_true", help="write it into the OpenClaw file that `base` names")
    parser.set_defaults(handler=set_)


def _add_aliases(commands: Commands) -> None:
    epilog = "example:\n  {prog} models aliases add mm minimax-portal/MiniMax-M2.1"
    group = commands.add_parser("aliases", help="short names for models", epilog=epilog)
    actions = group.add_subparsers(metavar="COMMAND")
    _leaf(actions, "list", "list them", aliases_list, "aliases list")
    adding = _leaf(actions, "add", "name a model", aliases_add, "aliases add mm minimax-portal/MiniMax-M2.1")
    adding.add_argument("alias", metavar="ALIAS", help="letters, digits and . _ : -")
    adding.add_argument("reference", metavar="REF", help="provider/model")
    removing = _leaf(actions, "remove", "forget a name", aliases_remove, "aliases remove mm")
    removing.add_argument("alias", metavar="ALIAS")


def _add_fallbacks(commands: Commands) -> None:
    epilog = "example:\n  {prog} models fallbacks add minimax/MiniMax-M2.1"
    group = commands.add_parser("fallbacks", help="who answers when the default cannot", epilog=epilog)
    actions = group.add_subparsers(metavar="COMMAND")
    _leaf(actions, "list", "list them", fallbacks_list, "fallbacks list")
    adding = _leaf(actions, "add", "add one at the end", fallbacks_add, "fallbacks add minimax/MiniMax-M2.1")
    removing = _leaf(actions, "remove", "take one out", fallbacks_remove, "fallbacks remove minimax/MiniMax-M2.1")
    for parser in (adding, removing):
        parser.add_argument("reference", metavar="REF", help="provider/model or an alias")
    _leaf(actions, "clear", "take all of them out", fallbacks_clear, "fallbacks clear")


def _leaf(
    actions: Commands, name: str, summary: str, handler: Callable[[argparse.Namespace, Runtime], int], example: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=summary, epilog=f"example:\n  {{prog}} models {example}")
    parser.set_defaults(handler=handler)
    return parser


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

    return show_models(args, rt)


def status(args: argparse.Namespace, rt: Runtime) -> int:
    """Say what is set up, and whether it works."""
    from portico.cli.models_status import show_status

    return show_status(args, rt)


def set_(args: argparse.Namespace, rt: Runtime) -> int:
    """Choose the default model."""
    from portico.cli.models_set import set_default

    return set_default(args.reference, rt, write_base=args.write_base)


def aliases_list(_args: argparse.Namespace, rt: Runtime) -> int:
    """List the aliases."""
    from portico.cli.models_names import show_aliases

    return show_aliases(rt)


def aliases_add(args: argparse.Namespace, rt: Runtime) -> int:
    """Name a model."""
    from portico.cli.models_names import add_alias

    return add_alias(args.alias, args.reference, rt)


def aliases_remove(args: argparse.Namespace, rt: Runtime) -> int:
    """Forget a name."""
    from portico.cli.models_names import remove_alias

    return remove_alias(args.alias, rt)


def fallbacks_list(_args: argparse.Namespace, rt: Runtime) -> int:
    """List the fallbacks."""
    from portico.cli.models_names import show_fallbacks

    return show_fallbacks(rt)


def fallbacks_add(args: argparse.Namespace, rt: Runtime) -> int:
    """Add a fallback."""
    from portico.cli.models_names import add_fallback

    return add_fallback(args.reference, rt)


def fallbacks_remove(args: argparse.Namespace, rt: Runtime) -> int:
    """Take a fallback out."""
    from portico.cli.models_names import remove_fallback

    return remove_fallback(args.reference, rt)


def fallbacks_clear(_args: argparse.Namespace, rt: Runtime) -> int:
    """Take all fallbacks out."""
    from portico.cli.models_names import clear_fallbacks

    return clear_fallbacks(rt)


def login_(args: argparse.Namespace, rt: Runtime) -> int:
    """Sign in; the default model changes only when asked, or where there is none."""
    from portico.cli.models_login import login

    return login(args, rt)
