"""One gateway process takes another's place: what was begun ends whole, and what `gateway stop` ends includes the one before it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from dataclasses import replace
from types import SimpleNamespace

import pytest

from portico.gateway import control
from portico.services.gateway_state import gateway_lock, write_state
from tests.gateway.fronts import configure, with_key
from tests.gateway.helpers import get, status_of, wait_until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and passed-on sockets as POSIX has them")
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(text):
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%s"}}]}\n\n' % text


@pytest.fixture
def provider(gateway_paths):
    """A provider whose answers the test writes itself, and a key for its clients."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        where = {"baseUrl": f"http://127.0.0.1:{listening.getsockname()[1]}/v1", "apiKey": "for-a-slow-provider"}
        configure(gateway_paths, {"acme": where})
        yield SimpleNamespace(accept=listening.accept, key=with_key(gateway_paths))


@contextlib.contextmanager
def a_stream(port, provider):
    """A client in the middle of a stream, and the provider's end of it."""
    body = b'{"model": "acme/model", "stream": true, "messages": []}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(f"{head}Authorization: Bearer {provider.key}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
        with provider.accept()[0] as far:
            far.settimeout(20)
            far.recv(65536)
            far.sendall(STREAM + event(b"first"))
            received = b""
            while b"first" not in received:
                received += client.recv(65536)
            yield client, far


def rest_of(client):
    received = b""
    while chunk := client.recv(65536):
        received += chunk
    return received


def alive(pid):
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.requirement("E73")
def test_after_a_restart_the_new_process_answers_on_the_same_port_while_the_old_one_finishes_its_stream(gateway_paths, provider):
    before = control.start(gateway_paths, port=0)
    with a_stream(before.port, provider) as (client, far):
        _, after = control.restart(gateway_paths, port=before.port)
        assert (after.port, after.pid != before.pid) == (before.port, True)
        assert gateway_lock(gateway_paths).owner_pid() == after.pid
        assert status_of(get(after.port)) == 200
        assert alive(before.pid)
        far.sendall(event(b"last") + b"data: [DONE]\n\n")
        far.shutdown(socket.SHUT_WR)
        assert rest_of(client).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    wait_until(lambda: not alive(before.pid))
    assert control.running(gateway_paths) == after, "the old one left the new one's note alone"


@pytest.mark.requirement("E127")
def test_a_stop_ends_the_process_that_still_finishes_a_stream_beside_the_gateway(gateway_paths, provider):
    before = control.start(gateway_paths, port=0)
    with a_stream(before.port, provider):
        control.restart(gateway_paths, port=before.port)
        control.stop(gateway_paths)
        assert not gateway_lock(gateway_paths).is_locked()
        assert alive(before.pid)
        wait_until(lambda: not alive(before.pid))


@pytest.mark.requirement("E127")
def test_a_signal_ends_a_process_that_finishes_a_stream_beside_the_gateway(gateway_paths, provider):
    before = control.start(gateway_paths, port=0)
    with a_stream(before.port, provider):
        after = control.restart(gateway_paths, port=before.port)[1]
        os.kill(before.pid, signal.SIGTERM)
        wait_until(lambda: not alive(before.pid), 5)
    assert control.running(gateway_paths) == after


def test_a_gateway_of_a_version_that_does_not_know_how_to_give_way_is_stopped(gateway_paths, provider):
    before = replace(control.start(gateway_paths, port=0), version=None)
    write_state(gateway_paths, before)
    with a_stream(before.port, provider) as (client, _):
        old, new = control.restart(gateway_paths, port=before.port)
        assert (old.state, alive(before.pid)) == (before, False)
        assert control.running(gateway_paths) == new
        with contextlib.suppress(ConnectionError):
            assert not rest_of(client).endswith(b"0\r\n\r\n"), "a stream that broke off has no clean end"
