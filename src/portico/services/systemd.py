"""systemd's manager of the user's own services, and the unit file that it reads (systemd.service(5), systemd.exec(5))."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError
from portico.services.service import ask, home, read_service_file, remove_secrets, run, write_file, write_secrets
from portico.store.atomic import remove_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.services.service import Service

_VARIABLES: Final = "Environment="
_SYSTEMCTL: Final = ("systemctl", "--user")
_WANTED: Final = "default.target.wants"
_UNIT: Final = """\
# Written by `portico {install}`; `portico {uninstall}` takes it away.
[Unit]
Description={description}

[Service]
Type=notify
NotifyAccess=main
{environment}ExecStart={command}
Restart=on-failure
RestartSec=30
UMask=0077
# What needs no namespace: a user's manager can make one only where the system lets it, and the unit would fail elsewhere.
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
# It ends itself within 4.5 s of SIGTERM, by force if it must. It stays longer only for the answer to a refresh that it has sent,
# which may hold the only copy of the next token.
TimeoutStopSec=50

[Install]
WantedBy=default.target
"""


class Systemd:
    """systemd's manager of the user's own services."""

    kind = "systemd user unit"

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env

    def path(self, service: Service) -> Path:
        base = Path(self._env.get("XDG_CONFIG_HOME") or home(self._env) / ".config")
        return base / "systemd" / "user" / f"{service.name}.service"

    def content(self, service: Service) -> bytes:
        return systemd_unit(service).encode()

    def environment(self, service: Service) -> dict[str, str]:
        lines = (read_service_file(self.path(service)) or b"").decode(errors="replace").splitlines()
        words = [word for line in lines if line.startswith(_VARIABLES) for word in _words(line.removeprefix(_VARIABLES))]
        return {name: value for name, _, value in (word.partition("=") for word in words)}

    def why_not(self) -> str | None:
        return ask(self._env, [*_SYSTEMCTL, "show", "--property=Version"])[1]

    def install(self, service: Service) -> Path:
        path, content = self.path(service), self.content(service)  # a path that no unit can hold fails before anything is written
        write_secrets(service)
        write_file(path, content)
        self._run(service, "daemon-reload")
        self._run(service, "enable", path.name)
        self._run(service, "restart", path.name)  # one that ran already takes up what has changed
        return path

    def uninstall(self, service: Service) -> bool:
        path = self.path(service)
        if not path.exists():
            return False
        complaint = ask(self._env, [*_SYSTEMCTL, "disable", "--now", path.name])[1]
        if complaint is not None and self.why_not() is None:
            command = " ".join([*_SYSTEMCTL, "disable", "--now", path.name])
            hint = f"delete it yourself: rm {shlex.quote(str(path))}"
            raise ConfigError("service-failed", f"`{command}` failed.", why=complaint, hint=hint)
        # Where no manager answers, what `enable` has made is taken away by hand, so that nothing starts it at the next login.
        remove_private(path.with_name(_WANTED) / path.name)
        remove_private(path)
        remove_secrets(service)
        ask(self._env, [*_SYSTEMCTL, "daemon-reload"])  # a manager that does not answer has nothing to forget
        return True

    def start(self, service: Service) -> None:
        self._run(service, "start", self.path(service).name)

    def stop(self, service: Service) -> None:
        self._run(service, "stop", self.path(service).name)

    def log_command(self, service: Service, lines: int, *, follow: bool) -> list[str] | None:
        unit = self.path(service).name
        return [
            "journalctl",
            "--user",
            "--unit",
            unit,
            "--lines",
            str(lines),
            "--output",
            "cat",
            *(["--follow"] if follow else []),
        ]

    def _run(self, service: Service, *words: str) -> None:
        run(self._env, [*_SYSTEMCTL, *words], hint=f"to do without the service: {{prog}} {service.verb.uninstall}")


def systemd_unit(service: Service) -> str:
    """The unit file.

    Raises:
        ConfigError: a path cannot be written into one.
    """
    environment = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in sorted(service.environment.items()))
    return _UNIT.format(
        install=service.verb.install,
        uninstall=service.verb.uninstall,
        description=service.description,
        environment=environment,
        command=" ".join(_quoted(word).replace("$", "$$") for word in service.command),
    )


def _words(text: str) -> list[str]:
    """The words of a line that `_quoted` has made; none of one that breaks off within quotes."""
    try:
        return [word.replace("%%", "%") for word in shlex.split(text)]
    except ValueError:
        return []


def _quoted(word: str) -> str:
    if not word.isprintable():
        raise ConfigError("service-failed", "A path has characters that no unit file can hold.", why=repr(word))
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
