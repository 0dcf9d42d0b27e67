from __future__ import annotations

import contextlib
import os
import signal

import pytest

from portico.errors import PorticoError
from portico.gateway import control
from portico.services.gateway_state import gateway_lock
from tests.auth.conftest import account, clock

__all__ = ("account", "clock", "gateway_paths")


@pytest.fixture
def gateway_paths(paths):
    """Paths whose gateway, if a test leaves one, is ended."""
    yield paths
    with contextlib.suppress(PorticoError):
        control.stop(paths)
    pid = gateway_lock(paths).owner_pid()
    if pid is not None and pid != os.getpid():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
