"""`auth keep-fresh`: what the gateway does in the background, without the gateway; once, for as long as it runs, or for good."""

from __future__ import annotations

import asyncio
import os
from shlex import quote
from typing import TYPE_CHECKING

from portico.auth.background import refresh_what_is_due
from portico.auth.freshness import worst_exit_code
from portico.cli.gateway import keep_fresh as work
from portico.cli.gateway import refreshing, tidy_up, unattended_store
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
  {prog} auth keep-fresh                  in the foreground, until interrupted
  {prog} auth keep-fresh --once --json    refresh what is due and end: for cron and timers
  {prog} auth keep-fresh --install        a systemd user unit, or a launchd agent: from now on, and at each login
  {prog} auth keep-fresh --uninstall

A sign-in that nobody has used for a day rests: it is refreshed twice a day, and when it is next used.
exit code of --once: 0 fine; 3 a sign-in is needed; 12 one ends within 24 h, or has ended, and cannot be refreshed.
Where there is no service manager (containers), --install prints the line for cron.
"""
# A token is due five minutes before its end: a job that comes less often would come too late.
_CRON_MINUTES = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `auth keep-fresh`."""
    parser.epilog = _EPILOG
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="refresh what is due, then end")
    what.add_argument("--install", action="store_true", help="let the operating system run it, now and at each login")
    what.add_argument("--uninstall", action="store_true", help="undo --install")
    parser.set_defaults(handler=keep_fresh)


def keep_fresh(args: argparse.Namespace, app: App) -> int:
    """Do what the options say; without any, run until a signal asks to end."""
    if args.install:
        return install(app)
    if args.uninstall:
        return uninstall(app)

    with watched_end():
        return once(app) if args.once else run(app)


def run(app: App) -> int:
    """Keep fresh in the foreground."""
    passphrase = passphrase_for(app.paths, app.passphrase, app.env)
    log_to_stderr(_log(app), verbose=app.options.verbose)

    async def until_asked() -> None:
        ending = end_signal()
        working = asyncio.create_task(work(app, passphrase), name="keep fresh")
        notify_service_manager(app.env, "READY=1")
        _say_running(app)
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        notify_service_manager(app.env, "STOPPING=1")
        if working.done():
            working.result()
        working.cancel()
        await asyncio.wait([working])  # a refresh that was sent is waited for

    signals.run(until_asked())
    return ExitCode.OK


def once(app: App) -> int:
    """Refresh what is due; the exit code is that of `auth status --check`, without a look into the store."""

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
    """Hand it to the service manager.

    Raises:
        ConfigError: `service-failed`, with the line for cron if there is no service manager.
        NetworkError: `proxy-unusable`: the file in `PORTICO_PROXY_FILE` cannot be used.
        StoreError: the sealed file store is in use and its passphrase is in no file.
    """
    service = _service(app)
    manager, why = usable_manager(app)
    without = lost_proxy_warning(service, manager.environment(service) if manager is not None else {})
    if without is not None:
        app.out.warn(without)
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
    """Take it back from the service manager."""
    service = keep_fresh_service(app)
    gone, had_file = remove_service(service, app)
    if app.out.is_json:
        app.out.json({"uninstalled": gone, "name": service.name, **({"deleted": [str(service.secrets)]} if had_file else {})})
    elif had_file:
        app.out.line(f"Deleted: {service.secrets}; a line for cron that names it goes with `crontab -e`.")
    else:
        app.out.line(f"Stopped and removed: {service.name}" if gone else "Nothing is installed; nothing was changed.")
    return ExitCode.OK


def keep_fresh_service(app: App) -> Service:
    """The service by its names alone."""
    commands = ServiceCommands("auth keep-fresh --install", "auth keep-fresh --uninstall")
    words = ("auth", "keep-fresh")
    return make_service(app, "keep-fresh", "Portico keeps sign-ins fresh", commands=commands, words=words, log=_log(app))


def _service(app: App) -> Service:
    return with_environment(keep_fresh_service(app), app)


def _no_manager(service: Service, why: str, app: App) -> PorticoError:
    write_secrets(service)  # the line for cron names that file
    return ServiceFailed(
        "Nothing was installed: no service manager can be used here.",
        why=why,
        hint=f"with cron: {cron_line(service, app.env)}\n  or keep this running: {{prog}} auth keep-fresh",
    )


def cron_line(service: Service, env: Mapping[str, str]) -> str:
    """What crontab(5) takes, with the way to the keyring. A per cent sign would end the command there."""
    way = next((name for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR") if name in env), None)
    bus = {way: env[way]} if way is not None else {}
    variables = " ".join(f"{name}={quote(value)}" for name, value in sorted({**service.environment, **bus}.items()))
    command = " ".join(quote(word) for word in (*service.command, "--once", "--quiet"))
    return f"*/{_CRON_MINUTES} * * * * {variables} {command}".replace("%", "\\%")


def _log(app: App) -> Path:
    return app.paths.state / "keep-fresh.log"


def _say_running(app: App) -> None:
    if app.out.is_json:
        app.out.event(
            {"event": "running", "pid": os.getpid(), "profiles": [profile.id for profile in app.token_store.profiles()]}
        )
        return
    names = ", ".join(profile.id for profile in app.token_store.profiles()) or "nobody yet; a sign-in is noticed when it comes"
    app.out.note(f"Keeping fresh: {names}. Ctrl-C ends it.")


def _as_json(outcome: Outcome, app: App) -> dict[str, object]:
    value: dict[str, object] = {"id": outcome.profile_id, "result": outcome.result}
    return value if outcome.error is None else {**value, "error": outcome.error.as_json(app.program)}
