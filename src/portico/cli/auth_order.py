"""`auth order get|set|clear`: which of a provider's sign-ins is used first. Kept in the config, as `auth.order.<provider>`."""

from __future__ import annotations

TYPE_CHECKING = False  # `auth token` imports this module's neighbours, and `typing` is a visible part of what it costs
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.cli.runtime import Runtime

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
    handler: Callable[[argparse.Namespace, Runtime], int],
) -> argparse.ArgumentParser:
    epilog = f"example:\n  {{prog}} auth order {example}\n"
    parser = commands.add_parser(name, help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=epilog)
    parser.add_argument("--provider", metavar="ID", help="the provider, or an alias of it")
    parser.set_defaults(handler=handler)
    return parser


def get(args: argparse.Namespace, rt: Runtime) -> int:
    """Print the order."""
    return _tell(_provider(args.provider, rt), rt)


def set_(args: argparse.Namespace, rt: Runtime) -> int:
    """Write the order."""
    from portico.errors import UsageError

    provider = _provider(args.provider, rt)
    if not args.profiles:
        raise UsageError("usage", "Missing profile ids.", hint=f"Give one or more of: {', '.join(_of(provider, rt)) or 'none'}")
    order = list(dict.fromkeys(args.profiles))
    for id in order:
        _check(id, provider, rt)
    rt.settings.file.edit(lambda document: document.set(("auth", "order", provider), [*order]))
    rt.reload_config()
    left_out = [id for id in _of(provider, rt) if id not in order]
    if left_out:
        rt.out.note(f"Not used while this order stands: {', '.join(left_out)}")
    return _tell(provider, rt)


def clear(args: argparse.Namespace, rt: Runtime) -> int:
    """Take the order away."""
    provider = _provider(args.provider, rt)
    path = ("auth", "order", provider)
    rt.settings.file.edit(lambda document: document.unset(path) if document.has(path) else document)
    rt.reload_config()
    if not rt.out.is_json:
        rt.out.line("Cleared the order.")
    return _tell(provider, rt)


def _tell(provider: str, rt: Runtime) -> int:
    from portico.errors import ExitCode

    order = rt.config.config.auth.order.get(provider)
    if rt.out.is_json:
        value = {"provider": provider, "config": str(rt.paths.config), "order": None if order is None else list(order)}
        rt.out.json({**value, "profiles": _of(provider, rt)})
        return ExitCode.OK
    rt.out.line(f"Provider: {provider}")
    rt.out.line(f"Config: {rt.paths.config}")
    rt.out.line(f"Sign-ins: {', '.join(_of(provider, rt)) or '(none)'}")
    rt.out.line(f"Order: {', '.join(order) if order else '(none)'}")
    return ExitCode.OK


def _provider(asked: str | None, rt: Runtime) -> str:
    """The id behind `asked`, which may be an alias.

    Raises:
        UsageError: it was not given, or no plugin, config or sign-in knows it.
    """
    from portico.errors import UsageError

    used = sorted({profile.provider for profile in rt.token_store.profiles()})
    if asked is None:
        raise UsageError("usage", "Missing --provider.", hint=f"Give --provider {'|'.join(used) or 'ID'}.")
    config = rt.config.config
    if asked in used or asked in config.auth.order:
        return asked
    specs = {spec.id: spec for spec in rt.plugins.providers()}
    aliases = {alias: spec.id for spec in specs.values() for alias in spec.aliases}
    if aliases.get(asked) in used:  # a built-in provider may have the alias's name, and no sign-in of its own
        return aliases[asked]
    known = {*specs, *config.models.providers}
    if asked in known:
        return asked
    from difflib import get_close_matches

    close = get_close_matches(asked, [*used, *known, *aliases], n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Give one of: {', '.join(sorted(known))}"
    raise UsageError("unknown-provider", f"Unknown provider: {asked}", hint=hint)


def _of(provider: str, rt: Runtime) -> list[str]:
    return [profile.id for profile in rt.token_store.profiles() if profile.provider == provider]


def _check(id: str, provider: str, rt: Runtime) -> None:
    from portico.errors import UsageError

    profile = rt.token_store.get(id)
    if profile is None:
        hint = f"Sign-ins of {provider}: {', '.join(_of(provider, rt)) or 'none'}"
        raise UsageError("profile-not-found", f'Auth profile "{id}" not found in {rt.paths.index}.', hint=hint)
    if profile.provider != provider:
        raise UsageError("wrong-provider", f'Auth profile "{id}" is for {profile.provider}, not {provider}.')
