"""Which user's process is at the other end of a loopback connection, as Linux shows it (sock_diag(7), proc_pid_net(5)).

Any local user can connect to a port on 127.0.0.1. Linux shows each TCP socket with the user who made it, so the client's
socket, found by its address pair, shows whose process has connected. Other systems do not show that to everybody.

The kernel is asked for one socket by both its addresses (sock_diag(7)), which takes a fifth of a millisecond however many
sockets there are. The list of all sockets (proc_pid_net(5)) is read for a socket with one address only, and where the kernel
does not answer.
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

# Of linux/netlink.h, linux/sock_diag.h and linux/inet_diag.h: numbers, and the lengths of what stands before a field.
_NETLINK, _SOCK_DIAG, _BY_FAMILY, _REQUEST = 16, 4, 20, 1
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_QUESTION: Final = struct.Struct("=BBBxI")  # the start of inet_diag_req_v2: family, protocol, extensions, states
_ENDS: Final = struct.Struct("!HH16s16s")  # of inet_diag_sockid: both ports, both addresses; interface and cookie follow
_ANY_INTERFACE_AND_COOKIE: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)
_STATE_AT: Final = _HEADER.size + 1
_PORTS: Final = slice(_HEADER.size + 4, _HEADER.size + 8)
_USER_AND_INODE: Final = struct.Struct("=II")
_USER_AT: Final = _HEADER.size + 64
_ANSWER_S: Final = 1.0


class TcpSocket(NamedTuple):
    """One socket: both its ends as `written` has them, its state in hexadecimal, and whose it is.

    `inode` is 0 once its process has closed it; `uid` means nothing then.
    """

    local: str
    remote: str
    state: str
    uid: int
    inode: int


def between(local: tuple[Address, int], remote: tuple[Address, int]) -> TcpSocket | None:
    """The socket at `local` that is connected to `remote`; None if there is none, or if the system does not answer that."""
    ends = _ENDS.pack(local[1], remote[1], local[0].packed, remote[0].packed) + _ANY_INTERFACE_AND_COOKIE
    family = socket.AF_INET if local[0].version == 4 else socket.AF_INET6  # noqa: PLR2004 - of IP
    question = _QUESTION.pack(family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF) + ends
    try:
        with socket.socket(_NETLINK, socket.SOCK_RAW, _SOCK_DIAG) as kernel:
            kernel.settimeout(_ANSWER_S)
            kernel.send(_HEADER.pack(_HEADER.size + len(question), _BY_FAMILY, _REQUEST, 1, 0) + question)
            answer = kernel.recv(8192)
    except OSError:
        return None
    if len(answer) < _USER_AT + _USER_AND_INODE.size or _HEADER.unpack_from(answer)[1] != _BY_FAMILY:
        return None
    # Where there is no such connection the kernel answers with a listener at `local`, which may be anybody's.
    if answer[_PORTS] != ends[: _PORTS.stop - _PORTS.start]:
        return None
    uid, inode = _USER_AND_INODE.unpack_from(answer, _USER_AT)
    return TcpSocket(written(*local), written(*remote), f"{answer[_STATE_AT]:02X}", uid, inode)


def listed(table: str, part: str) -> Iterator[TcpSocket]:
    """The sockets of a table, `IPV4` or `IPV6`, whose line has `part` in it; none where the system keeps no such list."""
    try:
        with (TABLES / table).open(encoding="ascii", errors="replace") as lines:
            for line in lines:
                # A machine may have tens of thousands of sockets; few lines are worth taking apart.
                if part in line and len(fields := line.split()) >= _FIELDS and fields[7].isdecimal():
                    yield TcpSocket(fields[1], fields[2], fields[3], int(fields[7]), int(fields[9]))
    except OSError:
        return


def written(address: Address, port: int) -> str:
    """An end of a socket as the list has it: 32-bit words of the address in the machine's own byte order, and the port."""
    packed = address.packed
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return f"{''.join(f'{int.from_bytes(word, sys.byteorder):08X}' for word in words)}:{port:04X}"


def plain(host: str) -> Address:
    """The address of a socket; an IPv4 one also where IPv6 has it mapped."""
    address = ip_address(host.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def mapped(address: IPv4Address) -> IPv6Address:
    """An IPv4 address as an IPv6 socket has it (RFC 4291 section 2.5.5.2)."""
    return IPv6Address(f"::ffff:{address}")


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
