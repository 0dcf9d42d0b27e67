"""What a process and the service manager that started it know of each other (sd_notify(3), launchd.plist(5))."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_PREFIX: Final = "portico-"


def has_manager(env: Mapping[str, str]) -> bool:
    """Whether a service manager started this process, and starts another where it fails: systemd, or launchd under its label."""
    return bool(env.get("NOTIFY_SOCKET")) or env.get("XPC_SERVICE_NAME", "").startswith(_PREFIX)


def tell_service_manager(env: Mapping[str, str], state: str) -> None:
    """Tell systemd, where it waits for that, that this process is `READY=1` or `STOPPING=1`."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.setblocking(False)
        notifier.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
