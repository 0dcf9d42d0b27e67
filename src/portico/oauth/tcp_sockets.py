"""The TCP sockets of this machine and whose they are, as Linux shows them to every user.

One socket is asked for by both its ends (sock_diag(7)), which takes a fifth of a millisecond however many there are; the list of
all (proc_pid_net(5)) is for what has one end only, and for a system that answers no such question.
"""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

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
