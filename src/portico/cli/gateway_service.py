"""`gateway install|uninstall`: the gateway as a service of the operating system, and what other commands do with one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from portico.errors import ExitCode, UsageError
from portico.services.service import ServiceFailed

if TYPE_CHECKING:
    import argparse

    from portico.app import App
    from portico.gateway.control import StoppedGateway
    from portico.services.gateway_state import GatewayState
    from portico.services.service import Manager, Service


@dataclass(frozen=True, slots=True)
class Installed:
    """The service of this installation, which is there, and whoever keeps it running."""

    service: Service
    manager: Manager

    def __str__(self) -> str:
        return f"{self.manager.kind} {self.service.name}"

    def start(self, app: App, port: int | None) -> GatewayState:
        """Start it; what runs then.

        Raises:
            UsageError: a `port` is asked for that only the configuration can give it.
            ConfigError: `service-failed`, `gateway-failed`.
        """
        from portico.gateway.service import with_configured_port

        self.check_port(port)
        self.manager.start(with_configured_port(self.service, app))
        return _answering(app)

    def restart(self, app: App) -> tuple[StoppedGateway, GatewayState] | None:
        """Have another process in the running one's place; (old, new), or None where none ran.

        Where the manager keeps the port, clients wait while the old one finishes what is under way, for 30 s at most.

        Raises: as `start` and `stop`.
        """
        from portico.gateway import control
        from portico.gateway.server import SERVICE_DRAIN_S
        from portico.gateway.service import with_configured_port

        keeps_port = self.manager.keeps_port(with_configured_port(self.service, app))
        old = (control.hand_over(app.paths, SERVICE_DRAIN_S + control.TERM_S) if keeps_port else None) or self.stop(app)
        return None if old is None else (old, self.start(app, None))

    def check_port(self, port: int | None) -> None:
        """Refuse a port that only the configuration can give it.

        Raises:
            UsageError: one is asked for.
        """
        if port is not None:
            hint = f"{{prog}} config set gateway.port {port}; or without the service: {{prog}} gateway uninstall"
            raise UsageError(f"The port of the installed gateway ({self}) is the configuration's.", hint=hint)

    def stop(self, app: App) -> StoppedGateway | None:
        """Stop it; what ran until now, None where nothing did.

        Raises:
            ConfigError: `service-failed`.
            LockBusy, StoreError: as `portico.gateway.control.stop`.
        """
        from portico.gateway import control
        from portico.gateway.control import StoppedGateway
        from portico.services.gateway_state import gateway_lock, running

        before = running(app.paths)
        pid = before.pid if before is not None else gateway_lock(app.paths).owner_pid()  # one that hangs is ended too
        self.manager.stop(self.service)
        ended = control.stop(app.paths)  # one that was started by hand is no child of the manager
        return ended or (StoppedGateway(pid, before) if pid is not None else None)


def installed(app: App) -> Installed | None:
    """The service of this installation, None where none is installed."""
    from portico.gateway.service import gateway_service
    from portico.services.managers import service_manager

    manager = service_manager(app.env)
    here = gateway_service(app)
    return Installed(here, manager) if manager is not None and manager.path(here).exists() else None


def install(_args: argparse.Namespace, app: App) -> int:
    """Hand the gateway to the service manager; one that runs already ends first.

    Raises:
        ConfigError: `service-failed`, `gateway-failed`, `port-taken`.
        NetworkError: `proxy-unusable`: the file in `PORTICO_PROXY_FILE` cannot be used.
        StoreError: the sealed file store is in use and its passphrase is in no file.
    """
    from portico.gateway import control
    from portico.gateway.port import bind_port
    from portico.gateway.service import after_install, gateway_to_install, lost_proxy_warning, proxy_file, usable_manager

    here = gateway_to_install(app)
    manager, why = usable_manager(app)
    if manager is None:
        hint = "start it in the background, until this machine restarts: {prog} gateway start"
        raise ServiceFailed("Nothing was installed: no service manager can be used here.", why=why, hint=hint)
    without = lost_proxy_warning(here, manager.environment(here))
    if without is not None:
        app.out.warn(without)
    before = Installed(here, manager).stop(app) if manager.path(here).exists() else control.stop(app.paths)
    if here.port is not None:
        bind_port(here.port).close()  # whoever has it is named here; the manager would only say that it failed
    path = manager.install(here)
    state = _answering(app)
    if app.out.is_json:
        fields = {"installed": True, "kind": manager.kind, "name": here.name, "path": str(path), **proxy_file(here)}
        app.out.json({**fields, "previousPid": before.pid if before is not None else None, **state.as_json()})
        return ExitCode.OK
    if before is not None:
        app.out.note(f"The gateway that ran (pid {before.pid}) has ended.")
    app.out.line(f"Installed and running (pid {state.pid}) on {state.url}: {path} ({manager.kind})")
    app.out.note(after_install(manager, here))
    return ExitCode.OK


def uninstall(_args: argparse.Namespace, app: App) -> int:
    """Stop the service and take it away."""
    from portico.cli.exec import is_for_tools
    from portico.gateway import control
    from portico.gateway.service import gateway_service, remove_service
    from portico.services.gateway_state import read_state

    here = gateway_service(app)
    gone, had_file = remove_service(here, app)
    state = read_state(app.paths) if gone else None
    if gone and not (state is not None and is_for_tools(app, state)):
        control.stop(app.paths)  # a manager that does not answer has not stopped it
    if app.out.is_json:
        app.out.json({"uninstalled": gone, "name": here.name, **({"deleted": [str(here.secrets)]} if had_file else {})})
    elif had_file:
        app.out.line(f"Deleted: {here.secrets}")
    else:
        app.out.line(f"Stopped and removed: {here.name}" if gone else "Nothing is installed; nothing was changed.")
    return ExitCode.OK


def _answering(app: App) -> GatewayState:
    from portico.gateway.control import READY_S, wait_until_running

    return wait_until_running(app.paths, READY_S)
