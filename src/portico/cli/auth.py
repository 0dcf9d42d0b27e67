"""`auth`: list the accounts and their state, sign out, and choose the order in which accounts are used.

`auth token` is called by other tools on each of their starts: nothing is imported here that it does not need. The list shows no
secret and opens no keyring. An account is ok only if a request with it would succeed, as far as can be known without asking a
server or a person: its plugin is on, its tokens come out of the store, and they have not ended (openclaw#66952). The order is in
the config, as `auth.order.<provider>`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.accounts.sign_in import finish_pending
from portico.accounts.view import in_words, iso
from portico.auth.freshness import effective_now_ms
from portico.auth.health import health_now, worst_exit_code
from portico.config.document import ConfigNotFound
from portico.errors import ExitCode, PorticoError
from portico.models.loader import WrongProvider
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import SIGNED_OUT, sign_in, sign_in_again
from portico.store.records import OAuthProfile
from portico.store.token_store import local_token_store
from portico.util.files import shared_folder_warning
from portico.util.text import UnknownName

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.app import App
    from portico.auth.health import Health
    from portico.store.records import Profile
    from portico.store.token_store import Snapshot

_EXAMPLES = """examples:
  {prog} auth list --verbose            where each sign-in is kept
  {prog} auth token                     one access token on stdout, for an apiKeyHelper
  {prog} auth logout minimax-portal:cn --yes
  {prog} auth import --dry-run          take over another tool's sign-in
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `auth`."""
    parser.epilog = _EXAMPLES
    commands = parser.add_subparsers(metavar="COMMAND")
    add_list(commands)
    add_status(commands)
    token = commands.add_parser("token", help="print one access token", epilog="example:\n  {prog} auth token")
    token.add_argument("profile", nargs="?", metavar="PROFILE", help="such as minimax-portal:cn (default: the one in use)")
    token.set_defaults(handler=token_, warns_of_ended=False)
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


def token_(args: argparse.Namespace, app: App) -> int:
    """Print one access token and nothing else."""
    from portico.cli.auth_token import print_token

    return print_token(args.profile, app)


def list_(_args: argparse.Namespace, app: App) -> int:
    """List the profiles."""
    return show_list(app)


def status_(args: argparse.Namespace, app: App) -> int:
    """Say how each profile is."""
    return show_status(app, check=args.check)


def logout(args: argparse.Namespace, app: App) -> int:
    """Sign out of one profile or of all."""
    from portico.cli.logout import run_logout

    return run_logout(args.profile, app, all_profiles=args.all, yes=args.yes)


_EPILOG = """examples:
  {prog} auth order get --provider minimax-portal
  {prog} auth order set --provider minimax-portal minimax-portal:work minimax-portal:default
  {prog} auth order clear --provider minimax-portal

Sign-ins that are not in the order are not used while it stands.
"""


def add_order(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `order` to `auth` or to `models auth`."""
    summary = "which of a provider's sign-ins is used first"
    parser = commands.add_parser("order", help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=_EPILOG)
    orders = parser.add_subparsers(metavar="COMMAND")
    _add(orders, "get", "print the order", "get --provider minimax-portal --json", get)
    example = "set --provider minimax-portal minimax-portal:work minimax-portal:default"
    setting = _add(orders, "set", "use these sign-ins, the first one first", example, set_)
    setting.add_argument("profiles", nargs="*", metavar="PROFILE", help="sign-ins of that provider")
    _add(orders, "clear", "take the order away", "clear --provider minimax-portal", clear)


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
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


def get(args: argparse.Namespace, app: App) -> int:
    """Print the order."""
    return _tell(_provider(args.provider, app), app)


def set_(args: argparse.Namespace, app: App) -> int:
    """Write the order."""
    from portico.errors import UsageError

    provider = _provider(args.provider, app)
    if not args.profiles:
        raise UsageError("Missing profile ids.", hint=f"Give one or more of: {', '.join(_of(provider, app)) or 'none'}")
    order = list(dict.fromkeys(args.profiles))
    for id in order:
        _check(id, provider, app)
    app.edit_config(lambda document: document.set(("auth", "order", provider), [*order]), strict=False)
    left_out = [id for id in _of(provider, app) if id not in order]
    if left_out:
        app.out.note(f"Not used while this order stands: {', '.join(left_out)}")
    return _tell(provider, app)


def clear(args: argparse.Namespace, app: App) -> int:
    """Take the order away."""
    provider = _provider(args.provider, app)
    path = ("auth", "order", provider)
    app.edit_config(lambda document: document.unset(path) if document.has(path) else document, strict=False)
    if not app.out.is_json:
        app.out.line("Cleared the order.")
    return _tell(provider, app)


def _tell(provider: str, app: App) -> int:
    from portico.errors import ExitCode

    order = app.config.config.auth.order.get(provider)
    if app.out.is_json:
        value = {"provider": provider, "config": str(app.paths.config), "order": None if order is None else list(order)}
        app.out.json({**value, "profiles": _of(provider, app)})
        return ExitCode.OK
    app.out.line(f"Provider: {provider}")
    app.out.line(f"Config: {app.paths.config}")
    app.out.line(f"Sign-ins: {', '.join(_of(provider, app)) or '(none)'}")
    app.out.line(f"Order: {', '.join(order) if order else '(none)'}")
    return ExitCode.OK


def _provider(asked: str | None, app: App) -> str:
    """The id behind `asked`, which may be an alias.

    Raises:
        UsageError: it was not given, or no plugin, config or sign-in knows it.
    """
    from portico.errors import UsageError

    used = sorted({profile.provider for profile in app.token_store.profiles()})
    if asked is None:
        raise UsageError("Missing --provider.", hint=f"Give --provider {'|'.join(used) or 'ID'}.")
    config = app.config.config
    if asked in used or asked in config.auth.order:
        return asked
    specs = {spec.id: spec for spec in app.plugins.providers()}
    aliases = {alias: spec.id for spec in specs.values() for alias in spec.aliases}
    if aliases.get(asked) in used:  # a built-in provider may have the alias's name, and no sign-in of its own
        return aliases[asked]
    known = {*specs, *config.models.providers}
    if asked in known:
        return asked
    from difflib import get_close_matches

    close = get_close_matches(asked, [*used, *known, *aliases], n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Give one of: {', '.join(sorted(known))}"
    raise UnknownName(f"Unknown provider: {asked}", hint=hint)


def _of(provider: str, app: App) -> list[str]:
    return [profile.id for profile in app.token_store.profiles() if profile.provider == provider]


def _check(id: str, provider: str, app: App) -> None:

    profile = app.token_store.get(id)
    if profile is None:
        hint = f"Sign-ins of {provider}: {', '.join(_of(provider, app)) or 'none'}"
        raise UnknownName(f'Auth profile "{id}" not found in {app.paths.index}.', hint=hint)
    if profile.provider != provider:
        raise WrongProvider(f'Auth profile "{id}" is for {profile.provider}, not {provider}.')


DAMAGED: Final = "damaged"  # its entry in the index, that is: nothing more is known


def show_list(app: App) -> int:
    """`auth list`: one row per profile; with `--verbose` also store, service and user."""
    _check_config(app)
    finish_pending(app)
    index = app.token_store.snapshot()
    used = in_use(index, app)
    if app.out.is_json:
        app.out.json({"profiles": all_as_json(index, app, verbose=app.out.verbose)})
    elif not index.profiles and not index.damaged:
        say_signed_out(app)
    elif app.out.verbose:
        for profile in index.profiles:
            _show_one(profile, used, app)
        for id in index.damaged:
            app.out.line(f"{id}\n  {'status':<10} {DAMAGED}")
    else:
        _show_table(index, used, app)
    return ExitCode.OK


def in_use(index: Snapshot, app: App) -> frozenset[str] | None:
    """The sign-ins that are used where nobody says which; None where the config's base would have a say and cannot be used.

    Raises:
        ConfigError: the config decides that, and cannot be read.
    """
    from portico.models.loader import ModelLoader

    if app.settings.fault is not None:
        return None
    return ModelLoader(app.config.config, (), index.profiles, app.config.env).in_use()


def _is_used(profile: Profile, used: frozenset[str] | None) -> str:
    return "?" if used is None else "yes" if profile.id in used else "no"


def _check_config(app: App) -> None:
    if app.options.config is not None and not app.paths.config.exists():
        raise ConfigNotFound(f"Config path not found: {app.paths.config}")


def _show_table(index: Snapshot, used: frozenset[str] | None, app: App) -> None:
    rows = [
        [
            profile.id,
            profile.region,
            condition(profile, app),
            expiry(profile, app),
            _is_used(profile, used),
        ]
        for profile in index.profiles
    ]
    rows += [[id, "?", DAMAGED, "?", "no"] for id in index.damaged]
    app.out.table(["Profile", "Region", "Status", "Access token", "In use"], rows)


def say_signed_out(app: App) -> None:
    """Say that nobody is signed in here, and how to sign in."""
    app.out.note(f"{SIGNED_OUT} {sign_in()}".replace("{prog}", app.program))


def now(app: App) -> int:
    """Wall ms."""
    return app.clock.wall_ms()


def condition(profile: Profile, app: App) -> str:
    """One word, or few: as `auth.health` sums it up."""
    return health_now(profile, app.clock).status


def expiry(profile: Profile, app: App) -> str:
    """When the access token ends, in words."""
    words = in_words(profile.expires_at, effective_now_ms(profile, app.clock))
    return words if words.startswith(("expired", "as long")) else f"expires in {words}"


def _show_one(profile: Profile, used: frozenset[str] | None, app: App) -> None:
    place = app.local_store().location(profile.id)
    account = profile if isinstance(profile, OAuthProfile) else None
    fields = {
        "status": f"{condition(profile, app)}, access token {expiry(profile, app)}",
        "in use": _is_used(profile, used),
        "region": profile.region,
        "API base": profile.api_base,
        "issuer": account.issuer if account is not None else "",
        "account": (account.subject if account is not None else None) or "the provider does not tell",
        "client id": account.client_id if account is not None else "",
        "store": f"{place.store} ({place.backend})" if place.backend else place.store,
        "service": place.service,
        "user": place.user,
        "signed in": iso(profile.created_at),
        "refreshed": iso(profile.refreshed_at) if profile.refreshed_at is not None else "never",
    }
    app.out.line(profile.id)
    for name, value in fields.items():
        app.out.line(f"  {name:<10} {value}")


def all_as_json(index: Snapshot, app: App, *, verbose: bool) -> list[dict[str, object]]:
    """Every profile, and then the damaged ones."""
    damaged: list[dict[str, object]] = [{"id": id, "status": DAMAGED} for id in index.damaged]
    used = in_use(index, app)
    shown = [(profile, None if used is None else profile.id in used) for profile in index.profiles]
    return [{**_list_as_json(profile, app, verbose=verbose), "inUse": is_used} for profile, is_used in shown] + damaged


def _list_as_json(profile: Profile, app: App, *, verbose: bool) -> dict[str, object]:
    value: dict[str, object] = {
        "id": profile.id,
        "provider": profile.provider,
        "type": profile.type,
        "region": profile.region,
        "status": condition(profile, app),
        "expiresAt": profile.expires_at,
        "hasRefresh": profile.has_refresh,
        "store": profile.store,
    }
    if profile.failure is not None:
        value["failure"] = {"id": profile.failure.id, "message": profile.failure.message, "terminal": profile.failure.terminal}
    if verbose:
        place = app.local_store().location(profile.id)
        account = profile if isinstance(profile, OAuthProfile) else None
        value |= {"apiBase": profile.api_base, "issuer": account.issuer if account is not None else ""}
        value |= {"clientId": account.client_id if account is not None else ""}
        value |= {"subject": account.subject if account is not None else None}
        value |= {"backend": place.backend, "service": place.service, "user": place.user}
        value |= {"createdAt": profile.created_at, "refreshedAt": profile.refreshed_at, "generation": profile.generation}
    return value


_UNREADABLE = "store unreadable"
_STORES = {"keyring": "the OS keyring", "file": "a sealed file"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps an account from being used, though its tokens may be good. `word` sums it up."""

    word: str
    error: PorticoError


def show_status(app: App, *, check: bool = False) -> int:
    """Say how each account is.

    Returns:
        3 if there is none, or one needs a new sign-in; 7 if the store does not give the tokens back; 9 if a plugin that is needed
        cannot be used. With `check` also 12 if one ends within 24 hours and cannot be refreshed; the keyring may then ask.
    """
    index = app.token_store.snapshot()
    unusable = _unusable(index, app, may_ask=check)
    code = _code(index, unusable, app, check=check)
    warning = shared_folder_warning(app.paths.state)
    if warning is not None:
        app.out.warn(warning)
    if app.out.is_json:
        warnings = [] if warning is None else [warning]
        profiles = _status_as_json(index, unusable, app)
        app.out.json({"signedIn": bool(index.profiles), "exitCode": code, "profiles": profiles, "warnings": warnings})
    elif not index.profiles and not index.damaged:
        say_signed_out(app)
    else:
        used = (in_use(index, app) if len(index.profiles) > 1 else None) or frozenset()
        for profile in index.profiles:
            _say(profile, unusable.get(profile.id), app, in_use=profile.id in used)
        for id in index.damaged:
            app.out.line(f"{id}: {DAMAGED}\n  to do         delete its tokens: {app.program} auth logout {id}")
    return code


def advice(profile: Profile, health: Health) -> str | None:
    """What a person should do about it; None where nothing. `{prog}` stands for the program name."""
    if health.status == "sign-out unfinished":
        return f"finish signing out: {{prog}} auth logout {profile.id}"
    if health.status in {"sign in again", "expiring"}:
        return f"sign in again: {sign_in_again(profile)}"
    if health.status == "refresh failing":
        return "nothing yet: it is tried again; if it stays so, look at the network and the provider's own status"
    if health.status == "refresh due":
        return "nothing: it is refreshed when it is used (to keep it fresh: {prog} auth keep-fresh)"
    return None


def _code(index: Snapshot, unusable: dict[str, Trouble], app: App, *, check: bool) -> int:
    code = ExitCode.SIGN_IN_NEEDED if index.damaged else worst_exit_code(index.profiles, app.clock)
    if code == ExitCode.SIGN_IN_NEEDED:
        return code
    codes = {trouble.error.exit_code for trouble in unusable.values()}
    if codes:
        return ExitCode.STORE_FAILED if ExitCode.STORE_FAILED in codes else min(codes)
    return code if check else ExitCode.OK


def _unusable(index: Snapshot, app: App, *, may_ask: bool) -> dict[str, Trouble]:
    """The accounts that cannot be used, by id: for want of their plugin or of their tokens.

    With `may_ask` a keyring may open its window; a passphrase is never asked for.
    """
    found: dict[str, Trouble] = {}
    store = local_token_store(
        app.paths, passphrase=lambda: PassphraseSource(app.env), env=app.env, on_wait=app.out.note, asks=may_ask
    )
    for profile in index.profiles:
        try:
            if profile.plugin:
                app.plugins.require(profile.plugin)
        except PorticoError as error:
            found[profile.id] = Trouble("plugin off" if _is_off(profile.plugin, app) else "plugin unusable", error)
            continue
        try:
            store.read(profile.id)
        except PorticoError as error:
            found[profile.id] = Trouble(_UNREADABLE, error)
    return found


def _is_off(plugin: str, app: App) -> bool:
    try:
        return not app.plugins.find(plugin).enabled
    except PorticoError:
        return False


def _say(profile: Profile, trouble: Trouble | None, app: App, *, in_use: bool) -> None:
    health = health_now(profile, app.clock)
    word = trouble.word if trouble is not None and health.exit_code != ExitCode.SIGN_IN_NEEDED else health.status
    app.out.line(f"{profile.id}: {word}{' (in use)' if in_use else ''}")
    fields = {
        "access token": expiry(profile, app),
        "refresh": _refresh_words(profile, health, app),
        "last failure": _failure_words(profile, app),
        "region": f"{profile.region} ({profile.api_base})" if profile.region else profile.api_base,
        "store": _STORES[profile.store],
        "problem": str(trouble.error) if trouble is not None else None,
        "to do": _to_do(profile, health, trouble) or "nothing",
    }
    for name, value in fields.items():
        if value is not None:
            app.out.line(f"  {name:<13} {value.replace('{prog}', app.program)}")


def _to_do(profile: Profile, health: Health, trouble: Trouble | None) -> str | None:
    """What helps first: a new sign-in if it has ended, since that also stores new tokens."""
    if trouble is not None and health.exit_code != ExitCode.SIGN_IN_NEEDED:
        return trouble.error.hint
    return advice(profile, health)


def _refresh_words(profile: Profile, health: Health, app: App) -> str:
    if health.refresh == "none":
        return "none: there is no refresh token"
    last = "never so far" if profile.refreshed_at is None else _when(profile.refreshed_at, app)
    end = profile.refresh_expires_at
    until = "" if end is None else f"; the refresh token {'ended' if health.refresh == 'ended' else 'ends'}: {_when(end, app)}"
    return f"{health.refresh}; last successful: {last}{until}"


def _failure_words(profile: Profile, app: App) -> str | None:
    if profile.failure is None:
        return None
    code = f" [{profile.failure.code}]" if profile.failure.code else ""
    return f"{_when(profile.failure.at, app)}: {profile.failure.message}{code}"


def _when(at_ms: int, app: App) -> str:
    ago = in_words(at_ms, now(app)).removeprefix("expired ")
    return f"{iso(at_ms)} ({ago})"


def _status_as_json(index: Snapshot, unusable: dict[str, Trouble], app: App) -> list[dict[str, object]]:
    values = all_as_json(index, app, verbose=True)
    for profile, value in zip(index.profiles, values, strict=False):  # the damaged ones come after
        own = effective_now_ms(profile, app.clock)
        health = health_now(profile, app.clock)
        trouble = unusable.get(profile.id)
        what = _to_do(profile, health, trouble)
        value["access"] = health.access
        value["refresh"] = health.refresh
        value["remainingMs"] = None if profile.expires_at is None else profile.expires_at - own
        value["lastRefreshAt"] = profile.refreshed_at
        value["refreshExpiresAt"] = profile.refresh_expires_at
        value["lastFailure"] = None if profile.failure is None else _failure_json(profile)
        value["advice"] = what.replace("{prog}", app.program) if what is not None else None
        if trouble is not None:
            kind = "storeError" if trouble.word == _UNREADABLE else "pluginError"
            value[kind] = trouble.error.as_json(app.program)
            if health.exit_code != ExitCode.SIGN_IN_NEEDED:
                value["status"] = trouble.word
    return values


def _failure_json(profile: Profile) -> dict[str, object]:
    failure = profile.failure
    assert failure is not None  # noqa: S101 - asked only where there is one
    known = {"at": failure.at, "id": failure.id, "message": failure.message, "terminal": failure.terminal, "code": failure.code}
    return {**known, "attempts": failure.attempts, "retryAt": failure.retry_at}
