"""`auth`: its subcommands, and the order in which the accounts of a provider are used (`auth.order.<provider>` in the config).

Other tools run `auth token` each time they start: this module imports only what that command needs.
"""

from __future__ import annotations

from portico.errors import ExitCode, UsageError

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.app import App

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the only name this class has

_EXAMPLES = """examples:
  {prog} auth list --verbose            where each sign-in is kept
  {prog} auth token                     one access token on stdout, for an apiKeyHelper
  {prog} auth logout minimax-portal:cn --yes
  {prog} auth import --dry-run          take over another tool's sign-in
"""
_ORDER_EXAMPLES = """examples:
  {prog} auth order get --provider minimax-portal
  {prog} auth order set --provider minimax-portal minimax-portal:work minimax-portal:default
  {prog} auth order clear --provider minimax-portal

Sign-ins that are not in the order are not used while it stands.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `auth`."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(metavar="COMMAND")
    add_list(commands)
    add_status(commands)
    token = commands.add_parser("token", help="print one access token", epilog="example:\n  {prog} auth token")
    token.add_argument("profile", nargs="?", metavar="PROFILE", help="such as minimax-portal:cn (default: the one in use)")
    token.set_defaults(handler="portico.cli.auth_token:print_token", warns_of_ended=False)
    add_logout(commands)
    taking = "take over a MiniMax sign-in that another tool keeps"
    commands.add_parser("import", help=taking, arguments_from="portico.cli.auth_import:add_arguments")
    add_order(commands)
    keeping = "refresh sign-ins before they end, without the gateway"
    commands.add_parser("keep-fresh", help=keeping, arguments_from="portico.cli.keep_fresh:add_arguments")


def add_list(commands: Commands) -> None:
    """Add `list` to `auth` or to `models auth`."""
    epilog = (
        "example:\n  {prog} auth list --verbose\n\n"
        "With --verbose --json, `generation` numbers the stored tokens, counted over all sign-ins and never twice;\n"
        "`refreshedAt` is null until the first refresh.\n"
    )
    parser = commands.add_parser("list", help="list the sign-ins", epilog=epilog)
    parser.set_defaults(handler="portico.cli.auth_status:show_list")


def add_status(commands: Commands) -> None:
    """Add `status` to `auth`."""
    epilog = (
        "example:\n  {prog} auth status --check --json\n\n"
        "An account is ok if a request with it would succeed, as far as that is known without asking a server or you.\n\n"
        "exit code: 0 all are ok; 3 a sign-in is needed; 7 the store does not give the tokens back (locked, wrong passphrase);\n"
        "9 a plugin that is needed is off or broken; with --check also 12 if one ends within 24 h and cannot be refreshed.\n"
    )
    parser = commands.add_parser("status", help="show whether each account can be used, and what to do", epilog=epilog)
    parser.add_argument("--check", action="store_true", help="let the keyring ask you; exit with 12 if one ends within 24 h")
    parser.set_defaults(handler="portico.cli.auth_status:show_status")


def add_logout(commands: Commands) -> None:
    """Add `logout` to `auth` or to `models auth`."""
    epilog = "example:\n  {prog} auth logout minimax-portal:default --yes"
    parser = commands.add_parser("logout", help="revoke a sign-in and delete its tokens", epilog=epilog)
    parser.add_argument("profile", nargs="?", metavar="PROFILE", help="such as minimax-portal:cn (default: the only one)")
    parser.add_argument("--all", action="store_true", help="sign out of every profile")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.set_defaults(handler="portico.cli.logout:logout")


def add_order(commands: Commands) -> None:
    """Add `order` to `auth` or to `models auth`."""
    summary = "which of a provider's sign-ins is used first"
    parser = commands.add_parser(
        "order", help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=_ORDER_EXAMPLES
    )
    orders = parser.add_subparsers(metavar="COMMAND")
    _add_order_command(orders, "get", "print the order", "get --provider minimax-portal --json", get_order)
    example = "set --provider minimax-portal minimax-portal:work minimax-portal:default"
    setting = _add_order_command(orders, "set", "use these sign-ins, the first one first", example, set_order)
    setting.add_argument("profiles", nargs="*", metavar="PROFILE", help="sign-ins of that provider")
    _add_order_command(orders, "clear", "take the order away", "clear --provider minimax-portal", clear_order)


def _add_order_command(
    commands: Commands,
    name: str,
    summary: str,
    example: str,
    handler: Callable[[argparse.Namespace, App], int],
) -> argparse.ArgumentParser:
    epilog = f"example:\n  {{prog}} auth order {example}\n"
    parser = commands.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=epilog)
    parser.add_argument("--provider", metavar="ID", help="the provider, or an alias of it")
    parser.set_defaults(handler=handler)
    return parser


def get_order(args: argparse.Namespace, app: App) -> int:
    """Print the order."""
    return _show_order(_provider_id(args.provider, app), app)


def set_order(args: argparse.Namespace, app: App) -> int:
    """Write the order."""
    provider = _provider_id(args.provider, app)
    if not args.profiles:
        raise UsageError("Missing profile ids.", hint=f"Give one or more of: {', '.join(_profile_ids(provider, app)) or 'none'}")
    order = list(dict.fromkeys(args.profiles))
    for id in order:
        _check_profile(id, provider, app)
    app.edit_config(lambda document: document.set(("auth", "order", provider), [*order]), strict=False)
    left_out = [id for id in _profile_ids(provider, app) if id not in order]
    if left_out:
        app.out.note(f"Not used while this order stands: {', '.join(left_out)}")
    return _show_order(provider, app)


def clear_order(args: argparse.Namespace, app: App) -> int:
    """Take the order away."""
    provider = _provider_id(args.provider, app)
    path = ("auth", "order", provider)
    app.edit_config(lambda document: document.unset(path) if document.has(path) else document, strict=False)
    if not app.out.is_json:
        app.out.line("Cleared the order.")
    return _show_order(provider, app)


def _show_order(provider: str, app: App) -> int:
    order = app.config.config.auth.order.get(provider)
    if app.out.is_json:
        value = {"provider": provider, "config": str(app.paths.config), "order": None if order is None else list(order)}
        app.out.json({**value, "profiles": _profile_ids(provider, app)})
        return ExitCode.OK
    app.out.line(f"Provider: {provider}")
    app.out.line(f"Config: {app.paths.config}")
    app.out.line(f"Sign-ins: {', '.join(_profile_ids(provider, app)) or '(none)'}")
    app.out.line(f"Order: {', '.join(order) if order else '(none)'}")
    return ExitCode.OK


def _provider_id(name: str | None, app: App) -> str:
    """The id of the provider `name`, which may be an alias.

    Raises:
        UsageError: it was not given, or no plugin, config or sign-in knows it.
    """
    from portico.errors import UnknownName

    used = sorted({profile.provider for profile in app.token_store.profiles()})
    if name is None:
        raise UsageError("Missing --provider.", hint=f"Give --provider {'|'.join(used) or 'ID'}.")
    config = app.config.config
    if name in used or name in config.auth.order:
        return name
    specs = {spec.id: spec for spec in app.plugins.providers()}
    aliases = {alias: spec.id for spec in specs.values() for alias in spec.aliases}
    if aliases.get(name) in used:  # a built-in provider may have the alias's name, and no sign-in of its own
        return aliases[name]
    known = {*specs, *config.models.providers}
    if name in known:
        return name
    from difflib import get_close_matches

    close = get_close_matches(name, [*used, *known, *aliases], n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Give one of: {', '.join(sorted(known))}"
    raise UnknownName(f"Unknown provider: {name}", hint=hint)


def _profile_ids(provider: str, app: App) -> list[str]:
    return [profile.id for profile in app.token_store.profiles() if profile.provider == provider]


def _check_profile(id: str, provider: str, app: App) -> None:
    from portico.errors import UnknownName
    from portico.models.loader import WrongProvider

    profile = app.token_store.get(id)
    if profile is None:
        hint = f"Sign-ins of {provider}: {', '.join(_profile_ids(provider, app)) or 'none'}"
        raise UnknownName(f'Auth profile "{id}" not found in {app.paths.index}.', hint=hint)
    if profile.provider != provider:
        raise WrongProvider(f'Auth profile "{id}" is for {profile.provider}, not {provider}.')
