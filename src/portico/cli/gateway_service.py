"""`gateway install|uninstall`: the gateway as a service of the operating system. Other commands use this service too."""

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
    """The installed service, with the manager that runs it."""

    service: Service
    manager: Manager

    def __str__(self) -> str:
        return f"{self.manager.kind} {self.service.name}"

    def start(self, app: App, port: int | None) -> GatewayState:
        """Start the service and return the running gateway.

        Raises:
            UsageError: `port` is not None: only the config sets the service's port.
            ConfigError: `service-failed`, `gateway-failed`.
        """
        from portico.gateway.service import with_configured_port

        self.check_port(port)
        self.manager.start(with_configured_port(self.service, app))
        return _answering(app)

    def restart(self, app: App) -> tuple[StoppedGateway, GatewayState] | None:
        """Replace the running gateway and return (old, new); None if no gateway was running.

        If the manager keeps the port, clients wait until the old gateway has finished its requests, 30 s at most.

        Raises:
            PorticoError: as `start` and `stop`.
        """
        from portico.gateway import control
        from portico.gateway.server import SERVICE_DRAIN_S
        from portico.gateway.service import with_configured_port

        keeps_port = self.manager.keeps_port(with_configured_port(self.service, app))
        old = (control.hand_over(app.paths, SERVICE_DRAIN_S + control.TERM_S) if keeps_port else None) or self.stop(app)
        return None if old is None else (old, self.start(app, None))

    def check_port(self, port: int | None) -> None:
        """Refuse `--port`, because only the config sets the service's port.

        Raises:
            UsageError: `port` is not None.
        """
        if port is not None:
            hint = f"{{prog}} config set gateway.port {port}; or remove the service: {{prog}} gateway uninstall"
            raise UsageError(f"The config sets the port of the installed gateway ({self}); --port does not.", hint=hint)

    def stop(self, app: App) -> StoppedGateway | None:
        """Stop the service and return the gateway that was running, or None.

        Raises:
            ConfigError: `service-failed`.
            LockBusy, StoreError: as `portico.gateway.control.stop`.
        """
        from portico.gateway import control
        from portico.gateway.control import StoppedGateway
        from portico.services.gateway_state import gateway_lock, running

        before = running(app.paths)
        pid = before.pid if before is not None else gateway_lock(app.paths).owner_pid()  # the pid of a gateway that hangs, too
        self.manager.stop(self.service)
        ended = control.stop(app.paths)  # the manager does not stop a gateway that was started by hand
        return ended or (StoppedGateway(pid, before) if pid is not None else None)


def installed(app: App) -> Installed | None:
    """Return the installed service, or None."""
    from portico.gateway.service import gateway_service
    from portico.services.managers import service_manager

    manager = service_manager(app.env)
    service = gateway_service(app)
    return Installed(service, manager) if manager is not None and manager.path(service).exists() else None


def install(_args: argparse.Namespace, app: App) -> int:
    """Install the gateway as a service and start it. A running gateway stops first.

    Raises:
        ConfigError: `service-failed`, `gateway-failed`, `port-taken`.
        NetworkError: `proxy-unusable`: the file in `PORTICO_PROXY_FILE` cannot be used.
        StoreError: the tokens are in the encrypted file, and its passphrase is in no file.
    """
    from portico.gateway import control
    from portico.gateway.port import bind_port
    from portico.gateway.service import after_install, gateway_to_install, lost_proxy_warning, proxy_file, usable_manager

    service = gateway_to_install(app)
    manager, why = usable_manager(app)
    if manager is None:
        hint = "To start it in the background, until this machine restarts: {prog} gateway start"
        raise ServiceFailed("Could not install the service: no service manager is available.", why=why, hint=hint)
    proxy_warning = lost_proxy_warning(service, manager.environment(service))
    if proxy_warning is not None:
        app.out.warn(proxy_warning)
    before = Installed(service, manager).stop(app) if manager.path(service).exists() else control.stop(app.paths)
    if service.port is not None:
        bind_port(service.port).close()  # this error names the program on the port; the manager's error would not
    path = manager.install(service)
    state = _answering(app)
    if app.out.is_json:
        fields = {"installed": True, "kind": manager.kind, "name": service.name, "path": str(path), **proxy_file(service)}
        app.out.json({**fields, "previousPid": before.pid if before is not None else None, **state.as_json()})
        return ExitCode.OK
    if before is not None:
        app.out.note(f"Stopped the running gateway (pid {before.pid}).")
    app.out.line(f"Installed {path} ({manager.kind}). The gateway is running (pid {state.pid}) on {state.url}.")
    app.out.note(after_install(manager, service))
    return ExitCode.OK


def uninstall(_args: argparse.Namespace, app: App) -> int:
    """Stop the service and remove it."""
    from portico.cli.exec import is_for_tools
    from portico.gateway import control
    from portico.gateway.service import gateway_service, remove_service
    from portico.services.gateway_state import read_state

    service = gateway_service(app)
    gone, had_file = remove_service(service, app)
    state = read_state(app.paths) if gone else None
    if gone and not (state is not None and is_for_tools(app, state)):
        control.stop(app.paths)  # a manager that does not respond has not stopped it
    return report_uninstalled(service, app, gone=gone, had_file=had_file)


def report_uninstalled(service: Service, app: App, *, gone: bool, had_file: bool, advice: str | None = None) -> int:
    """Print what was removed: the service if `gone`, else the file with its proxy if `had_file`. `advice` follows."""
    if app.out.is_json:
        app.out.json({"uninstalled": gone, "name": service.name, **({"deleted": [str(service.secrets)]} if had_file else {})})
    elif had_file:
        app.out.line(f"Deleted: {service.secrets}")
        if advice is not None:
            app.out.line(advice)
    else:
        app.out.line(f"Stopped and removed: {service.name}" if gone else "No service is installed.")
    return ExitCode.OK


def _answering(app: App) -> GatewayState:
    from portico.gateway.control import READY_S, wait_until_running

    return wait_until_running(app.paths, READY_S)
