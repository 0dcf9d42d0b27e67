"""Find the user at the other end of a loopback connection, on Linux (sock_diag(7), proc_pid_net(5)).

Any local user can connect to a port on 127.0.0.1. Linux shows the user of each TCP socket. The two addresses of a connection
identify the client's socket, and so its user. Other systems do not show every user the owner of a socket.

The kernel looks up one socket by both addresses (sock_diag(7)) in a fifth of a millisecond, even if there are many sockets. The
list of all sockets (proc_pid_net(5)) is read only if the kernel does not support the lookup, or to find a listener.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket
    from collections.abc import Collection, Iterator

TABLES: Final = Path("/proc/net")
IPV4, IPV6 = "tcp", "tcp6"
LISTENS: Final = "0A"  # TCP_LISTEN of the kernel's tcp_states.h
_FIELDS: Final = 10

Address = IPv4Address | IPv6Address

# From linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h: constants, structures and offsets of fields.
_NETLINK, _SOCK_DIAG, _BY_FAMILY, _REQUEST = 16, 4, 20, 1
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_LOOKUP: Final = struct.Struct("=BBBxI")  # the start of inet_diag_req_v2: family, protocol, extensions, states
_ENDS: Final = struct.Struct("!HH16s16s")  # of inet_diag_sockid: both ports, both addresses; interface and cookie follow
_ANY_INTERFACE_AND_COOKIE: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_STATE_AT: Final = _HEADER.size + 1
_PORTS: Final = slice(_HEADER.size + 4, _HEADER.size + 8)
_USER_AND_INODE: Final = struct.Struct("=II")
_USER_AT: Final = _HEADER.size + 64
_ANSWER_S: Final = 1.0


class TcpSocket(NamedTuple):
    """One TCP socket: its addresses in the format of `written`, its state in hexadecimal, its user and its inode.

    After the process has closed the socket, `inode` is 0 and `uid` has no meaning.
    """

    local: str
    remote: str
    state: str
    uid: int
    inode: int


def between(local: tuple[Address, int], remote: tuple[Address, int]) -> TcpSocket | None:
    """The socket at `local` that is connected to `remote`.

    None if no such socket exists or the kernel does not support the lookup.
    """
    ends = _ENDS.pack(local[1], remote[1], local[0].packed, remote[0].packed) + _ANY_INTERFACE_AND_COOKIE
    family = socket.AF_INET if local[0].version == 4 else socket.AF_INET6  # noqa: PLR2004 - of IP
    lookup = _LOOKUP.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends
    try:
        with socket.socket(_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(_ANSWER_S)
            kernel.send(_HEADER.pack(_HEADER.size + len(lookup), _BY_FAMILY, _REQUEST, 1, 0) + lookup)
            response = kernel.recv(8192)
    except OSError:
        return None
    if len(response) < _USER_AT + _USER_AND_INODE.size or _HEADER.unpack_from(response)[1] != _BY_FAMILY:
        return None
    # Without such a connection the kernel returns a listener at `local`, which may belong to any user.
    if response[_PORTS] != ends[: _PORTS.stop - _PORTS.start]:
        return None
    uid, inode = _USER_AND_INODE.unpack_from(response, _USER_AT)
    return TcpSocket(written(*local), written(*remote), f"{response[_STATE_AT]:02X}", uid, inode)


def listed(table: str, part: str) -> Iterator[TcpSocket]:
    """The sockets of a table (`IPV4` or `IPV6`) whose line contains `part`; empty if the system has no such list."""
    try:
        with (TABLES / table).open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                # Only lines with `part` are parsed: a machine may have tens of thousands of sockets.
                if part in line and len(fields := line.split()) >= _FIELDS and fields[7].isdecimal():
                    yield TcpSocket(fields[1], fields[2], fields[3], int(fields[7]), int(fields[9]))
    except OSError:
        return


def written(address: Address, port: int) -> str:
    """An address in the format of the list: its 32-bit words in the machine's byte order, and the port."""
    packed = address.packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return f"{''.join(f'{int.from_bytes(word, sys.byteorder):08X}' for word in words)}:{port:04X}"


def plain(host: str) -> Address:
    """The IP address of a socket. An IPv4-mapped IPv6 address is returned as IPv4."""
    address = ip_address(host.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def mapped(address: IPv4Address) -> IPv6Address:
    """The IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2)."""
    return IPv6Address(f"::ffff:{address}")


Peer = Literal["this-user", "other-user", "unknown", "gone"]
"""`unknown`: the system does not show the user, or the user is root: a process of root may act for another user.

`gone`: the client has closed the connection. The system then no longer shows the user.
"""

_SELF: Final = Path("/proc/self")
_OVERFLOW: Final = Path("/proc/sys/kernel/overflowuid")
_ROOT: Final = 0
_EVERY_ID: Final = 2**32 - 1
_ESTABLISHED: Final = 1  # TCP_ESTABLISHED of the kernel's tcp_states.h
_NOT_OFFERED: Final = frozenset({errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})


def peer_of(connection: socket.socket | TransportSocket, *, users: Collection[int] | None = None) -> Peer:
    """Which user the client of an accepted TCP `connection` belongs to. Blocking: it reads files in /proc.

    Processes of root are `unknown`: sshd, WSL's relay and port forwarders of containers run as root and forward a user's data.
    Clients in another network namespace are `unknown` too, because their sockets are not visible; so are clients whose user has
    no id in this user namespace (user_namespaces(7)).

    Args:
        connection: the server's end.
        users: the user ids of this user; by default those of this process.
    """
    if sys.platform != "linux":
        return "unknown"
    mine = own_users() if users is None else users
    try:
        sockets = _sockets(connection.getpeername(), connection.getsockname())
        # Checked after the lookup: a client without a visible socket that is still connected is in another network namespace.
        connected = _is_connected(connection)
    except OSError:
        return "gone"
    if not sockets:
        return "unknown" if connected else "gone"
    if not all(each.inode for each in sockets):
        return "gone"
    uids = {each.uid for each in sockets}
    if uids <= {*mine}:
        return "this-user"
    return "unknown" if uids <= {*mine, _ROOT, *_unmapped()} else "other-user"


def _is_connected(connection: socket.socket | TransportSocket) -> bool:
    """Whether the client is still connected; True if the system does not show this (WSL 1)."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
    except OSError as error:
        if error.errno in _NOT_OFFERED:
            return True
        raise


def own_users() -> frozenset[int]:
    """The user ids of this process, and of the user who logged in before `su` or `sudo` (`loginuid`, proc_pid(5)).

    After `sudo portico` the browser and the SSH tunnel belong to the user who logged in.
    """
    login = _number(_SELF / "loginuid")
    return frozenset({os.getuid(), os.geteuid(), *(() if login is None or login == _EVERY_ID else (login,))})


def _unmapped() -> frozenset[int]:
    """The id that stands for all users without an id in this user namespace; empty if every user has an id."""
    try:
        first, *more = (_SELF / "uid_map").read_text(encoding="ascii").splitlines()
        maps_all = not more and first.split() == ["0", "0", str(_EVERY_ID)]
    except (OSError, ValueError):
        return frozenset()
    overflow = _number(_OVERFLOW)
    return frozenset() if maps_all or overflow is None else frozenset({overflow})


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _sockets(local: tuple[str, int], remote: tuple[str, int]) -> list[TcpSocket]:
    """The sockets at `local` that are connected to `remote`; empty if the system does not show them."""
    one = between((plain(local[0]), local[1]), (plain(remote[0]), remote[1]))
    if one is not None:
        return [one]
    return [
        each
        for table, source, target in _table_entries(local, remote)
        for each in listed(table, f" {source} {target} ")
        if (each.local, each.remote) == (source, target)
    ]


def _table_entries(local: tuple[str, int], remote: tuple[str, int]) -> Iterator[tuple[str, str, str]]:
    """The tables that may list the socket, each with both addresses in the format of the list."""
    source, target = plain(local[0]), plain(remote[0])
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        yield IPV4, written(source, local[1]), written(target, remote[1])
        source, target = mapped(source), mapped(target)
    yield IPV6, written(source, local[1]), written(target, remote[1])
