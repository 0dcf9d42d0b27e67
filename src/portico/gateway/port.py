"""The port of the gateway, and which process uses the port instead of the gateway.

Tools send their gateway key and their prompts to this port even if no gateway runs. After `gateway stop` any user of the
machine can bind the port (as in CVE-2026-22174). So messages name the port's owner, and no command sends a key to another
program.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError, NoWayToSignIn, UsageError
from portico.interfaces.authorization import Redirect
from portico.net.peer import IPV4, IPV6, LISTENS, Address, listed, mapped, written
from portico.net.server import bind_loopback
from portico.util.files import read_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.app import App
    from portico.config.schema import Config

PORT_ENV: Final = "PORTICO_GATEWAY_PORT"
LAST_PORT: Final = 65535
_COMMAND_LIMIT: Final = 64 * 1024  # bytes; another user's command line can be of any length
_FIRST_INHERITED_FD: Final = 3  # sd_listen_fds(3)
_LOOPBACK: Final = IPv4Address("127.0.0.1")
# A connection to 127.0.0.1 reaches a listener on this address or on the wildcard address, each in IPv4 and IPv6.
_REACHED: Final[tuple[tuple[str, Address], ...]] = (
    (IPV4, _LOOPBACK),
    (IPV6, mapped(_LOOPBACK)),
    (IPV4, IPv4Address(0)),
    (IPV6, mapped(IPv4Address(0))),
    (IPV6, IPv6Address(0)),
)


class PortUnreadable(ConfigError):
    """The environment variable for the gateway's port is not a valid port."""

    id = "config-invalid"


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a listening port. `pid` and `program` are None if the system does not show them to this user."""

    uid: int
    name: str | None
    pid: int | None
    program: str | None
    is_portico: bool = False

    @property
    def is_other_user(self) -> bool:
        """Whether the owner is another user than this process's."""
        return self.uid != os.geteuid() if sys.platform != "win32" else False

    def __str__(self) -> str:
        user = f"uid {self.uid}" if self.name is None else f"user {self.name} (uid {self.uid})"
        program = "program unknown" if self.pid is None else f"program {self.program or 'unknown'} (pid {self.pid})"
        return f"{user}, {program}"


class PortTaken(ConfigError):
    """Another program uses the port. `owner` is None if the system does not show it."""

    id = "port-taken"

    def __init__(self, port: int, owner: Owner | None, why: str | None) -> None:
        other = "choose another: {prog} gateway start --port PORT, or {prog} config set gateway.port PORT"
        rotate = "tools may have sent their keys there; replace each of them: {prog} gateway key rotate NAME"
        who = f"it belongs to {owner}" if owner is not None else f"{why}; its owner is unknown"
        hint = other if owner is not None and owner.is_portico and not owner.is_other_user else f"{other}\n  {rotate}"
        super().__init__(f"port {port} on 127.0.0.1 cannot be used", why=who, hint=hint)
        self.owner = owner


def configured_port(app: App) -> int:
    """The port in the environment, else in the config. An invalid config is an error even if the environment has a port.

    Raises:
        ConfigError: `config-invalid`.
    """
    return port_of(app.settings.config, app.env)


def port_of(config: Config, env: Mapping[str, str]) -> int:
    """As `configured_port`, from a config and an environment."""
    configured = config.gateway.port
    text = env.get(PORT_ENV)
    if text is None:
        return configured
    if not (text.isascii() and text.isdigit() and int(text) <= LAST_PORT):
        raise PortUnreadable(f"{PORT_ENV} is not a port.", why=repr(text), hint=f"set it to 0 to {LAST_PORT}")
    return int(text)


def bind_port(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1.

    Raises:
        PortTaken: `port-taken`.
    """
    try:
        return bind_loopback(Redirect(port=port))[0]
    except NoWayToSignIn as error:
        raise PortTaken(port, owner_of(port), error.why) from None


def inherited_socket(env: Mapping[str, str]) -> socket.socket | None:
    """The listening socket that a service manager passed to this process (sd_listen_fds(3)); None if it passed no socket.

    Raises:
        UsageError: the manager passed something other than one socket that listens on 127.0.0.1.
    """
    if env.get("LISTEN_PID") != str(os.getpid()):  # no socket, or a socket for another process that has the same environment
        return None
    received = f"{env.get('LISTEN_FDS')} files"
    if env.get("LISTEN_FDS") == "1":
        try:
            listener = socket.socket(fileno=_FIRST_INHERITED_FD)
        except OSError as error:
            received = str(error)
        else:
            if _listens_on_loopback(listener):
                listener.set_inheritable(False)
                listener.setblocking(False)
                return listener
            received = f"a socket of {listener.getsockname()}"
            listener.close()
    message = "The service manager must pass one socket that listens on 127.0.0.1 to the gateway."
    raise UsageError(message, why=f"it passed {received}")


def _listens_on_loopback(candidate: socket.socket) -> bool:
    if candidate.family != socket.AF_INET or candidate.type != socket.SOCK_STREAM:
        return False
    return candidate.getsockname()[0] == str(_LOOPBACK) and bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def owner_of(port: int) -> Owner | None:
    """The owner of the socket that receives connections to `port` on 127.0.0.1; None if the system shows no such socket.

    Only Linux shows the owner of a socket to every user (proc_net(5)). It shows the process only to the owner and to root.
    """
    listener = _listener(port)
    if listener is None:
        return None
    uid, inode = listener
    pid = _process_of(inode)
    return Owner(uid, _name_of(uid), pid, *(_program(pid) if pid is not None else (None, False)))


def _listener(port: int) -> tuple[int, int] | None:
    """The user id and inode of the listening socket. The most specific address wins, as in the system."""
    for table, address in _REACHED:
        local = written(address, port)
        for entry in listed(table, f" {local} "):
            if entry.local == local and entry.state == LISTENS:
                return entry.uid, entry.inode
    return None


def _process_of(inode: int) -> int | None:
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(descriptor) == wanted for descriptor in (process / "fd").iterdir()):  # noqa: PTH115 - no path
                return int(process.name)
    return None


def _program(pid: int) -> tuple[str | None, bool]:
    """The program's name without terminal control characters, and whether it is a Portico gateway."""
    with contextlib.suppress(OSError):
        process = Path("/proc", str(pid))
        name = read_start(process / "comm", _COMMAND_LIMIT).decode(errors="replace").strip()
        words = read_start(process / "cmdline", _COMMAND_LIMIT).split(b"\0")
        is_portico = any(word.endswith(b"portico") for word in words) and b"gateway" in words
        return "".join(each if each.isprintable() else "?" for each in name), is_portico
    return None, False


def _name_of(uid: int) -> str | None:
    with contextlib.suppress(ImportError, KeyError, OverflowError):
        import pwd

        return pwd.getpwuid(uid).pw_name
    return None
