"""`auth keep-fresh`: what the gateway does in the background, without the gateway; once, for as long as it runs, or for good."""

from __future__ import annotations

TYPE_CHECKING = False  # `auth token` imports this module's neighbours, and `typing` is a visible part of what it costs
if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from portico.auth.keep_fresh import Outcome
    from portico.auth.user_service import Manager, Service
    from portico.cli.runtime import Runtime
    from portico.errors import PorticoError

_EPILOG = """examples:
  {prog} auth keep-fresh                  in the foreground, until interrupted
  {prog} auth keep-fresh --once --json    refresh what is due and end: for cron and timers
  {prog} auth keep-fresh --install        a systemd user unit, or a launchd agent: from now on, and at each login
  {prog} auth keep-fresh --uninstall

exit code of --once: 0 fine; 3 a sign-in is needed; 12 one ends within 24 h, or has ended, and cannot be refreshed.
Where there is no service manager (containers), --install prints the line for cron.
"""
# A token is due five minutes before its end: a job that comes less often would come too late.
_CRON_MINUTES = 4
# Ways to the network and to the keyring that a service manager does not know; any with a password in it is left out.
_PASSED_ON = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")


def add_keep_fresh(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `keep-fresh` to `auth`."""
    summary = "refresh every sign-in before it ends, without the gateway"
    parser = commands.add_parser("keep-fresh", help=summary, description=f"{summary[:1].upper()}{summary[1:]}.", epilog=_EPILOG)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--once", action="store_true", help="refresh what is due, then end")
    what.add_argument("--install", action="store_true", help="let the operating system run it, now and at each login")
    what.add_argument("--uninstall", action="store_true", help="undo --install")
    parser.set_defaults(handler=keep_fresh)


def keep_fresh(args: argparse.Namespace, rt: Runtime) -> int:
    """Do what the options say; without any, run until a signal asks to end."""
    if args.install:
        return install(rt)
    if args.uninstall:
        return uninstall(rt)
    return once(rt) if args.once else run(rt)


def run(rt: Runtime) -> int:
    """Keep fresh in the foreground."""
    import asyncio

    from portico.auth.keep_fresh import tell_service_manager
    from portico.cli.gateway_work import keep_fresh as work
    from portico.errors import ExitCode
    from portico.gateway.ending import asked_to_end
    from portico.gateway.log import log_to_stderr
    from portico.gateway.service import passphrase_for

    passphrase = passphrase_for(rt.paths, rt.passphrase, rt.env)
    log_to_stderr(_log(rt), verbose=rt.options.verbose)

    async def until_asked() -> None:
        ending = asked_to_end()
        working = asyncio.create_task(work(rt, passphrase), name="keep fresh")
        tell_service_manager(rt.env, "READY=1")
        _say_running(rt)
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        tell_service_manager(rt.env, "STOPPING=1")
        if working.done():
            working.result()
        working.cancel()
        await asyncio.wait([working])  # a refresh that was sent is waited for

    asyncio.run(until_asked())
    return ExitCode.OK


def once(rt: Runtime) -> int:
    """Refresh what is due; the exit code is that of `auth status --check`, without a look into the store."""
    import asyncio

    from portico.auth.health import check_code
    from portico.auth.keep_fresh import refresh_what_is_due
    from portico.cli.gateway_work import refreshing
    from portico.gateway.service import passphrase_for

    async def refresh() -> list[Outcome]:
        async with refreshing(rt, passphrase_for(rt.paths, rt.passphrase, rt.env)) as broker:
            return await refresh_what_is_due(broker, rt.index)

    outcomes = asyncio.run(refresh()) if rt.index.profiles() else []
    code = check_code(rt.index.profiles(), rt.clock.wall_ms())
    if rt.out.is_json:
        rt.out.json({"exitCode": code, "profiles": [_as_json(outcome, rt) for outcome in outcomes]})
        return code
    for outcome in outcomes:
        rt.out.note(f"{outcome.profile_id}: {outcome.result}{f' ({outcome.error})' if outcome.error else ''}")
    if not outcomes:
        rt.out.note(f"Nobody is signed in. Sign in: {rt.program} onboard --auth-choice minimax-portal")
    return code


def install(rt: Runtime) -> int:
    """Hand it to the service manager.

    Raises:
        ConfigError: `no-service-manager`, with the line for cron; `service-failed`.
        StoreError: the sealed file store is in use and its passphrase is in no file.
    """
    from portico.auth.user_service import manager_here
    from portico.errors import ExitCode

    service = _service(rt)
    manager = manager_here(rt.env)
    why = manager.why_not() if manager is not None else "Portico knows no service manager of this system"
    if manager is None or why is not None:
        raise _no_manager(service, why or "", rt)
    path = manager.install(service)
    if rt.out.is_json:
        rt.out.json({"installed": True, "kind": manager.kind, "name": service.name, "path": str(path)})
        return ExitCode.OK
    rt.out.line(f"Installed and started: {path} ({manager.kind})")
    rt.out.note(_after(manager, service))
    return ExitCode.OK


def uninstall(rt: Runtime) -> int:
    """Take it back from the service manager."""
    from portico.auth.user_service import Service, manager_here
    from portico.errors import ExitCode

    service = Service(_name(rt), (), {}, _log(rt))
    manager = manager_here(rt.env)
    gone = manager is not None and manager.uninstall(service)
    if rt.out.is_json:
        rt.out.json({"uninstalled": gone, "name": service.name})
    else:
        rt.out.line(f"Stopped and removed: {service.name}" if gone else "Nothing is installed; nothing was changed.")
    return ExitCode.OK


def _service(rt: Runtime) -> Service:
    import sys
    from pathlib import Path

    from portico.auth.user_service import Service
    from portico.errors import StoreError
    from portico.gateway.child import same_installation
    from portico.store.passphrase import FILE_ENV

    environment = same_installation(rt.paths, rt.env)
    environment |= {name: value for name in _PASSED_ON if (value := rt.env.get(name)) and "@" not in value}
    view = rt.index.view()
    sealed = any(profile.store == "file" for profile in view.profiles)
    if sealed or (view.remembered is not None and view.remembered.name == "file"):
        if not rt.env.get(FILE_ENV):
            raise StoreError(
                "passphrase-needed",
                "the sealed file store needs its passphrase whenever a token is refreshed, and a unit file is no place for it",
                hint=f"put it into a file that only you can read, set {FILE_ENV} to that file, and run the command again",
            )
        environment[FILE_ENV] = str(Path(rt.env[FILE_ENV]).expanduser().absolute())
    # -P: a module in the folder of the moment must not be taken for one of ours.
    command = (sys.executable, "-P", "-m", "portico", "auth", "keep-fresh")
    return Service(_name(rt), command, environment, _log(rt))


def _no_manager(service: Service, why: str, rt: Runtime) -> PorticoError:
    from portico.errors import ConfigError

    return ConfigError(
        "no-service-manager",
        "Nothing was installed: no service manager can be used here.",
        why=why,
        hint=f"with cron: {cron_line(service, rt.env)}\n  or keep this running: {{prog}} auth keep-fresh",
    )


def cron_line(service: Service, env: Mapping[str, str]) -> str:
    """What crontab(5) takes, with the way to the keyring. A per cent sign would end the command there."""
    from shlex import quote

    bus = {name: env[name] for name in ("DBUS_SESSION_BUS_ADDRESS",) if name in env}
    variables = " ".join(f"{name}={quote(value)}" for name, value in sorted({**service.environment, **bus}.items()))
    command = " ".join(quote(word) for word in (*service.command, "--once", "--quiet"))
    return f"*/{_CRON_MINUTES} * * * * {variables} {command}".replace("%", "\\%")


def _after(manager: Manager, service: Service) -> str:
    if manager.kind.startswith("systemd"):
        return (
            f"Look at it: systemctl --user status {service.name}; its log: journalctl --user -u {service.name}\n"
            "To keep it running while you are logged out: loginctl enable-linger"
        )
    return f"Its log: {service.log}"


def _name(rt: Runtime) -> str:
    return f"portico-keep-fresh{f'-{rt.paths.state_id}' if rt.paths.state_id else ''}"


def _log(rt: Runtime) -> Path:
    return rt.paths.state / "keep-fresh.log"


def _say_running(rt: Runtime) -> None:
    import os

    if rt.out.is_json:
        rt.out.event({"event": "running", "pid": os.getpid(), "profiles": [profile.id for profile in rt.index.profiles()]})
        return
    names = ", ".join(profile.id for profile in rt.index.profiles()) or "nobody yet; a sign-in is noticed when it comes"
    rt.out.note(f"Keeping fresh: {names}. Ctrl-C ends it.")


def _as_json(outcome: Outcome, rt: Runtime) -> dict[str, object]:
    value: dict[str, object] = {"id": outcome.profile_id, "result": outcome.result}
    return value if outcome.error is None else {**value, "error": outcome.error.as_json(rt.program)}
