"""launchd's manager of the user's own agents, and the property list that it reads (launchd.plist(5))."""

from __future__ import annotations

import os
import plistlib
import sys
from typing import TYPE_CHECKING
from xml.parsers.expat import ExpatError

from portico.services.service import home, read_service_file, remove_secrets, run_manager, try_run, write_file, write_secrets
from portico.util.files import remove_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.services.service import Service


class Launchd:
    """launchd's manager of the user's own agents."""

    kind = "launchd agent"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def path(self, service: Service) -> Path:
        return home(self._env) / "Library" / "LaunchAgents" / f"{service.name}.plist"

    def files(self, service: Service) -> dict[Path, bytes]:
        return {self.path(service): launchd_plist(service)}

    def keeps_port(self, service: Service) -> bool:  # noqa: ARG002 - a Python program has no call to take a socket from launchd
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
            try_run(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"])  # not running is as good
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
        try_run(self._env, ["launchctl", "bootstrap", _domain(), str(self.path(service))])  # known already is as good
        hint = f"install it again: {{prog}} {service.commands.install}"
        run_manager(self._env, ["launchctl", "kickstart", f"{_domain()}/{service.name}"], hint=hint)

    def stop(self, service: Service) -> None:
        run_manager(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"], hint=_uninstall_hint(service))

    def log_command(self, service: Service, lines: int, *, follow: bool) -> list[str] | None:  # noqa: ARG002 - launchd keeps no log
        return None


def launchd_plist(service: Service) -> bytes:
    """The property list."""
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
    return f"to do without the service: {{prog}} {service.commands.uninstall}"


def _domain() -> str:
    return f"gui/{os.getuid()}" if sys.platform != "win32" else "gui"
