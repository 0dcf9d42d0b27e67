"""A private, real Secret Service: a private D-Bus with a gnome-keyring-daemon. Both end with the block.

The user's desktop is not affected: the bus has its own socket and starts no services, and the daemon has its own HOME, runtime
folder and login keyring. Tests, benchmarks and the demo use this module.

    with secret_service() as service:
        subprocess.run([...], env={**os.environ, **service.env})
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.util.children import child_environment, find_program, resolve_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jeepney.io.blocking import DBusConnection

PROGRAMS: Final = ("dbus-daemon", "gnome-keyring-daemon")
_START_S: Final = 10.0
_STOP_S: Final = 1.0
# No <servicedir>: if a client finds no service on this bus, the bus must not start a service of the user.
_BUS_CONFIG: Final = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""


class SecretServiceError(RuntimeError):
    """The private Secret Service cannot be started. The message names the missing or failed part."""


@dataclass(frozen=True, slots=True)
class StoredItem:
    """The data of a record that the Secret Service shows without the secret."""

    label: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SecretService:
    """A running private Secret Service. `env` has the variables with which a client finds it."""

    address: str
    folder: Path
    daemon: subprocess.Popen[bytes]

    @property
    def env(self) -> dict[str, str]:
        return {"DBUS_SESSION_BUS_ADDRESS": self.address}

    def items(self) -> list[StoredItem]:
        """All records in the default collection, without their secrets."""
        import secretstorage

        with closing(_connect(self.address)) as bus:
            collection = secretstorage.get_default_collection(bus)
            return [StoredItem(item.get_label(), item.get_attributes()) for item in collection.get_all_items()]

    def clear(self) -> bool:
        """Delete every record. Return whether this worked and the collection is as usable as a new collection."""
        import secretstorage

        if not _is_unlocked(self.address):
            return False
        try:
            with closing(_connect(self.address)) as bus:
                for item in secretstorage.get_default_collection(bus).get_all_items():
                    item.delete()
        except (
            secretstorage.SecretStorageException,
            OSError,
        ):  # gnome-keyring 42 sometimes aborts
            return False
        return True

    def lock(self) -> None:
        """Lock the default collection, as a desktop does when its user locks the screen."""
        import secretstorage

        with closing(_connect(self.address)) as bus:
            secretstorage.get_default_collection(bus).lock()


def missing_part() -> str | None:
    """Return why no private Secret Service can run on this machine, or None."""
    if sys.platform != "linux":
        return f"a Secret Service is a Linux thing; this is {sys.platform}"
    missing = [program for program in PROGRAMS if find_program(program, os.environ) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    try:
        import secretstorage  # noqa: F401 - keyring brings it on Linux; without it nothing could speak to the service
    except ImportError:
        return "the Python package secretstorage is not installed"
    return None


@contextmanager
def secret_service(password: str = "portico") -> Iterator[SecretService]:  # noqa: S107 - it guards an empty throwaway keyring
    """Start a private bus and keyring daemon with an unlocked, empty login collection.

    Raises:
        SecretServiceError: a part is missing, or did not start within ten seconds.
    """
    reason = missing_part()
    if reason is not None:
        raise SecretServiceError(reason)
    with ExitStack() as stack:
        # A socket's path has at most 107 bytes, so this folder is directly in the system's temporary folder.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portico-bus-", ignore_cleanup_errors=True)))
        address = f"unix:path={folder / 'bus'}"
        env = _private_environment(folder, address)
        bus = _start(["dbus-daemon", "--nofork", f"--config-file={_bus_config(folder)}"], env, stack)
        _wait_for((folder / "bus").exists, bus)
        command = ["gnome-keyring-daemon", "--unlock", "--foreground", "--components=secrets", f"--control-directory={folder}"]
        daemon = _start(command, env, stack, stdin=password.encode())
        _wait_for(lambda: _is_unlocked(address), daemon)
        yield SecretService(address, folder, daemon)


def _private_environment(folder: Path, address: str) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    private = {"HOME": folder, "XDG_RUNTIME_DIR": folder, "XDG_DATA_HOME": folder / "data", "XDG_CONFIG_HOME": folder / "config"}
    return {**inherited, **{name: str(path) for name, path in private.items()}, "DBUS_SESSION_BUS_ADDRESS": address}


def _bus_config(folder: Path) -> Path:
    config = folder / "bus.conf"
    config.write_text(_BUS_CONFIG.format(socket=folder / "bus"), encoding="utf-8")
    return config


def _start(command: list[str], env: dict[str, str], stack: ExitStack, *, stdin: bytes = b"") -> subprocess.Popen[bytes]:
    log = stack.enter_context((Path(env["HOME"]) / f"{command[0]}.log").open("wb"))
    # In a separate session, so that Ctrl-C in the terminal does not end the daemon: the program that uses the service still
    # needs it to clean up.
    process = subprocess.Popen(
        resolve_command(command, env),
        env=child_environment(env),
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    stack.callback(_stop, process)
    if process.stdin is not None:
        with process.stdin:
            process.stdin.write(stdin)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            state = "did not start in time" if process.returncode is None else f"ended with status {process.returncode}"
            raise SecretServiceError(f"{process.args!r} {state}")
        time.sleep(0.01)


def _connect(address: str) -> DBusConnection:
    from jeepney.io.blocking import open_dbus_connection
    from secretstorage.util import add_match_rules

    connection = open_dbus_connection(address)
    add_match_rules(connection)
    return connection


def _is_unlocked(address: str) -> bool:
    import secretstorage

    try:
        with closing(_connect(address)) as bus:
            return not secretstorage.get_default_collection(bus).is_locked()
    except (OSError, secretstorage.SecretStorageException):
        return False
