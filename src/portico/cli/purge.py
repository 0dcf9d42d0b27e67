"""`purge`: sign out of every account and delete Portico's data. Tokens are revoked first; the files needed for that go last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from portico.errors import ExitCode, PorticoError
from portico.store.errors import NotDeleted

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from portico.accounts.sign_out import SignedOut
    from portico.app import App

_EXAMPLES = """examples:
  {prog} purge                      ask, then revoke all tokens, stop the gateway and delete the data
  {prog} purge --keep-config        keep the config file and its backups
  {prog} purge --yes --json         do not ask (for scripts)

The program itself stays; remove it with pipx, uv or pip. If the keyring is not available, {prog} keeps the files that list the
keyring's records, so that you can run the command again. {prog} does not change the settings of other tools, because it
has never written to them.

exit code: 0 everything is deleted; 11 a provider did not revoke the tokens; 7 something could not be deleted.
"""
# The prefixes of Portico's files in the state folder. If there are other files, they and the folder stay.
_OWN: Final = (
    *("auth-profiles.json", "gateway-keys.json", "gateway.json", "gateway.log", "keep-fresh.log", "history.sqlite"),
    *("gateway-proxy.env", "keep-fresh-proxy.env"),
    *("emulator.json", "exec-gateway", "sealed", "uses", "locks"),
)


@dataclass
class _Purged:
    """The results, in the order of the steps. `left` lists everything that could not be deleted, with the reason."""

    services: list[str] = field(default_factory=list)
    gateway: int | None = None
    signed_out: list[str] = field(default_factory=list)
    not_revoked: dict[str, str] = field(default_factory=dict)
    may_be_left: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `purge`."""
    parser.epilog = _EXAMPLES
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument("--keep-config", action="store_true", help="keep the config file and its backups")
    parser.set_defaults(handler=purge, warns_of_ended=False)


def purge(args: argparse.Namespace, app: App) -> int:
    """Revoke all tokens, stop the services and delete the data.

    Raises:
        UsageError: a question cannot be asked, and no `--yes`.
    """
    question = f"Sign out of everything, and delete {app.paths.state}{'' if args.keep_config else f' and {app.paths.config}'}?"
    if not args.yes and not app.prompter.confirm(question, flag="--yes", default=False):
        app.out.note("Nothing was changed.")
        return ExitCode.OK
    from portico.cli.logout import forget

    purged = _Purged()
    _end_services(purged, app)
    _sign_out(purged, app)
    _revoke_keys(purged, app)
    if args.keep_config or purged.left:
        for profile_id in purged.signed_out:
            forget(profile_id, None, app)
    if not purged.left:
        _delete_files(purged, app, keep_config=args.keep_config)
    return _report(purged, app, keep_config=args.keep_config)


def _end_services(purged: _Purged, app: App) -> None:
    from portico.cli.keep_fresh import keep_fresh_service
    from portico.gateway import control
    from portico.gateway.service import gateway_service
    from portico.services.managers import service_manager

    manager = service_manager(app.env)
    for each in (gateway_service(app), keep_fresh_service(app)):
        try:
            if manager is not None and manager.uninstall(each):
                purged.services.append(each.name)
        except PorticoError as error:
            purged.left.append(f"the service {each.name}: {error}")
    try:
        stopped = control.stop(app.paths)
        purged.gateway = stopped.pid if stopped is not None else None
    except PorticoError as error:
        purged.left.append(f"the gateway: {error}")


def _sign_out(purged: _Purged, app: App) -> None:
    from portico.accounts.sign_out import sign_out
    from portico.util import signals

    async def every() -> list[SignedOut]:
        view = app.token_store.snapshot()
        async with app.http() as http:
            entries = {**{each.id: each for each in view.profiles}, **dict.fromkeys(view.damaged)}
            return [await sign_out(app, id, http, agreed=entry) for id, entry in entries.items()]

    try:
        results = signals.run(every())
    except PorticoError as error:
        purged.left.append(f"the accounts: {error}")
        return
    for result in results:
        if result.left:
            purged.left.append(f"{result.profile_id}: {', '.join(result.left)}")
        elif result.taken:
            purged.left.append(f"{result.profile_id}: another command signed in under this name meanwhile")
        else:
            purged.signed_out.append(result.profile_id)
        if result.not_revoked and not result.is_key:
            purged.not_revoked[result.profile_id] = result.not_revoked
        if result.may_be_left:
            purged.may_be_left[result.profile_id] = result.may_be_left


def _revoke_keys(purged: _Purged, app: App) -> None:
    from portico.cli.gateway_keys import gateway_keys

    try:
        keys = gateway_keys(app)
        for key in keys.all():
            purged.left += [f"the gateway key {key.name}: {each}" for each in keys.revoke(key.name)]
            purged.keys.append(key.name)
        for each in app.token_store.sweep():
            purged.left.append(f"a leftover record: {each}")
    except PorticoError as error:
        purged.left.append(f"the gateway keys: {error}")


def _delete_files(purged: _Purged, app: App, *, keep_config: bool) -> None:
    from portico.config.document import BACKUPS
    from portico.paths import CONFIG_ENV, STATE_ENV, resolve_paths

    state, config = app.paths.state, app.paths.config
    # Also backups, files set aside as damaged, and leftovers of a killed write.
    ours = [path for name in _OWN for pattern in (f"{name}*", f".{name}*") for path in state.glob(pattern)]
    if not keep_config:
        ours += [config, *(config.with_name(config.name + suffix) for suffix in BACKUPS)]
    for path in ours:
        _delete(path, purged)
    # The folder of a file from `--config` or PORTICO_CONFIG is the user's, even if it is empty.
    unmoved = {name: value for name, value in app.env.items() if name not in {CONFIG_ENV, STATE_ENV}}
    config_is_moved = config != resolve_paths(env=unmoved).config
    for folder in (state, *([] if keep_config or config_is_moved else [config.parent])):
        if folder.is_dir() and not any(folder.iterdir()):
            _delete(folder, purged)
        elif folder == state and folder.is_dir():
            purged.left.append(f"{folder}: it has files that are not Portico's")


def _delete(path: Path, purged: _Purged) -> None:
    import shutil

    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()
        else:
            return
        purged.files.append(str(path))
    except OSError as error:
        purged.left.append(f"{path}: {error.strerror or error}")


def _report(purged: _Purged, app: App, *, keep_config: bool) -> int:
    is_revoked = not (purged.not_revoked or purged.may_be_left)
    code = ExitCode.STORE_FAILED if purged.left else ExitCode.OK if is_revoked else ExitCode.NOT_REVOKED
    if app.out.is_json:
        fields = {
            "services": purged.services,
            "gatewayPid": purged.gateway,
            "signedOut": purged.signed_out,
            "notRevoked": purged.not_revoked,
            "mayBeLeft": purged.may_be_left,
        }
        app.out.json({**fields, "gatewayKeys": purged.keys, "deleted": purged.files, "left": purged.left, "exitCode": code})
        return code
    for name in purged.services:
        app.out.line(f"Stopped and removed: {name}")
    for name in purged.signed_out:
        app.out.line(f"Signed out: {name}{' (not revoked at the provider)' if name in purged.not_revoked else ''}")
    if purged.keys:
        app.out.line(f"Gateway keys revoked: {', '.join(purged.keys)}")
    for path in purged.files:
        app.out.line(f"Deleted: {path}")
    if purged.left:
        remedy = "Correct these problems, then run: {prog} purge"
        hint = f"{remedy} --keep-config" if keep_config else remedy
        raise NotDeleted("Could not delete everything.", why="; ".join(purged.left), hint=hint)
    for name, why in purged.may_be_left.items():
        app.out.warn(f"{name}: some tokens may not be revoked: {why}")
    app.out.line("Deleted everything except the program." if is_revoked else "Deleted here, but not revoked at the provider.")
    return code
