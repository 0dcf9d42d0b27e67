"""Service managers: systemd (a user's units, sd_notify(3)) and launchd (a user's own agents, launchd.plist(5))."""

from __future__ import annotations

import contextlib
import os
import plistlib
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.parsers.expat import ExpatError

from portico.services.service import (
    ServiceFailed,
    home,
    read_service_file,
    remove_secrets,
    run_manager,
    try_run,
    write_file,
    write_secrets,
)
from portico.util.files import remove_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.services.service import Manager, Service

_VARIABLES: Final = "Environment="
_SYSTEMCTL: Final = ("systemctl", "--user")
_WANTED: Final = ("default.target.wants", "sockets.target.wants")
_UNIT: Final = """\
# Written by `portico {install}`; `portico {uninstall}` takes it away.
[Unit]
Description={description}
{socket}
[Service]
Type=notify
NotifyAccess=main
{environment}ExecStart={command}
Restart=on-failure
RestartSec={pause}
# How a gateway ends once another version of Portico is installed, which is then started.
SuccessExitStatus=75
RestartForceExitStatus=75
UMask=0077
# What needs no namespace: a user's manager can make one only where the system lets it, and the unit would fail elsewhere.
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
# It ends itself within 4.5 s of SIGTERM, by force if it must; for `portico gateway restart` within 30 s, so that its streams can
# finish. It stays longer only for the answer to a refresh that it has sent, which may hold the only copy of the next token.
TimeoutStopSec=80

[Install]
WantedBy=default.target
"""
# Seconds until a failed service is started again. If systemd keeps the port open, clients wait during this time, so it is
# short.
_RESTART_DELAY_S: Final = 30
_RESTART_DELAY_WITH_PORT_S: Final = 5
_SOCKET: Final = """\
# Written by `portico {install}`; `portico {uninstall}` takes it away. Its service is not to lose a connection while it restarts.
[Unit]
Description={description}

[Socket]
ListenStream=127.0.0.1:{port}
Backlog=1024

[Install]
WantedBy=sockets.target
"""


class Systemd:
    """systemd for the services of one user."""

    kind = "systemd user unit"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def path(self, service: Service) -> Path:
        base = Path(self._env.get("XDG_CONFIG_HOME") or home(self._env) / ".config")
        return base / "systemd" / "user" / f"{service.name}.service"

    def files(self, service: Service) -> dict[Path, bytes]:
        units = {self.path(service): systemd_unit(service).encode()}
        return units if service.port is None else {**units, self._socket(service): systemd_socket(service).encode()}

    def keeps_port(self, service: Service) -> bool:
        return service.port is not None and read_service_file(self._socket(service)) == systemd_socket(service).encode()

    def environment(self, service: Service) -> dict[str, str]:
        lines = (read_service_file(self.path(service)) or b"").decode(errors="replace").splitlines()
        words = [word for line in lines if line.startswith(_VARIABLES) for word in _split_words(line.removeprefix(_VARIABLES))]
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def why_unavailable(self) -> str | None:
        return try_run(self._env, [*_SYSTEMCTL, "show", "--property=Version"])[1]

    def install(self, service: Service) -> Path:
        path, files = self.path(service), self.files(service)  # an invalid path must fail before a file is written
        for each in self._units(service):
            if each not in files:  # the config no longer has a port
                self._run(service, "disable", "--now", each.name)
                remove_private(each)
        write_secrets(service)
        for each, content in files.items():
            write_file(each, content)
        self._run(service, "daemon-reload")
        self._run(service, "enable", *(each.name for each in files))
        if service.port is not None:  # systemd does not open a socket for a running service
            self.stop(service)
        self._run(service, "restart", path.name)  # a running service needs a restart
        return path

    def uninstall(self, service: Service) -> bool:
        path = self.path(service)
        if not path.exists():
            return False
        units = self._units(service)
        words = [*_SYSTEMCTL, "disable", "--now", *(each.name for each in units)]
        error = try_run(self._env, words)[1]
        if error is not None and self.why_unavailable() is None:
            command = " ".join(words)
            hint = f"delete it yourself: rm {shlex.join(map(str, units))}"
            raise ServiceFailed(f"`{command}` failed.", why=error, hint=hint)
        # If no manager answers, delete the links of `enable`, so that the service does not start at the next login.
        for each in units:
            for folder in _WANTED:
                remove_private(each.with_name(folder) / each.name)
            remove_private(each)
        remove_secrets(service)
        try_run(self._env, [*_SYSTEMCTL, "daemon-reload"])  # a failure does not matter: the manager does not run
        return True

    def start(self, service: Service) -> None:
        socket = self._socket(service)
        if service.port is not None and socket.exists() and not self.keeps_port(service):
            self.stop(service)
            write_file(socket, systemd_socket(service).encode())
            self._run(service, "daemon-reload")
        self._run(service, "start", self.path(service).name)

    def stop(self, service: Service) -> None:
        self._run(service, "stop", *(each.name for each in self._units(service)))

    def log_command(self, service: Service, lines: int, *, follow: bool) -> list[str] | None:
        unit = self.path(service).name
        command = ["journalctl", "--user", "--unit", unit, "--lines", str(lines), "--output", "cat"]
        return [*command, "--follow"] if follow else command

    def _socket(self, service: Service) -> Path:
        return self.path(service).with_suffix(".socket")

    def _units(self, service: Service) -> list[Path]:
        """Return the unit of the socket, if any, and then that of the service: the socket could start the service again."""
        socket = self._socket(service)
        return [*([socket] if socket.exists() else []), self.path(service)]

    def _run(self, service: Service, *words: str) -> None:
        run_manager(self._env, [*_SYSTEMCTL, *words], hint=_uninstall_hint(service))


def systemd_unit(service: Service) -> str:
    """Return the unit file.

    Raises:
        ConfigError: a unit file cannot contain one of the paths.
    """
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in sorted(service.environment.items()))
    name = f"{service.name}.socket"
    return _UNIT.format(
        socket="" if service.port is None else f"Requires={name}\nAfter={name}\n",
        install=service.commands.install,
        uninstall=service.commands.uninstall,
        description=service.description,
        pause=_RESTART_DELAY_S if service.port is None else _RESTART_DELAY_WITH_PORT_S,
        environment=environment,
        command=" ".join(_quoted(word).replace("$", "$$") for word in service.command),
    )


def systemd_socket(service: Service) -> str:
    """Return the unit file of the socket that systemd keeps open for the service (systemd.socket(5))."""
    commands = service.commands
    return _SOCKET.format(
        install=commands.install, uninstall=commands.uninstall, description=service.description, port=service.port
    )


def _split_words(text: str) -> list[str]:
    """Split a line of `_quoted` words. Empty if a quote is not closed."""
    try:
        return [word.replace("%%", "%") for word in shlex.split(text)]
    except ValueError:
        return []


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise ServiceFailed("A path contains characters that are invalid in a unit file.", why=repr(word))
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'


_PREFIX: Final = "portico-"


def has_manager(env: Mapping[str, str]) -> bool:
    """Whether systemd, or launchd with Portico's label, started this process and restarts it on failure."""
    return bool(env.get("NOTIFY_SOCKET")) or env.get("XPC_SERVICE_NAME", "").startswith(_PREFIX)


def notify_service_manager(env: Mapping[str, str], state: str) -> None:
    """Send `READY=1` or `STOPPING=1` to systemd, if systemd waits for it."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.setblocking(False)
        notifier.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


class Launchd:
    """launchd for the agents of one user."""

    kind = "launchd agent"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def path(self, service: Service) -> Path:
        return home(self._env) / "Library" / "LaunchAgents" / f"{service.name}.plist"

    def files(self, service: Service) -> dict[Path, bytes]:
        return {self.path(service): launchd_plist(service)}

    def keeps_port(self, service: Service) -> bool:  # noqa: ARG002 - Python has no function to take over a socket of launchd
        return False

    def environment(self, service: Service) -> dict[str, str]:
        try:
            variables = plistlib.loads(read_service_file(self.path(service)) or b"")["EnvironmentVariables"]
            return {name: value for name, value in variables.items() if isinstance(value, str)}
        except (ValueError, LookupError, TypeError, AttributeError, ExpatError):
            return {}

    def why_unavailable(self) -> str | None:
        return try_run(self._env, ["launchctl", "print", _domain()])[1]

    def install(self, service: Service) -> Path:
        path, content = self.path(service), launchd_plist(service)
        if path.exists():
            try_run(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"])  # the service may not be running
        write_secrets(service)
        write_file(path, content)
        run_manager(self._env, ["launchctl", "bootstrap", _domain(), str(path)], hint=_uninstall_hint(service))
        return path

    def uninstall(self, service: Service) -> bool:
        path = self.path(service)
        if not path.exists():
            return False
        try_run(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"])
        remove_private(path)
        remove_secrets(service)
        return True

    def start(self, service: Service) -> None:
        # launchd may already have loaded the service
        try_run(self._env, ["launchctl", "bootstrap", _domain(), str(self.path(service))])
        hint = f"install it again: {{prog}} {service.commands.install}"
        run_manager(self._env, ["launchctl", "kickstart", f"{_domain()}/{service.name}"], hint=hint)

    def stop(self, service: Service) -> None:
        run_manager(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"], hint=_uninstall_hint(service))

    def log_command(self, service: Service, lines: int, *, follow: bool) -> list[str] | None:  # noqa: ARG002 - launchd keeps no log
        return None


def launchd_plist(service: Service) -> bytes:
    """Return the property list."""
    return plistlib.dumps(
        {
            "Label": service.name,
            "ProgramArguments": list(service.command),
            "EnvironmentVariables": dict(service.environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 30,
            "ExitTimeOut": 50,
            "Umask": 0o077,
            "ProcessType": "Background",
            "StandardErrorPath": str(service.log),
        }
    )


def _uninstall_hint(service: Service) -> str:
    return f"to remove the service: {{prog}} {service.commands.uninstall}"


def _domain() -> str:
    return f"gui/{os.getuid()}" if sys.platform != "win32" else "gui"


def service_manager(env: Mapping[str, str], platform: str = sys.platform) -> Manager | None:
    """Return the service manager of this system, which may be unavailable; None if Portico supports no manager of this system."""
    if platform == "darwin":
        return Launchd(env)
    return Systemd(env) if platform.startswith("linux") else None
