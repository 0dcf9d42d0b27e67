"""`auth keep-fresh`: refresh accounts without the gateway, either once, or continuously in the foreground or as a service."""

from __future__ import annotations

import asyncio
import os
from shlex import quote
from typing import TYPE_CHECKING

from portico.auth.background import refresh_what_is_due
from portico.auth.freshness import worst_exit_code
from portico.cli.gateway import keep_fresh as work
from portico.cli.gateway import refreshing, tidy_up, unattended_store
from portico.cli.gateway_service import report_uninstalled
from portico.errors import ExitCode, PorticoError
from portico.gateway.control import passphrase_for
from portico.gateway.metrics import log_to_stderr
from portico.gateway.service import (
    after_install,
    lost_proxy_warning,
    make_service,
    proxy_file,
    remove_service,
    usable_manager,
    with_environment,
)
from portico.gateway.shutdown import end_signal, watched_end
from portico.services.managers import notify_service_manager
from portico.services.service import ServiceCommands, ServiceFailed, write_secrets
from portico.util import signals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from portico.app import App
    from portico.auth.background import Outcome
    from portico.services.service import Service

_EPILOG = """examples:
  {prog} auth keep-fresh                  refresh tokens in the foreground, until Ctrl-C
  {prog} auth keep-fresh --once --json    refresh the tokens that are due, then exit (for cron and timers)
  {prog} auth keep-fresh --install        install a systemd user unit or launchd agent that starts now and at each login
  {prog} auth keep-fresh --uninstall

An account unused for a day is refreshed only twice a day, and at its next use.
exit code of --once: 0 ok; 3 you must sign in; 12 an account expired or expires within 24 h, and cannot be refreshed.
Without a service manager (in containers), --install prints a line for cron.
"""
# A token is due five minutes before it expires, so cron must run more often than that.
_CRON_MINUTES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `auth keep-fresh`."""
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="refresh the tokens that are due, then exit")
    what.add_argument("--install", action="store_true", help="install a service that starts now and at each login")
    what.add_argument("--uninstall", action="store_true", help="stop the service and remove it")
    parser.set_defaults(handler=keep_fresh)


def keep_fresh(args: argparse.Namespace, app: App) -> int:
    """Run the action of the option; without an option, refresh until a signal stops the process."""
    if args.install:
        return install(app)
    if args.uninstall:
        return uninstall(app)
    with watched_end():
        return once(app) if args.once else run(app)


def run(app: App) -> int:
    """Refresh accounts in the foreground."""
    passphrase = passphrase_for(app.paths, app.passphrase, app.env)
    log_to_stderr(_log(app), verbose=app.options.verbose)

    async def until_stopped() -> None:
        stop = end_signal()
        working = asyncio.create_task(work(app, passphrase), name="keep fresh")
        notify_service_manager(app.env, "READY=1")
        _show_running(app)
        await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
        notify_service_manager(app.env, "STOPPING=1")
        if working.done():
            working.result()
        working.cancel()
        await asyncio.wait([working])  # wait for a refresh that was sent

    signals.run(until_stopped())
    return ExitCode.OK


def once(app: App) -> int:
    """Refresh the accounts that are due. Return the exit code of `auth status --check`, without reading the token store."""

    async def refresh() -> list[Outcome]:
        store = unattended_store(app, passphrase_for(app.paths, app.passphrase, app.env))
        async with refreshing(app, store) as broker:
            await tidy_up(app, store)
            return await refresh_what_is_due(broker, store)

    outcomes = signals.run(refresh()) if app.token_store.profiles() else []
    code = worst_exit_code(app.token_store.profiles(), app.clock)
    if app.out.is_json:
        app.out.json({"exitCode": code, "profiles": [_as_json(outcome, app) for outcome in outcomes]})
        return code
    for outcome in outcomes:
        app.out.note(f"{outcome.profile_id}: {outcome.result}{f' ({outcome.error})' if outcome.error else ''}")
    if not outcomes:
        from portico.cli.auth_status import show_signed_out

        show_signed_out(app)
    return code


def install(app: App) -> int:
    """Install the service and start it.

    Raises:
        ConfigError: `service-failed`, with the line for cron if there is no service manager.
        NetworkError: `proxy-unusable`: the file in `PORTICO_PROXY_FILE` cannot be used.
        StoreError: the tokens are in the encrypted file, and its passphrase is in no file.
    """
    service = with_environment(keep_fresh_service(app), app)
    manager, why = usable_manager(app)
    proxy_warning = lost_proxy_warning(service, manager.environment(service) if manager is not None else {})
    if proxy_warning is not None:
        app.out.warn(proxy_warning)
    if manager is None:
        raise _no_manager(service, why, app)
    path = manager.install(service)
    if app.out.is_json:
        fields = {"installed": True, "kind": manager.kind, "name": service.name, "path": str(path)}
        app.out.json({**fields, **proxy_file(service)})
        return ExitCode.OK
    app.out.line(f"Installed and started: {path} ({manager.kind})")
    app.out.note(after_install(manager, service))
    return ExitCode.OK


def uninstall(app: App) -> int:
    """Stop the service and remove it."""
    service = keep_fresh_service(app)
    gone, had_file = remove_service(service, app)
    advice = "If your crontab has a line that names this file, remove the line: crontab -e"
    return report_uninstalled(service, app, gone=gone, had_file=had_file, advice=advice)


def keep_fresh_service(app: App) -> Service:
    """Return the service, without the settings of this environment."""
    commands = ServiceCommands("auth keep-fresh --install", "auth keep-fresh --uninstall")
    words = ("auth", "keep-fresh")
    return make_service(app, "keep-fresh", "Portico keeps sign-ins fresh", commands=commands, words=words, log=_log(app))


def _no_manager(service: Service, why: str, app: App) -> PorticoError:
    write_secrets(service)  # the line for cron names the passphrase file
    line = cron_line(service, app.env)
    hint = f"Add this line to your crontab (crontab -e):\n  {line}\n  Or keep this running: {{prog}} auth keep-fresh"
    return ServiceFailed("Could not install the service: no service manager is available.", why=why, hint=hint)


def cron_line(service: Service, env: Mapping[str, str]) -> str:
    """Return a line for crontab(5), with the address of the keyring. Every `%` is escaped, because it would end the command."""
    bus = next(({name: env[name]} for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR") if name in env), {})
    variables = " ".join(f"{name}={quote(value)}" for name, value in sorted({**service.environment, **bus}.items()))
    command = " ".join(quote(word) for word in (*service.command, "--once", "--quiet"))
    return f"*/{_CRON_MINUTES} * * * * {variables} {command}".replace("%", "\\%")


def _log(app: App) -> Path:
    return app.paths.state / "keep-fresh.log"


def _show_running(app: App) -> None:
    ids = [profile.id for profile in app.token_store.profiles()]
    if app.out.is_json:
        app.out.event({"event": "running", "pid": os.getpid(), "profiles": ids})
    else:
        names = ", ".join(ids) or "no account yet; new accounts are picked up"
        app.out.note(f"Keeping fresh: {names}. Press Ctrl-C to stop.")


def _as_json(outcome: Outcome, app: App) -> dict[str, object]:
    value: dict[str, object] = {"id": outcome.profile_id, "result": outcome.result}
    return value if outcome.error is None else {**value, "error": outcome.error.as_json(app.program)}
