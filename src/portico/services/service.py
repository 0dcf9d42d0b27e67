"""What is to be kept running, and what every service manager can do about it.

No file of a service manager holds a secret: all can be read by every process of the user, and land in backups.
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
    """The commands about one kind of service, without the program's name."""

    install: str
    uninstall: str


MAX_FILE_BYTES: Final = 1 << 20  # bytes of a service manager's file, and of what belongs to it
_YOURS: Final = "make its folder yours (chown), and run the command again"


class ServiceFailed(ConfigError):
    """The service manager's program ended with an error, or there is none."""

    id = "service-failed"


@dataclass(frozen=True, slots=True)
class Service:
    """What is to run: `name` tells installations apart, `command` and `environment` are exact and hold no secret.

    `description` is for people. `commands` has the commands that put it in place and take it away, as hints name them.
    `port` is one on 127.0.0.1 that a manager keeps open while the service restarts, if it can (sd_listen_fds(3)).
    `secrets` is a file of Portico's own for the variables that do hold one, and `secret_environment` what belongs into it.
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
    """One kind of service manager."""

    kind: str

    def path(self, service: Service) -> Path:
        """The file that it reads."""
        ...

    def files(self, service: Service) -> dict[Path, bytes]:
        """That file, and any other that it reads for this service, with what is in each.

        Raises:
            ConfigError: a path cannot be written into one.
        """
        ...

    def keeps_port(self, service: Service) -> bool:
        """Whether the service is installed so that `service.port` stays open while it restarts."""
        ...

    def environment(self, service: Service) -> dict[str, str]:
        """The variables in that file as it is now; none where there is no file, or one that Portico has not written.

        Raises:
            OSError: it is there and cannot be read.
        """
        ...

    def why_unavailable(self) -> str | None:
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

    def start(self, service: Service) -> None:
        """Start what is installed; a port that is kept for it is `service.port` from now on, if the service has one.

        Raises:
            ConfigError: `service-failed`, with what the manager said.
        """
        ...

    def stop(self, service: Service) -> None:
        """Stop it until the next login, or the next `start`.

        Raises:
            ConfigError: as `start`.
        """
        ...

    def log_command(self, service: Service, lines: int, *, follow: bool) -> list[str] | None:
        """What shows the end of its log; None where that is the file `service.log`."""
        ...


def home(env: Mapping[str, str]) -> Path:
    """The user's home folder."""
    return Path(env.get("HOME") or Path.home())


def read_service_file(path: Path) -> bytes | None:
    """A service manager's file; None where there is none.

    Raises:
        StoreError: it is there and cannot be read.
    """
    try:
        return read_file(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(f"cannot read {path}", error, advice=_YOURS) from error


def write_file(path: Path, data: bytes) -> None:
    """Write a service manager's file.

    Raises:
        StoreError: it cannot be written.
    """
    # Not `write_private`: the folder is the service manager's, and its mode is not ours to change.
    try:
        make_folder(path.parent)
        write_in_place(path, data)
    except OSError as error:
        raise file_error(f"cannot write {path}", error, advice=_YOURS) from error


def write_secrets(service: Service) -> None:
    """Write what the service's own process alone reads, with mode 0600; without any, what an earlier one left is deleted.

    It stays if the service's own variables name it all the same.

    Raises:
        StoreError: it cannot be written, or deleted.
        ConfigError: as `secrets_text`.
    """
    if service.secrets is None:
        return
    if service.secret_environment:
        write_private(service.secrets, secrets_text(service))
    elif str(service.secrets) not in service.environment.values():
        remove_private(service.secrets)


def secrets_text(service: Service) -> bytes:
    """The file's content: `NAME=value` lines, each value to the end of its line.

    Raises:
        ConfigError: `service-failed`: a value goes over the end of its line.
    """
    values = {name: value.reveal() for name, value in sorted(service.secret_environment.items())}
    for name, value in values.items():
        if not value.isprintable():
            raise ServiceFailed(f"{name} has characters that no address has.", hint=f"set {name} without them")
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def remove_secrets(service: Service) -> None:
    """Delete that file.

    Raises:
        StoreError: it is there and stays.
    """
    if service.secrets is not None:
        remove_private(service.secrets)


def run_manager(env: Mapping[str, str], command: Sequence[str], *, hint: str | None = None) -> str:
    """Run a manager's program; what it printed.

    Raises:
        ConfigError: `service-failed`, with what it complained of.
    """
    output, error = try_run(env, command)
    if error is not None:
        raise ServiceFailed(f"`{' '.join(command)}` failed.", why=error, hint=hint)
    return output


def try_run(env: Mapping[str, str], command: Sequence[str]) -> tuple[str, str | None]:
    """What `command` printed, and what it complained of; None where it ended well."""
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
        return "", f"there is no {command[0]} here"
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if result.returncode == 0:
        return result.stdout, None
    return result.stdout, (result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}")[:500]
