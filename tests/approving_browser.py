"""A $BROWSER that approves, for the many sign-ins of a run: a process that has imported the approver, and forks for each address.

The approver as `$BROWSER` itself, as `emulator env` sets it, costs more processor time than the rest of a sign-in.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from portico.emulation import approver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LONGEST_S: Final = 7200  # longer than any run: a killed one does not leave it behind for good
_PASSED_ON: Final = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@contextmanager
def approving_browser(folder: Path) -> Iterator[str]:
    """The value for BROWSER, until the block ends; POSIX only."""
    addresses, program = folder / "addresses", folder / "browser"
    os.mkfifo(addresses, 0o600)
    values = " ".join(f'"${name}"' for name in _PASSED_ON)
    form = r"%s\t" * len(_PASSED_ON) + r"%s\n"
    program.write_text(f"#!/bin/sh\nprintf '{form}' {values} \"$1\" >{shlex.quote(str(addresses))}\n", encoding="utf-8")
    program.chmod(0o700)
    with subprocess.Popen([sys.executable, "-P", __file__, str(addresses)], cwd="/") as process:
        try:
            yield f"{shlex.quote(str(program))} %s"
        finally:
            process.kill()


def serve(addresses: str) -> None:
    """Approve what each line of the FIFO asks for, in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.alarm(_LONGEST_S)
    with os.fdopen(os.open(addresses, os.O_RDWR), encoding="utf-8") as lines:  # for writing too, so that it never ends
        for line in lines:
            if os.fork() == 0:
                *values, url = line.rstrip("\n").split("\t")
                os.environ.update(zip(_PASSED_ON, values, strict=True))
                os._exit(approver.main([url]))


if __name__ == "__main__":
    serve(sys.argv[1])
