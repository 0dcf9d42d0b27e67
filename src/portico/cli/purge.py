"""`purge`: Portico leaves this machine. Providers are told first, and what is needed to finish goes last."""

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
  {prog} purge                      asks first; revokes, stops and deletes everything of {prog}'s
  {prog} purge --keep-config        all but the configuration and its backups
  {prog} purge --yes --json         for scripts

The program itself stays: remove it with pipx, uv or pip. Where a keyring cannot be reached nothing that leads to its records is
deleted, and the command can be run again. Other tools' settings are not touched: {prog} has written none of them.

exit code: 0 nothing is left; 11 a provider has not revoked the tokens; 7 something could not be deleted.
"""
# How Portico's own names in the state folder begin. Whatever else stands there is somebody else's, and stays with the folder.
_OWN: Final = (
    *("auth-profiles.json", "gateway-keys.json", "gateway.json", "gateway.log", "keep-fresh.log", "history.sqlite"),
    *("gateway-proxy.env", "keep-fresh-proxy.env"),
    *("emulator.json", "exec-gateway", "sealed", "uses", "locks"),
)


@dataclass
class _Purged:
    """What became of it, in the order of doing it. `left` is what is still there, and why."""

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
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--keep-config", action="store_true", help="leave the configuration and its backups")
    parser.set_defaults(handler=purge, warns_of_ended=False)


def purge(args: argparse.Namespace, app: App) -> int:
    """Revoke, stop and delete.

    Raises:
        UsageError: nobody can be asked, and `--yes` was not given.
    """
    question = f"Sign out of everything, and delete {app.paths.state}{'' if args.keep_config else f' and {app.paths.config}'}?"
    if not args.yes and not app.prompter.confirm(question, flag="--yes", default=False):
        app.out.note("Nothing was changed.")
        return ExitCode.OK
    done = _Purged()
    _end_services(done, app)
    _sign_out(done, app)
    _revoke_keys(done, app)
    if args.keep_config or done.left:
        _forget_in_config(done, app)
    if not done.left:
        _delete_files(done, app, keep_config=args.keep_config)
    return _told(done, app, keep_config=args.keep_config)


def _end_services(done: _Purged, app: App) -> None:
    from portico.cli.keep_fresh import keep_fresh_service
    from portico.gateway import control
    from portico.gateway.service import gateway_service
    from portico.services.managers import service_manager

    manager = service_manager(app.env)
    for each in (gateway_service(app), keep_fresh_service(app)):
        try:
            if manager is not None and manager.uninstall(each):
                done.services.append(each.name)
        except PorticoError as error:
            done.left.append(f"the service {each.name}: {error}")
    try:
        stopped = control.stop(app.paths)
        done.gateway = stopped.pid if stopped is not None else None
    except PorticoError as error:
        done.left.append(f"the gateway: {error}")


def _sign_out(done: _Purged, app: App) -> None:
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
        done.left.append(f"the sign-ins: {error}")
        return
    for result in results:
        if result.left:
            done.left.append(f"{result.profile_id}: {', '.join(result.left)}")
        elif result.taken:
            done.left.append(f"{result.profile_id}: another command has signed in under that name meanwhile")
        else:
            done.signed_out.append(result.profile_id)
        if result.not_revoked and not result.is_key:
            done.not_revoked[result.profile_id] = result.not_revoked
        if result.may_be_left:
            done.may_be_left[result.profile_id] = result.may_be_left


def _forget_in_config(done: _Purged, app: App) -> None:
    """Take what was signed out out of a config that is kept. It is not in the way of anything: a failure is a warning."""
    from portico.accounts.summary import forget_profile

    for profile_id in done.signed_out:
        try:
            forget_profile(app, profile_id)
        except PorticoError as error:
            app.out.warn(f"The config still names {profile_id}: {error}")


def _revoke_keys(done: _Purged, app: App) -> None:
    from portico.cli.gateway_keys import gateway_keys

    try:
        keys = gateway_keys(app)
        for key in keys.all():
            done.left += [f"the gateway key {key.name}: {each}" for each in keys.revoke(key.name)]
            done.keys.append(key.name)
        for each in app.token_store.sweep():
            done.left.append(f"a leftover record: {each}")
    except PorticoError as error:
        done.left.append(f"the gateway keys: {error}")


def _delete_files(done: _Purged, app: App, *, keep_config: bool) -> None:
    from portico.config.document import BACKUPS
    from portico.paths import CONFIG_ENV, STATE_ENV, resolve_paths

    state, config = app.paths.state, app.paths.config
    # With their backups, what was set aside as damaged, and what a killed write has left.
    ours = [path for name in _OWN for pattern in (f"{name}*", f".{name}*") for path in state.glob(pattern)]
    if not keep_config:
        ours += [config, *(config.with_name(config.name + suffix) for suffix in BACKUPS)]
    for path in ours:
        _delete(path, done)
    # The folder of a config file that `--config` or PORTICO_CONFIG names is the user's own, empty or not.
    unmoved = {name: value for name, value in app.env.items() if name not in {CONFIG_ENV, STATE_ENV}}
    config_is_moved = config != resolve_paths(env=unmoved).config
    for folder in (state, *([] if keep_config or config_is_moved else [config.parent])):
        if folder.is_dir() and not any(folder.iterdir()):
            _delete(folder, done)
        elif folder == state and folder.is_dir():
            done.left.append(f"{folder}: it holds what is not Portico's")


def _delete(path: Path, done: _Purged) -> None:
    import shutil

    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.exists() or path.is_symlink():
            path.unlink()
        else:
            return
        done.files.append(str(path))
    except OSError as error:
        done.left.append(f"{path}: {error.strerror or error}")


def _told(done: _Purged, app: App, *, keep_config: bool) -> int:
    code = ExitCode.STORE_FAILED if done.left else ExitCode.NOT_REVOKED if done.not_revoked or done.may_be_left else ExitCode.OK
    if app.out.is_json:
        kept = {
            "services": done.services,
            "gatewayPid": done.gateway,
            "signedOut": done.signed_out,
            "notRevoked": done.not_revoked,
            "mayBeLeft": done.may_be_left,
        }
        app.out.json({**kept, "gatewayKeys": done.keys, "deleted": done.files, "left": done.left, "exitCode": code})
        return code
    for name in done.services:
        app.out.line(f"Stopped and removed: {name}")
    for name in done.signed_out:
        app.out.line(f"Signed out: {name}{' (not revoked at the provider)' if name in done.not_revoked else ''}")
    if done.keys:
        app.out.line(f"Gateway keys revoked: {', '.join(done.keys)}")
    for path in done.files:
        app.out.line(f"Deleted: {path}")
    if done.left:
        remedy = "Correct what is named here, then run: {prog} purge"
        hint = f"{remedy} --keep-config" if keep_config else remedy
        raise NotDeleted("Something is still there.", why="; ".join(done.left), hint=hint)
    for name, why in done.may_be_left.items():
        app.out.warn(f"{name}: perhaps not all revoked: {why}")
    told = "at the provider the sign-in goes on" if done.not_revoked or done.may_be_left else ""
    app.out.line(f"Deleted here; {told}." if told else "Nothing of Portico's is left but the program.")
    return code
