"""What no test may touch, nor any Python that a test starts: an audit hook refuses it and makes a note of it.

This text is also the `sitecustomize` of every Python that a test starts, so it imports only what each Python has loaded by then.
"""

from __future__ import annotations

import os
import sys

TERMINAL = "/dev/tty"
# The events of sys.audit whose first argument is a path, or whose first two are. Looking whether a file is there raises none.
_OF_FILES = frozenset(
    {
        *("open", "sqlite3.connect", "os.chmod", "os.chown", "os.listdir", "os.mkdir", "os.remove", "os.rmdir", "os.scandir"),
        *("os.truncate", "os.utime", "os.rename", "os.link", "os.symlink"),
    }
)


def install(notes: str, *, port: int, session: int, sockets: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> None:
    """Refuse, from now on in this process: `port`, the Unix `sockets`, `files` and everything under them, and the terminal.

    A process outside the login `session` has a terminal that a test has made for it, or none, and may use that.

    Each refusal is one line in a file beside `notes`, one file for each worker of pytest-xdist, because the program may take it for
    some other failure and go on.
    """
    below = tuple(path.rstrip(os.sep) + os.sep for path in files)

    def refuse(what: str) -> None:
        test = os.environ.get("PYTEST_CURRENT_TEST", "no test").partition(" ")[0]
        fd = os.open(f"{notes}-{os.environ.get('PYTEST_XDIST_WORKER', '')}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(fd, f"{what} ({test})\n".encode())
        finally:
            os.close(fd)
        raise PermissionError(f"no test may use {what}")

    def is_refused(path: str) -> bool:
        return path in files or path.startswith(below) or (path == TERMINAL and os.getsid(0) == session)

    def audit(event: str, args: tuple[object, ...]) -> None:
        if event in _OF_FILES:
            for path in (os.fsdecode(each) for each in args[:2] if isinstance(each, (str, bytes))):
                if is_refused(path):
                    refuse(path)
        elif event in {"socket.bind", "socket.connect"}:
            address = args[1]
            if isinstance(address, tuple) and len(address) > 1 and address[1] == port:
                refuse(f"port {port}")
            address = os.fsdecode(address) if isinstance(address, bytes) else address
            if isinstance(address, str) and address in sockets:
                refuse(address)

    sys.addaudithook(audit)
