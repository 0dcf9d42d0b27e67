"""The operating system's own keeper of background processes: a systemd user unit on Linux, a launchd agent on macOS.

Neither file holds a secret: both can be read by every process of the user, and land in backups.
"""

from __future__ import annotations

import os
import plistlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from portico.errors import ConfigError
from portico.store.atomic import file_error, remove_private, replace, write_temporary
from portico.store.passphrase import SECRET_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ANSWER_S: Final = 30.0
_SYSTEMD: Final = """\
# Written by `portico auth keep-fresh --install`; `--uninstall` takes it away.
[Unit]
Description=Portico keeps sign-ins fresh

[Service]
Type=notify
NotifyAccess=main
{environment}ExecStart={command}
Restart=on-failure
RestartSec=30
UMask=0077
NoNewPrivileges=yes
# A refresh that was sent is waited for: its answer may be the only copy of the next token.
TimeoutStopSec=60

[Install]
WantedBy=default.target
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What is to run: `name` tells installations apart, `command` and `environment` are exact and hold no secret."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path


class Manager(Protocol):
    """One kind of service manager."""

    kind: str

    def path(self, service: Service) -> Path:
        """The file that it reads."""
        ...

    def why_not(self) -> str | None:
        """Why it cannot be used here; None where it can."""
        ...

    def install(self, service: Service) -> Path:
        """Write the file and start the service, now and at each login; the file.

        Raises:
            ConfigError: `service-failed`, with what the manager said.
            StoreError: the file cannot be written.
        """
        ...

    def uninstall(self, service: Service) -> bool:
        """Stop it and take the file away; False where there was none.

        Raises:
            ConfigError, StoreError: as `install`.
        """
        ...


def manager_here(env: Mapping[str, str], platform: str = sys.platform) -> Manager | None:
    """The service manager of this system, whether it answers or not; None where Portico knows none."""
    if platform == "darwin":
        return Launchd(env)
    return Systemd(env) if platform.startswith("linux") else None


class Systemd:
    """systemd's manager of the user's own services."""

    kind = "systemd user unit"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def path(self, service: Service) -> Path:
        base = Path(self._env.get("XDG_CONFIG_HOME") or _home(self._env) / ".config")
        return base / "systemd" / "user" / f"{service.name}.service"

    def why_not(self) -> str | None:
        return _said(self._env, ["systemctl", "--user", "show", "--property=Version"])

    def install(self, service: Service) -> Path:
        path = self.path(service)
        _write(path, systemd_unit(service).encode())
        _run(self._env, ["systemctl", "--user", "daemon-reload"])
        _run(self._env, ["systemctl", "--user", "enable", path.name])
        _run(self._env, ["systemctl", "--user", "restart", path.name])  # one that ran already takes up what has changed
        return path

    def uninstall(self, service: Service) -> bool:
        path = self.path(service)
        if not path.exists():
            return False
        _run(self._env, ["systemctl", "--user", "disable", "--now", path.name])
        remove_private(path)
        _run(self._env, ["systemctl", "--user", "daemon-reload"])
        return True


class Launchd:
    """launchd's manager of the user's own agents."""

    kind = "launchd agent"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def path(self, service: Service) -> Path:
        return _home(self._env) / "Library" / "LaunchAgents" / f"{service.name}.plist"

    def why_not(self) -> str | None:
        return _said(self._env, ["launchctl", "print", _domain()])

    def install(self, service: Service) -> Path:
        path = self.path(service)
        if path.exists():
            _said(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"])  # not running is as good
        _write(path, launchd_plist(service))
        _run(self._env, ["launchctl", "bootstrap", _domain(), str(path)])
        return path

    def uninstall(self, service: Service) -> bool:
        path = self.path(service)
        if not path.exists():
            return False
        _said(self._env, ["launchctl", "bootout", f"{_domain()}/{service.name}"])
        remove_private(path)
        return True


def systemd_unit(service: Service) -> str:
    """The unit file (systemd.service(5), systemd.exec(5)).

    Raises:
        ConfigError: a path cannot be written into one.
    """
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in sorted(service.environment.items()))
    command = " ".join(_quoted(word).replace("$", "$$") for word in service.command)
    return _SYSTEMD.format(environment=environment, command=command)


def launchd_plist(service: Service) -> bytes:
    """The property list (launchd.plist(5))."""
    return plistlib.dumps(
        {
            "Label": service.name,
            "ProgramArguments": list(service.command),
            "EnvironmentVariables": dict(service.environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ThrottleInterval": 30,
            "ExitTimeOut": 60,
            "Umask": 0o077,
            "ProcessType": "Background",
            "StandardErrorPath": str(service.log),
        }
    )


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise ConfigError("service-failed", "A path has characters that no unit file can hold.", why=repr(word))
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _write(path: Path, data: bytes) -> None:
    # Not `write_private`: the folder is the service manager's, and its mode is not ours to change.
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(write_temporary(path, data), path)
    except OSError as error:
        raise file_error("store-write-failed", f"cannot write {path}", error) from error


def _domain() -> str:
    return f"gui/{os.getuid()}" if sys.platform != "win32" else "gui"


def _run(env: Mapping[str, str], command: Sequence[str]) -> None:
    said = _said(env, command)
    if said is not None:
        raise ConfigError("service-failed", f"`{' '.join(command)}` failed.", why=said, hint="{prog} auth keep-fresh --uninstall")


def _said(env: Mapping[str, str], command: Sequence[str]) -> str | None:
    """What `command` complained about; None where it ended well."""
    kept = {name: value for name, value in env.items() if name not in SECRET_VARIABLES}
    try:
        done = subprocess.run(
            command, env=kept, stdin=subprocess.DEVNULL, capture_output=True, timeout=_ANSWER_S, check=False, errors="replace"
        )
    except FileNotFoundError:
        return f"there is no {command[0]} here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[:500]
