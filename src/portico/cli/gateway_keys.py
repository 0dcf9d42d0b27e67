"""`gateway key show|list|add|rotate|revoke`: the keys that tools send to the gateway.

Each tool can have its own key, so the user can revoke it without affecting the other tools.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.accounts.view import iso
from portico.cli.parser import add_command
from portico.errors import ExitCode, PorticoError
from portico.gateway.keys import GatewayKeys, KeyPaths
from portico.store.encrypted_file import TEXT_ENV, PassphraseSource

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.cli.parser import Commands
    from portico.secret import Secret
    from portico.store.records import StoreName

_EXAMPLES = """examples:
  {prog} gateway key show                 print the key named default
  {prog} gateway key add aider            create a key for one tool
  {prog} gateway key revoke aider         revoke this key immediately
"""


_STORE: Final = "where to store the key (default: the configured store, else where your tokens are)"


def add_key_commands(commands: Commands) -> None:
    """Add `key` to `gateway`."""
    group = commands.add_parser("key", help="manage gateway keys", epilog=_EXAMPLES)
    actions = group.add_subparsers()
    add_command(actions, "gateway key list", "list the names of the gateway keys", list_keys)
    _name(add_command(actions, "gateway key show", "print a gateway key", show, "aider"), "default")
    adding = add_command(actions, "gateway key add", "create a gateway key and print it", add, "aider")
    _name(adding, None)
    adding.add_argument("--store", choices=("keyring", "file"), help=_STORE)
    _name(add_command(actions, "gateway key rotate", "replace a gateway key and print the new one", rotate, "aider"), "default")
    revoking = add_command(actions, "gateway key revoke", "revoke a gateway key immediately, and delete it", revoke, "aider")
    _name(revoking, None)


def _name(parser: argparse.ArgumentParser, default: str | None) -> None:
    suffix = f" (default: the key named {default})" if default else ""
    parser.add_argument("name", metavar="NAME", nargs="?" if default else None, default=default, help=f"the key's name{suffix}")


def list_keys(_args: argparse.Namespace, app: App) -> int:
    """List the names of the keys."""
    keys = gateway_keys(app).all()
    if app.out.is_json:
        app.out.json({"keys": [{"name": key.name, "createdAt": key.created_at} for key in keys]})
    elif keys:
        app.out.table(["Key", "Created"], [[key.name, iso(key.created_at)] for key in keys])
    else:
        app.out.note(f"You have no gateway key. Create one: {app.program} gateway key add NAME")
    return ExitCode.OK


def show(args: argparse.Namespace, app: App) -> int:
    """Print a key; if there is none, create the first."""
    keys = gateway_keys(app)
    keys.ensure_one()
    return _print_key(args.name, keys.show(args.name), app)


def add(args: argparse.Namespace, app: App) -> int:
    """Create a key and print it."""
    return _print_key(args.name, gateway_keys(app, store=args.store).add(args.name), app)


def rotate(args: argparse.Namespace, app: App) -> int:
    """Replace a key and print the new one."""
    return _print_key(args.name, gateway_keys(app).rotate(args.name), app)


def revoke(args: argparse.Namespace, app: App) -> int:
    """Revoke a key and delete it."""
    left = gateway_keys(app).revoke(args.name)
    if app.out.is_json:
        app.out.json({"name": args.name, "revoked": True, "left": list(left)})
    else:
        app.out.line(f"Revoked the gateway key {args.name}.")
    for each in left:
        app.out.warn(f"Could not delete the key's record, but the key is revoked: {each}")
    return ExitCode.OK


def gateway_keys(app: App, *, store: StoreName | None = None, passphrase: Secret | None = None) -> GatewayKeys:
    """Return the keys. A new key goes into `store`, else into the configured store, else into the store of the tokens."""
    source = None if passphrase is None else PassphraseSource({TEXT_ENV: passphrase.reveal()})

    def usual() -> StoreName | None:
        return app.store_choice() or app.local_store().last_store

    key_store = app.local_store(store, paths=KeyPaths.of(app.paths), default_store=usual, passphrase=source)
    return GatewayKeys(key_store, app.clock)


def make_first_key(app: App, passphrase: Secret | None) -> None:
    """Create the first key if there is none. If it cannot be stored, warn; the gateway still refreshes accounts."""
    try:
        made = gateway_keys(app, passphrase=passphrase).ensure_one()
    except PorticoError as error:
        app.out.warn(f"{app.program}: could not create a gateway key, so no tool can use the gateway yet: {error}")
        return
    if made is not None:
        app.out.note(f"Created a key for your tools. To print it: {app.program} gateway key show")


def _print_key(name: str, key: Secret, app: App) -> int:
    if app.out.is_json:
        app.out.json({"name": name, "key": key.reveal()})
    else:
        app.out.exact(key.reveal())
    return ExitCode.OK
