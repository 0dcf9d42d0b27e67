"""The TCP sockets of this machine and whose they are, as Linux lists them for every user to read (proc_pid_net(5))."""

from __future__ import annotations

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


class TcpSocket(NamedTuple):
    """One socket: both its ends as `written` has them, its state in hexadecimal, and whose it is.

    `inode` is 0 once its process has closed it; `uid` means nothing then.
    """

    local: str
    remote: str
    state: str
    uid: int
    inode: int


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
