"""Services that a service manager keeps running, and the interface of service managers.

A service manager's files contain no secrets, because every process of the user can read them and they get into backups.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from portico.errors import ConfigError
from portico.paths import make_folder
from portico.util.children import child_environment, resolve_command
from portico.util.files import file_error, read_file, remove_private, write_in_place, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from portico.secret import Secret

_ANSWER_S: Final = 30.0


class ServiceCommands(NamedTuple):
    """The commands for one kind of service, without the program's name."""

    install: str
    uninstall: str


MAX_FILE_BYTES: Final = 1 << 20  # bytes of a service manager's file, or of a file that belongs to it
_YOURS: Final = "make its folder yours (chown), and run the command again"


class ServiceFailed(ConfigError):
    """The service manager's program failed or is missing."""

    id = "service-failed"


@dataclass(frozen=True, slots=True)
class Service:
    """A program to run.

    `name` is unique for each installation. `command` and `environment` are used unchanged, and contain no secrets.

    `description` is for the user. `commands` are the commands for installing and removing it, for hints. `port` is a port on
    127.0.0.1. If possible, the manager keeps it open while the service restarts (sd_listen_fds(3)). `secrets` is Portico's
    private file for variables with secrets; `secret_environment` is the content of this file.
    """

    name: str
    description: str
    commands: ServiceCommands
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    secrets: Path | None = None
    secret_environment: Mapping[str, Secret] = field(default_factory=dict)
    port: int | None = None


class Manager(Protocol):
    """One kind of service manager.

    Methods raise a ConfigError (`service-failed`) if the manager fails or a unit file cannot contain a path, and a StoreError
    if a file cannot be read, written or deleted.
    """

    kind: str

    def path(self, service: Service) -> Path:
        """Return the path of the service's main file."""
        ...

    def files(self, service: Service) -> dict[Path, bytes]:
        """Return the content of all files of the service."""
        ...

    def keeps_port(self, service: Service) -> bool:
        """Whether the installed service keeps `service.port` open while it restarts."""
        ...

    def environment(self, service: Service) -> dict[str, str]:
        """Return the variables in the installed file. Empty without a file, or if Portico did not write the file."""
        ...

    def why_unavailable(self) -> str | None:
        """Return why the manager is unavailable; None if it is available."""
        ...

    def install(self, service: Service) -> Path:
        """Write the files, and start the service now and at each login. Return the path of the main file."""
        ...

    def uninstall(self, service: Service) -> bool:
        """Stop the service and delete its files. Return False if the service was not installed."""
        ...

    def start(self, service: Service) -> None:
        """Start the installed service, after changing its port to `service.port` if needed."""
        ...

    def stop(self, service: Service) -> None:
        """Stop the service until the next login or `start`."""
        ...

    def log_command(self, service: Service, lines: int, *, follow: bool) -> list[str] | None:
        """Return the command that shows the end of the log; None if the log is the file `service.log`."""
        ...


def home(env: Mapping[str, str]) -> Path:
    """Return the user's home folder."""
    return Path(env.get("HOME") or Path.home())


def read_service_file(path: Path) -> bytes | None:
    """Read a service manager's file; None if it does not exist. Raises a StoreError if it cannot be read."""
    try:
        return read_file(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(f"Could not read {path}.", error, advice=_YOURS) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a service manager's file. Raises a StoreError if it cannot be written."""
    # Not `write_private`, because it would change the mode of the service manager's folder.
    try:
        make_folder(path.parent)
        write_in_place(path, data)
    except OSError as error:
        raise file_error(f"Could not write {path}.", error, advice=_YOURS) from error


def write_secrets(service: Service) -> None:
    """Write the service's secret variables to a file with mode 0600. If there are none, delete an earlier service's file.

    The file is not deleted if a variable of the service contains its path.

    Raises:
        StoreError: the file cannot be written or deleted.
        ConfigError: as `secrets_text`.
    """
    if service.secrets is None:
        return
    if service.secret_environment:
        write_private(service.secrets, secrets_text(service))
    elif str(service.secrets) not in service.environment.values():
        remove_private(service.secrets)


def secrets_text(service: Service) -> bytes:
    """Return the content of the file: `NAME=value` lines.

    Raises:
        ConfigError: `service-failed`: a value contains a line break or another control character.
    """
    values = {name: value.reveal() for name, value in sorted(service.secret_environment.items())}
    for name, value in values.items():
        if not value.isprintable():
            raise ServiceFailed(f"{name} contains characters that are invalid in an address.", hint=f"set {name} without them")
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def remove_secrets(service: Service) -> None:
    """Delete the file with the service's secret variables. Raises a StoreError if the file cannot be deleted."""
    if service.secrets is not None:
        remove_private(service.secrets)


def run_manager(env: Mapping[str, str], command: Sequence[str], *, hint: str | None = None) -> str:
    """Run a manager's program and return its output. Raises ServiceFailed with the error output."""
    output, error = try_run(env, command)
    if error is not None:
        raise ServiceFailed(f"`{' '.join(command)}` failed.", why=error, hint=hint)
    return output


def try_run(env: Mapping[str, str], command: Sequence[str]) -> tuple[str, str | None]:
    """Run `command`. Return its output, and its error output (None after a success)."""
    try:
        result = subprocess.run(
            resolve_command(command, env),
            env=child_environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ANSWER_S,
            check=False,
            errors="replace",
        )
    except FileNotFoundError:
        return "", f"{command[0]} is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if result.returncode == 0:
        return result.stdout, None
    return result.stdout, (result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}")[:500]
