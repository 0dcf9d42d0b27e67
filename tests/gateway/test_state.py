from __future__ import annotations

import http.server
import json
import stat
import threading

import pytest

from portico.gateway.server import bound
from portico.gateway.state import GatewayState, read_state, remove_state, running, write_state


@pytest.fixture
def somebody_else():
    """A web server that answers every path with another gateway's state; what it was asked is noted."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(dict(self.headers))
            body = json.dumps(GatewayState(1, self.server.server_port, 5, "other").as_json()).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.seen = seen
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_note_is_private_and_comes_back_whole(paths):
    state = GatewayState(1, 18444, 5, "abcd")
    write_state(paths, state)
    assert read_state(paths) == state
    assert stat.S_IMODE(paths.gateway.stat().st_mode) == 0o600
    remove_state(paths, GatewayState(2, 18444, 6, "later"))
    assert read_state(paths) == state, "another gateway's note is left alone"
    remove_state(paths, state)
    assert read_state(paths) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"pid":"1","port":1,"startedAt":1,"instance":"a"}',
        '{"pid":1,"port":70000,"startedAt":1,"instance":"a"}',
    ],
)
def test_a_note_that_makes_no_sense_is_no_gateway(paths, text):
    paths.state.mkdir(parents=True)
    paths.gateway.write_text(text)
    assert read_state(paths) is None
    assert running(paths) is None


@pytest.mark.requirement("S9")
def test_another_program_on_the_port_is_not_taken_for_ours_and_gets_no_credential(paths, somebody_else):
    write_state(paths, GatewayState(1, somebody_else.server_port, 5, "ours"))
    assert running(paths) is None
    assert {name.lower() for name in somebody_else.seen[0]} <= {"host", "accept-encoding"}


def test_proxies_of_the_environment_are_not_asked(paths, somebody_else, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{somebody_else.server_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{somebody_else.server_port}")
    with bound(0) as silent:
        port = silent.getsockname()[1]
    write_state(paths, GatewayState(1, port, 5, "other"))
    assert running(paths) is None
    assert somebody_else.seen == []
