"""Gateways that other commands find running."""

from __future__ import annotations

import socket

from portico.services.gateway_state import running
from tests.remedies.scenario import scenario


@scenario("To use port {}: {prog} gateway restart --port {}")
def a_gateway_that_runs_on_another_port(desk):
    session = desk.signed_in()
    session.ok("gateway", "start", "--port", "0")
    try:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        desk.follow(desk.shown("To use port", "gateway", "start", "--port", str(port)))
        assert running(session.paths).port == port
    finally:
        session.run("gateway", "stop")
