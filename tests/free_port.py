"""A port that a test can name before it is used."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One on 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
