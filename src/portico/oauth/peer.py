"""Which user's process is at the other end of a loopback connection, as Linux shows it (proc_pid_net(5)).

Any local user can connect to a port on 127.0.0.1. Linux lists each TCP socket with the user who made it, so the client's
socket, found by its address pair, shows whose process has connected. Other systems have no such list for everybody to read.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Collection, Iterator

Peer = Literal["this-user", "other-user", "unknown", "gone"]
"""`unknown`: the system does not show whose process it is, or it is root's, which may act for somebody else.

`gone`: it has closed the connection, so its user is not shown any more and nobody reads an answer.
"""

TABLES: Final = Path("/proc/net")
_SELF: Final = Path("/proc/self")
_OVERFLOW: Final = Path("/proc/sys/kernel/overflowuid")
_ROOT: Final = 0
_EVERY_ID: Final = 2**32 - 1
_ESTABLISHED: Final = 1  # TCP_ESTABLISHED of the kernel's tcp_states.h
_NOT_OFFERED: Final = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_FIELDS: Final = 10
_MAPPED: Final = "::ffff:"


class _Row(NamedTuple):
    """A socket of the kernel's list. `inode` is 0 once its process has closed it; `uid` means nothing then."""

    uid: int
    inode: int


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
        rows = _rows(connection.getpeername(), connection.getsockname())
        # Asked after the list was read: a client that was in no list, and is connected even now, is outside.
        connected = _is_connected(connection)
    except OSError:
        return "gone"
    if not rows:
        return "unknown" if connected else "gone"
    if not all(row.inode for row in rows):
        return "gone"
    uids = {row.uid for row in rows}
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


def _rows(local: tuple[str, int], remote: tuple[str, int]) -> list[_Row]:
    """The sockets at `local` that are connected to `remote`; none where the system does not list them."""
    found: list[_Row] = []
    for name, pair in _places(local, remote):
        try:
            with (TABLES / name).open(encoding="ascii", errors="replace") as lines:
                found += [row for line in lines if pair in line and (row := _read(line, pair)) is not None]
        except (OSError, ValueError):
            continue
    return found


def _places(local: tuple[str, int], remote: tuple[str, int]) -> Iterator[tuple[str, str]]:
    """The lists that the socket may be in, each with the address pair as it is written there.

    An IPv6 socket that is connected to an IPv4 address is in the list of IPv6, with both addresses mapped (RFC 4291
    section 2.5.5.2).
    """
    here, there = _plain(local[0]), _plain(remote[0])
    if isinstance(here, IPv4Address) and isinstance(there, IPv4Address):
        yield "tcp", f" {_hex(here, local[1])} {_hex(there, remote[1])} "
        here, there = IPv6Address(f"{_MAPPED}{here}"), IPv6Address(f"{_MAPPED}{there}")
    yield "tcp6", f" {_hex(here, local[1])} {_hex(there, remote[1])} "


def _plain(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _hex(address: IPv4Address | IPv6Address, port: int) -> str:
    """As the kernel prints it: 32-bit words of the address in the machine's own byte order, and the port."""
    packed = address.packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return f"{''.join(f'{int.from_bytes(word, sys.byteorder):08X}' for word in words)}:{port:04X}"


def _read(line: str, pair: str) -> _Row | None:
    """`sl local remote state queues timer retransmits uid timeout inode ...`"""
    fields = line.split()
    if len(fields) < _FIELDS or f" {fields[1]} {fields[2]} " != pair:
        return None
    return _Row(int(fields[7]), int(fields[9]))
