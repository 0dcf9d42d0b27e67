"""`gateway key show|list|add|rotate|revoke`: what tools show the gateway, one for each, so that each can be taken back alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.accounts.view import iso
from portico.errors import ExitCode, PorticoError
from portico.gateway.keys import GatewayKeys, KeyPaths
from portico.store.encrypted_file import TEXT_ENV, PassphraseSource

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from portico.app import App
    from portico.secret import Secret
    from portico.store.records import StoreName

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - the only name this class has

_EXAMPLES = """examples:
  {prog} gateway key show                       the first key, for `curl -H "Authorization: Bearer $({prog} gateway key show)"`
  {prog} gateway key add aider                  a key for one tool
  {prog} gateway key revoke aider               refused from the next request on
"""


def add_key_commands(commands: Commands) -> None:
    """Add `key` to `gateway`."""
    summary = "the keys that tools show the gateway"
    group = commands.add_parser("key", help=summary, description=f"{summary.capitalize()}.", epilog=_EXAMPLES)
    actions = group.add_subparsers(title="commands", metavar="<command>")
    _add(actions, "list", "list them, without the keys", list_keys)
    _name(_add(actions, "show", "print one", show), "default")
    adding = _add(actions, "add", "make one and print it", add)
    _name(adding, None)
    adding.add_argument("--store", choices=("keyring", "file"), help="where it is kept; else where the sign-ins are")
    _name(_add(actions, "rotate", "put another in its place and print that", rotate), "default")
    revoking = _add(actions, "revoke", "refuse one from the next request on, and delete it", revoke)
    _name(revoking, None)


def _add(
    actions: Commands, name: str, summary: str, handler: Callable[[argparse.Namespace, App], int]
) -> argparse.ArgumentParser:
    example = f"example:\n  {{prog}} gateway key {name}{'' if name == 'list' else ' aider'}\n"
    parser = actions.add_parser(name, help=summary, description=f"{summary.capitalize()}.", epilog=example)
    parser.set_defaults(handler=handler)
    return parser


def _name(parser: argparse.ArgumentParser, default: str | None) -> None:
    given = f" ({default})" if default else ""
    parser.add_argument("name", metavar="NAME", nargs="?" if default else None, default=default, help=f"the key's name{given}")


def list_keys(_args: argparse.Namespace, app: App) -> int:
    """List them."""
    keys = gateway_keys(app).all()
    if app.out.is_json:
        app.out.json({"keys": [{"name": key.name, "createdAt": key.created_at} for key in keys]})
    elif keys:
        app.out.table(["Key", "Made"], [[key.name, iso(key.created_at)] for key in keys])
    else:
        app.out.note(f"There is no gateway key yet. Make one: {app.program} gateway key add NAME")
    return ExitCode.OK


def show(args: argparse.Namespace, app: App) -> int:
    """Print one; the first is made where there is none."""
    keys = gateway_keys(app)
    keys.ensure_one()
    return _told(args.name, keys.show(args.name), app)


def add(args: argparse.Namespace, app: App) -> int:
    """Make one and print it."""
    return _told(args.name, gateway_keys(app, store=args.store).add(args.name), app)


def rotate(args: argparse.Namespace, app: App) -> int:
    """Put another in its place and print that."""
    return _told(args.name, gateway_keys(app).rotate(args.name), app)


def revoke(args: argparse.Namespace, app: App) -> int:
    """Refuse it from now on, and delete it."""
    left = gateway_keys(app).revoke(args.name)
    if app.out.is_json:
        app.out.json({"name": args.name, "revoked": True, "left": list(left)})
    else:
        app.out.line(f"{args.name} is refused from now on.")
    for each in left:
        app.out.warn(f"its record could not be deleted, and opens nothing any more: {each}")
    return ExitCode.OK


def gateway_keys(app: App, *, store: StoreName | None = None, passphrase: Secret | None = None) -> GatewayKeys:
    """The keys; a new one goes to the named store, else to the one that the config chooses, else to that of the sign-ins."""
    source = None if passphrase is None else PassphraseSource({TEXT_ENV: passphrase.reveal()})

    def usual() -> StoreName | None:
        return app.store_choice() or app.local_store().last_store

    kept = app.local_store(store, paths=KeyPaths.of(app.paths), default_store=usual, passphrase=source)
    return GatewayKeys(kept, app.clock)


def make_first_key(app: App, passphrase: Secret | None) -> None:
    """Make the first key where there is none; where it cannot be stored, say so and let the gateway refresh all the same."""
    try:
        made = gateway_keys(app, passphrase=passphrase).ensure_one()
    except PorticoError as error:
        app.out.warn(f"{app.program}: no gateway key could be made, so no tool can use the gateway yet: {error}")
        return
    if made is not None:
        app.out.note(f"A key for your tools was made: {app.program} gateway key show")


def _told(name: str, key: Secret, app: App) -> int:
    if app.out.is_json:
        app.out.json({"name": name, "key": key.reveal()})
    else:
        app.out.exact(key.reveal())
    return ExitCode.OK
