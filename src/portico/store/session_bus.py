"""The session bus of D-Bus: its address, and a connection to it that is verified to be the user's own.

See the D-Bus specification, "Server Addresses", and the XDG Base Directory Specification for `XDG_RUNTIME_DIR`.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jeepney.io.blocking import DBusConnection

ADDRESS_ENV: Final = "DBUS_SESSION_BUS_ADDRESS"
# The Secret Service's name on the bus (Secret Service API, "Introduction").
SECRETS: Final = "org.freedesktop.secrets"
_RUNTIME_ENV: Final = "XDG_RUNTIME_DIR"
_AUTH_S: Final = 1.0
_UCRED: Final = struct.Struct("3i")  # unix(7): process, user, group


def open_session_bus(env: Mapping[str, str] = os.environ) -> DBusConnection:
    """Connect to the bus at `DBUS_SESSION_BUS_ADDRESS`, else to the socket `bus` in `XDG_RUNTIME_DIR`.

    `env` has both variables. sd_bus_open_user(3) and libdbus use this socket too, because cron, tmux and SSH often have no
    address in their environment. If there are several addresses, the first that answers is used.

    Raises:
        ConnectionError: no bus can be reached; the message names the address.
    """
    addresses = env.get(ADDRESS_ENV)
    if not addresses:
        try:
            return _connect_in_runtime_folder(env)
        except OSError as error:
            raise ConnectionError(f"{ADDRESS_ENV} is not set, and {error}") from None
    errors = []
    for address in filter(None, addresses.split(";")):
        try:
            return _connect_to_address(address, env)
        except (OSError, ValueError, RuntimeError) as error:  # ValueError: jeepney's for a failed authentication
            errors.append(f"{address}: {error}")
    raise ConnectionError(f"{ADDRESS_ENV} leads to no bus: {'; '.join(errors) or addresses}")


def why_unavailable(env: Mapping[str, str]) -> str | None:
    """Return why this session has no Secret Service; None if the service answers or the bus can start it."""
    try:
        from jeepney.bus_messages import message_bus
        from jeepney.io.blocking import Proxy
        from secretstorage import __version_tuple__
    except ImportError as error:
        return f"{error.name} is not installed"
    if __version_tuple__ < (3, 2):
        return "SecretStorage 3.2 or newer is needed"
    try:
        with open_session_bus(env) as bus:
            proxy = Proxy(message_bus, bus)
            if proxy.NameHasOwner(SECRETS)[0] or SECRETS in proxy.ListActivatableNames()[0]:
                return None
    except (OSError, ValueError, RuntimeError) as error:
        return f"could not reach the session bus: {error}"
    return "no Secret Service runs on the session bus, and the bus cannot start one"


def _connect_to_address(address: str, env: Mapping[str, str]) -> DBusConnection:
    transport, colon, parameters = address.partition(":")
    if not colon:
        raise ValueError("not a D-Bus address")
    if transport == "disabled":
        raise ValueError("the session bus is disabled")
    if transport != "unix":
        raise ValueError(f"Portico connects to `unix:` only, not to `{transport}:`")
    values = dict(_parse_parameter(part) for part in filter(None, parameters.split(",")))
    if values.get("runtime") == b"yes":
        return _connect_in_runtime_folder(env)
    if "path" in values:
        return _connect_to_socket(values["path"])
    if "abstract" in values:
        return _connect_to_socket(b"\0" + values["abstract"])
    raise ValueError("the address has no `path`, `abstract` or `runtime`")


def _parse_parameter(part: str) -> tuple[str, bytes]:
    key, equals, value = part.partition("=")
    if not equals:
        raise ValueError("not a D-Bus address")
    return key, unquote_to_bytes(value)


def _connect_in_runtime_folder(env: Mapping[str, str]) -> DBusConnection:
    """Connect in `XDG_RUNTIME_DIR`. Its user "MUST be the only one having read and write access" (XDG Base Directory)."""
    runtime_folder = env.get(_RUNTIME_ENV)
    if not runtime_folder:
        raise ConnectionError(f"{_RUNTIME_ENV} is not set")
    folder, bus = Path(runtime_folder), Path(runtime_folder) / "bus"
    for problem in _problems(folder, bus):
        raise ConnectionError(problem)
    try:
        return _connect_to_socket(os.fsencode(bus), of_this_user=True)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"{bus}: {error}") from None


def _problems(folder: Path, bus: Path) -> Iterator[str]:
    user_id = os.getuid()
    try:
        folder_status = folder.stat()
        if folder_status.st_uid != user_id or folder_status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            yield f"{_RUNTIME_ENV} is {folder}, which belongs to another user, or is writable for others"
        bus_status = bus.stat()
    except OSError:
        yield f"{bus} does not exist"
    else:
        if not stat.S_ISSOCK(bus_status.st_mode) or bus_status.st_uid != user_id or bus.lstat().st_uid != user_id:
            yield f"{bus} is not a socket of this user"


def _connect_to_socket(path: bytes, *, of_this_user: bool = False) -> DBusConnection:
    """Connect to the socket at `path`.

    With `of_this_user`, check that the listener is this user or root. The check uses the connection, because the socket at
    `path` may have been replaced.
    """
    from jeepney.io.blocking import DBusConnection, prep_socket

    sock = prep_socket(path, timeout=_AUTH_S)
    try:
        if of_this_user:
            _check_listener(sock)
        return DBusConnection(sock)
    except BaseException:
        sock.close()
        raise


def _check_listener(sock: socket.socket) -> None:
    if hasattr(socket, "SO_PEERCRED"):
        _, user, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if user not in {os.getuid(), 0}:
            raise ConnectionError(f"it belongs to user {user}")
