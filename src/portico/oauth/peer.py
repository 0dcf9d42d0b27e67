"""Which user's process is at the other end of a loopback connection, as Linux shows it (sock_diag(7), proc_pid_net(5)).

Any local user can connect to a port on 127.0.0.1. Linux shows each TCP socket with the user who made it, so the client's
socket, found by its address pair, shows whose process has connected. Other systems do not show that to everybody.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.oauth.tcp_sockets import IPV4, IPV6, TcpSocket, between, listed, mapped, plain, written

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Collection, Iterator

Peer = Literal["this-user", "other-user", "unknown", "gone"]
"""`unknown`: the system does not show whose process it is, or it is root's, which may act for somebody else.

`gone`: it has closed the connection, so its user is not shown any more and nobody reads an answer.
"""

_SELF: Final = Path("/proc/self")
_OVERFLOW: Final = Path("/proc/sys/kernel/overflowuid")
_ROOT: Final = 0
_EVERY_ID: Final = 2**32 - 1
_ESTABLISHED: Final = 1  # TCP_ESTABLISHED of the kernel's tcp_states.h
_NOT_OFFERED: Final = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def peer_of(connection: socket.socket | TransportSocket, *, users: Collection[int] | None = None) -> Peer:
    """Whose process the client of an accepted TCP `connection` is. Reads files of /proc: not for the event loop.

    Root's processes are `unknown`: sshd, WSL's relay and a container's port forwarder run as root and pass on what a user sends.
    So are a client outside this network namespace, which is in no list here, and one whose user has no number in this user
    namespace (user_namespaces(7)).

    Args:
        connection: the server's end.
        users: the user ids that count as this user; those of this process, if not given.
    """
    if sys.platform != "linux":
        return "unknown"
    mine = own_users() if users is None else users
    try:
        found = _found(connection.getpeername(), connection.getsockname())
        # Asked after the list was read: a client that was in no list, and is connected even now, is outside.
        connected = _is_connected(connection)
    except OSError:
        return "gone"
    if not found:
        return "unknown" if connected else "gone"
    if not all(each.inode for each in found):
        return "gone"
    uids = {each.uid for each in found}
    if uids <= {*mine}:
        return "this-user"
    return "unknown" if uids <= {*mine, _ROOT, *_unmapped()} else "other-user"


def _is_connected(connection: socket.socket | TransportSocket) -> bool:
    """Whether the client has closed nothing so far; True as well where the system does not say (WSL 1)."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError as error:
        if error.errno in _NOT_OFFERED:
            return True
        raise


def own_users() -> frozenset[int]:
    """The user ids of this process, and the one that logged in where `su` or `sudo` came after (`loginuid`, proc_pid(5)).

    The browser and the SSH tunnel of somebody who ran `sudo portico` belong to the one who logged in.
    """
    login = _number(_SELF / "loginuid")
    return frozenset({os.getuid(), os.geteuid(), *(() if login is None or login == _EVERY_ID else (login,))})


def _unmapped() -> frozenset[int]:
    """The number shown for every user without a number of its own in this user namespace; empty where each has one."""
    try:
        first, *more = (_SELF / "uid_map").read_text(encoding="ascii").splitlines()
        everybody = not more and first.split() == ["0", "0", str(_EVERY_ID)]
    except (OSError, ValueError):
        return frozenset()
    overflow = _number(_OVERFLOW)
    return frozenset() if everybody or overflow is None else frozenset({overflow})


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _found(local: tuple[str, int], remote: tuple[str, int]) -> list[TcpSocket]:
    """The sockets at `local` that are connected to `remote`; none where the system does not show them."""
    one = between((plain(local[0]), local[1]), (plain(remote[0]), remote[1]))
    if one is not None:
        return [one]
    return [
        each
        for table, here, there in _places(local, remote)
        for each in listed(table, f" {here} {there} ")
        if (each.local, each.remote) == (here, there)
    ]


def _places(local: tuple[str, int], remote: tuple[str, int]) -> Iterator[tuple[str, str, str]]:
    """The tables that the socket may be in, each with both ends as they are written there."""
    here, there = plain(local[0]), plain(remote[0])
    if isinstance(here, IPv4Address) and isinstance(there, IPv4Address):
        yield IPV4, written(here, local[1]), written(there, remote[1])
        here, there = mapped(here), mapped(there)
    yield IPV6, written(here, local[1]), written(there, remote[1])
