"""Sockets that only this machine can reach (RFC 8252 sections 7.3 and 8.3)."""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from typing import TYPE_CHECKING, Final

from portico.errors import REPORT_TO_AUTHOR, ConfigError, NoWayToSignIn
from portico.oauth.urls import is_loopback

if TYPE_CHECKING:
    from portico.interfaces.authorization import Redirect

_BOTH_FAMILIES_TRIES: Final = 16
_NO_SUCH_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind_loopback(redirect: Redirect) -> list[socket.socket]:
    """Sockets that listen for `redirect`, all on one port.

    `localhost` is a name that a browser may resolve to either family, so both are bound, or neither: a stranger on the other one
    would be sent the code. A machine without IPv6 has nobody on `::1`, and IPv4 alone is enough there.

    Raises:
        ConfigError: `redirect-not-loopback`.
        NoWayToSignIn: `callback-port-taken`.
    """
    if not is_loopback(redirect.host):
        raise ConfigError(
            "redirect-not-loopback",
            "The redirect's host must be 127.0.0.1, ::1 or localhost.",
            why="a listener that other machines can reach could be sent somebody else's code",
            hint=REPORT_TO_AUTHOR,
        )
    tries = _BOTH_FAMILIES_TRIES if redirect.host == "localhost" and redirect.port == 0 else 1
    for attempt in range(tries):
        try:
            return _bind_all(redirect)
        except OSError as error:
            if attempt == tries - 1:
                raise _taken(redirect, error) from None
    raise AssertionError("the last attempt returns or raises")


def _bind_all(redirect: Redirect) -> list[socket.socket]:
    if redirect.host != "localhost":
        family = socket.AF_INET6 if ":" in redirect.host else socket.AF_INET
        return [_bound(family, redirect.host, redirect.port)]
    first = _bound(socket.AF_INET, "127.0.0.1", redirect.port)
    try:
        return [first, _bound(socket.AF_INET6, "::1", first.getsockname()[1])]
    except OSError as error:
        if error.errno in _NO_SUCH_FAMILY:
            return [first]
        first.close()
        raise


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(listener.close)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if sys.platform == "win32":
            # Without it a second listener on the port would silently win.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # Lets a fixed port be used again at once; it does not admit a second listener.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
        listener.setblocking(False)
        on_failure.pop_all()
    return listener


def _taken(redirect: Redirect, error: OSError) -> NoWayToSignIn:
    return NoWayToSignIn(
        "callback-port-taken",
        f"Port {redirect.port} on {redirect.host} cannot be used for the sign-in's answer."
        if redirect.port
        else f"No port on {redirect.host} can be used for the sign-in's answer.",
        why=error.strerror,
        hint="Stop the program that uses the port, or pick another one with `--callback-port`, or use `--flow device`.",
    )
