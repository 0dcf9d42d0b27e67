"""Notifications to a waiting service manager, over a real socket."""

from __future__ import annotations

import os
import socket

import pytest

from portico.services.managers import notify_service_manager


@pytest.mark.parametrize("abstract", [False, pytest.param(True, marks=pytest.mark.linux)])
def test_systemd_is_notified_if_it_waits_and_nothing_happens_otherwise(tmp_path, abstract):
    address = f"@portico-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waiting:
        waiting.bind(address.replace("@", "\0", 1))
        waiting.settimeout(5)
        notify_service_manager({"NOTIFY_SOCKET": address}, "READY=1")
        assert waiting.recv(100) == b"READY=1"
    notify_service_manager({"NOTIFY_SOCKET": address}, "READY=1")
    notify_service_manager({}, "READY=1")
