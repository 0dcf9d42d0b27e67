"""A model's API in a thread, for commands that need the event loop of this process."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from typing import TYPE_CHECKING

from tests.minimax_session import in_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import CompletedProcess

    from portico.paths import Paths


@contextlib.contextmanager
def served(respond: Callable[[dict], tuple[int, str]], content: str = "text/event-stream") -> Iterator[str]:
    """Yield the origin of an API that answers each POST with the status and the body from `respond`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            status, body = respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Type", content if status == 200 else "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            serving.join()


def command(paths: Paths, *args: str) -> CompletedProcess[str]:
    """Run a command with the config of `paths`, without the user's own environment."""
    environment = {"PORTICO_CONFIG": str(paths.config), "PORTICO_STATE_DIR": str(paths.state), "HOME": "/nonexistent"}
    return in_this_process(args, environment)


def events(*each: dict | str) -> str:
    """A stream of these events."""
    return "".join(f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n" for one in each)
