"""`auth`: its subcommands, the order of a provider's accounts (`auth.order.<provider>` in the config), and `auth token`.

Other tools run `auth token` each time they start, for example as Claude Code's `apiKeyHelper`. Therefore this module imports
only what `auth token` needs: no HTTP library, no event loop and no plugin if the token is fresh.
"""

from __future__ import annotations

from portico.auth.freshness import LastUses, effective_now_ms, is_usable, profile_due
from portico.errors import ExitCode, UsageError
from portico.store.errors import WhichProfile
from portico.store.profiles import not_signed_in, require_profile

TYPE_CHECKING = False  # importing `typing` would slow `auth token` down
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.app import App
    from portico.secret import Secret
    from portico.store.records import Profile

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the only name this class has

_EXAMPLES = """examples:
  {prog} auth list --verbose            list your accounts, and where their tokens are stored
  {prog} auth token                     print an access token, for a tool that runs a command to get its key
  {prog} auth logout minimax-portal:cn --yes
  {prog} auth import --dry-run          look for accounts to import from other tools
"""
_CHECK = "allow the keyring to ask you to unlock it; also exit with 12 if an account expires soon (see below)"
_ORDER_EXAMPLES = """examples:
  {prog} auth order get --provider minimax-portal
  {prog} auth order set --provider minimax-portal minimax-portal:work minimax-portal:default
  {prog} auth order clear --provider minimax-portal

Accounts that are not in the order are not used until you clear the order.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `auth`."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers()
    add_list(commands)
    add_status(commands)
    printing = "print an access token of PROFILE, or of the account in use"
    token = commands.add_parser("token", help=printing, epilog="example:\n  {prog} auth token")
    token.add_argument(
        "profile", nargs="?", metavar="PROFILE", help="account, such as minimax-portal:cn (default: the account in use)"
    )
    token.set_defaults(handler=print_token, warns_of_ended=False)
    add_logout(commands)
    importing = "import a MiniMax account from another tool"
    commands.add_parser("import", help=importing, arguments_from="portico.cli.auth_import:add_arguments")
    add_order(commands)
    refreshing = "refresh tokens before they expire, without the gateway"
    commands.add_parser("keep-fresh", help=refreshing, arguments_from="portico.cli.keep_fresh:add_arguments")


def add_list(commands: Commands) -> None:
    """Add `list` to `auth` or to `models auth`."""
    epilog = (
        "example:\n  {prog} auth list --verbose\n\n"
        "With --verbose --json, `generation` is the number of the stored token set. Each token set has a different number, also\n"
        "across accounts. `refreshedAt` is null until the first refresh.\n"
    )
    parser = commands.add_parser("list", help="list your accounts", epilog=epilog)
    parser.set_defaults(handler="portico.cli.auth_status:show_list")


def add_status(commands: Commands) -> None:
    """Add `status` to `auth`."""
    epilog = (
        "example:\n  {prog} auth status --check --json\n\n"
        "An account is ok if the data on this machine shows that a request with the account should succeed. The command\n"
        "contacts no server.\n\n"
        "exit code: 0 all accounts are ok; 3 you must sign in; 7 the tokens could not be read (locked store, wrong passphrase);\n"
        "9 a plugin is off or broken; with --check also 12 if an account expires within 24 h and cannot be refreshed.\n"
    )
    parser = commands.add_parser("status", help="show whether each account works, and what to do", epilog=epilog)
    parser.add_argument("--check", action="store_true", help=_CHECK)
    parser.set_defaults(handler="portico.cli.auth_status:show_status")


def add_logout(commands: Commands) -> None:
    """Add `logout` to `auth` or to `models auth`."""
    epilog = "example:\n  {prog} auth logout minimax-portal:default --yes"
    parser = commands.add_parser("logout", help="sign out: revoke an account's tokens and delete them", epilog=epilog)
    parser.add_argument(
        "profile", nargs="?", metavar="PROFILE", help="account, such as minimax-portal:cn (default: your only account)"
    )
    parser.add_argument("--all", action="store_true", help="sign out of every account")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.set_defaults(handler="portico.cli.logout:logout")


def add_order(commands: Commands) -> None:
    """Add `order` to `auth` or to `models auth`."""
    summary = "set which account of a provider is used first"
    parser = commands.add_parser(
        "order", help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=_ORDER_EXAMPLES
    )
    orders = parser.add_subparsers()
    _add_order_command(orders, "get", "show the order", "get --provider minimax-portal --json", get_order)
    example = "set --provider minimax-portal minimax-portal:work minimax-portal:default"
    setting = _add_order_command(orders, "set", "set the order; the first account is used first", example, set_order)
    setting.add_argument("profiles", nargs="*", metavar="PROFILE", help="accounts of the provider")
    _add_order_command(orders, "clear", "remove the order", "clear --provider minimax-portal", clear_order)


def _add_order_command(
    commands: Commands,
    name: str,
    summary: str,
    example: str,
    handler: Callable[[argparse.Namespace, App], int],
) -> argparse.ArgumentParser:
    epilog = f"example:\n  {{prog}} auth order {example}\n"
    parser = commands.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=epilog)
    parser.add_argument("--provider", metavar="ID", help="the provider's id or alias (required)")
    parser.set_defaults(handler=handler)
    return parser


def get_order(args: argparse.Namespace, app: App) -> int:
    """Show the order."""
    return _show_order(_provider_id(args.provider, app), app)


def set_order(args: argparse.Namespace, app: App) -> int:
    """Write the order."""
    provider = _provider_id(args.provider, app)
    if not args.profiles:
        raise UsageError(
            "Name at least one account.", hint=f"Accounts of {provider}: {', '.join(_profile_ids(provider, app)) or 'none'}"
        )
    order = list(dict.fromkeys(args.profiles))
    for id in order:
        _check_profile(id, provider, app)
    app.edit_config(lambda document: document.set(("auth", "order", provider), [*order]), strict=False)
    left_out = [id for id in _profile_ids(provider, app) if id not in order]
    if left_out:
        app.out.note(f"Not in the order, so not used: {', '.join(left_out)}")
    return _show_order(provider, app)


def clear_order(args: argparse.Namespace, app: App) -> int:
    """Remove the order."""
    provider = _provider_id(args.provider, app)
    path = ("auth", "order", provider)
    app.edit_config(lambda document: document.unset(path) if document.has(path) else document, strict=False)
    if not app.out.is_json:
        app.out.line("Removed the order.")
    return _show_order(provider, app)


def _show_order(provider: str, app: App) -> int:
    order = app.config.config.auth.order.get(provider)
    if app.out.is_json:
        value = {"provider": provider, "config": str(app.paths.config), "order": None if order is None else list(order)}
        app.out.json({**value, "profiles": _profile_ids(provider, app)})
        return ExitCode.OK
    app.out.line(f"Provider: {provider}")
    app.out.line(f"Config: {app.paths.config}")
    app.out.line(f"Accounts: {', '.join(_profile_ids(provider, app)) or '(none)'}")
    app.out.line(f"Order: {', '.join(order) if order else '(none)'}")
    return ExitCode.OK


def _provider_id(name: str | None, app: App) -> str:
    """Return the id of the provider `name`, which may be an alias.

    Raises:
        UsageError: `name` is None, or no plugin, config or account has this provider.
    """
    from portico.errors import UnknownName

    used = sorted({profile.provider for profile in app.token_store.profiles()})
    if name is None:
        raise UsageError("Specify --provider.", hint=f"--provider {'|'.join(used) or 'ID'}")
    config = app.config.config
    if name in used or name in config.auth.order:
        return name
    specs = {spec.id: spec for spec in app.plugins.providers()}
    aliases = {alias: spec.id for spec in specs.values() for alias in spec.aliases}
    if aliases.get(name) in used:  # a built-in provider without an account may have the same name
        return aliases[name]
    known = {*specs, *config.models.providers}
    if name in known:
        return name
    from difflib import get_close_matches

    close = get_close_matches(name, [*used, *known, *aliases], n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Choose from: {', '.join(sorted(known))}"
    raise UnknownName(f"Unknown provider: {name}", hint=hint)


def _profile_ids(provider: str, app: App) -> list[str]:
    return [profile.id for profile in app.token_store.profiles() if profile.provider == provider]


def _check_profile(id: str, provider: str, app: App) -> None:
    from portico.errors import UnknownName
    from portico.models.loader import WrongProvider

    profile = app.token_store.get(id)
    if profile is None:
        hint = f"Accounts of {provider}: {', '.join(_profile_ids(provider, app)) or 'none'}"
        raise UnknownName(f'Auth profile "{id}" not found in {app.paths.index}.', hint=hint)
    if profile.provider != provider:
        raise WrongProvider(f'Auth profile "{id}" is for {profile.provider}, not {provider}.')


def print_token(args: argparse.Namespace, app: App) -> int:
    """Print the access token of the named account, or of the account that the default model uses.

    Raises:
        SignInNeeded: there is no such account, or the user must sign in to the account again. Nothing is printed.
    """
    profile = pick_profile(args.profile, app)
    token, expires_at = _fresh(profile, app) or _refreshed(profile, app)
    LastUses(app.paths, app.clock).record(profile.id)
    if app.out.stdout is not None and app.out.stdout.isatty():
        app.out.note("This is a credential, and your terminal keeps it in its scrollback. Pass it to a tool only.")
    if app.out.is_json:
        app.out.json({"profile": profile.id, "token": token.reveal(), "expiresAt": expires_at})
    else:
        app.out.exact(token.reveal())
    return ExitCode.OK


def pick_profile(name: str | None, app: App) -> Profile:
    """Return the profile with the id `name`. If `name` is None, return the only profile or, if there are several, the profile
    that the default model uses.

    Raises:
        SignInNeeded: `not-signed-in`.
        StoreError: `record-damaged`.
        UsageError: `which-profile`: there are several profiles, and the default model uses none of them.
    """
    index = app.token_store.snapshot()
    profiles = {profile.id: profile for profile in index.profiles}
    wanted = name if name is not None or profiles else next(iter(index.damaged), None)
    if wanted is not None:
        return require_profile(index, wanted)
    profiles = {id: profile for id, profile in profiles.items() if not profile.sign_out_unfinished}
    if not profiles:
        raise not_signed_in(None, [])
    return next(iter(profiles.values())) if len(profiles) == 1 else _of_default_model(profiles, app)


def _of_default_model(profiles: dict[str, Profile], app: App) -> Profile:
    from portico.models.loader import ModelLoader

    config = app.config.config
    loader = ModelLoader(config, (), tuple(profiles.values()), app.config.env)
    if config.agents.primary is not None:
        provider = loader.catalog.providers.get(loader.catalog.expand(config.agents.primary).provider)
        profile = loader.profile_for(provider) if provider is not None else None
        if profile is not None:
            if (choice := loader.describe_choice(profile.id)) is not None:
                app.out.note(choice)
            return profile
    hint = "{prog} auth token " + "|".join(profiles)
    raise WhichProfile("You have several accounts, and the default model uses none of them.", hint=hint)


def _fresh(profile: Profile, app: App) -> tuple[Secret, int | None] | None:
    now = effective_now_ms(profile, app.clock)
    if profile_due(profile, now) or not is_usable(profile.expires_at, now):
        return None
    tokens = app.token_store.read(profile.id).tokens
    return (tokens.access, tokens.expires_at) if is_usable(tokens.expires_at, now) else None


def _refreshed(profile: Profile, app: App) -> tuple[Secret, int | None]:
    from portico.util import signals

    async def refresh() -> tuple[Secret, int | None]:
        async with app.http() as http:
            token = await app.broker(http).access(profile.id)
        return token.token, token.expires_at

    return signals.run(refresh())
