"""A $BROWSER that approves, for the many sign-ins of a run: a process that has imported the approver, and forks for each address.

The approver as `$BROWSER` itself, as `emulator env` sets it, costs more processor time than the rest of a sign-in.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import sys
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.emulation import approver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PASSED_ON: Final = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE")


@dataclass(frozen=True)
class ApprovingBrowser:
    """The process that approves, and the program that passes an address to it."""

    process: subprocess.Popen[bytes]
    program: Path

    def value(self) -> str:
        """The value for BROWSER. Fails if the process has ended: each sign-in would wait until its timeout."""
        code = self.process.poll()
        assert code is None, f"the browser that approves has ended with code {code}"
        return f"{shlex.quote(str(self.program))} %s"


@contextmanager
def approving_browser(folder: Path) -> Iterator[ApprovingBrowser]:
    """A browser that approves until the block ends, or until this process ends, however it ends; POSIX only."""
    addresses, program = folder / "addresses", folder / "browser"
    os.mkfifo(addresses, 0o600)
    values = " ".join(f'"${name}"' for name in _PASSED_ON)
    form = r"%s\t" * len(_PASSED_ON) + r"%s\n"
    # The script opens the FIFO for reading too: for writing alone, `open` would block after the process has ended.
    program.write_text(f"#!/bin/sh\nprintf '{form}' {values} \"$1\" 1<>{shlex.quote(str(addresses))}\n", encoding="utf-8")
    program.chmod(0o700)
    # Open now, so that no address is lost before the process reads; for writing too, so that the FIFO never ends.
    fifo = os.open(addresses, os.O_RDWR)
    command = [sys.executable, "-P", __file__, str(fifo)]
    with subprocess.Popen(command, cwd="/", stdin=subprocess.PIPE, pass_fds=[fifo]) as process:
        os.close(fifo)
        browser = ApprovingBrowser(process, program)
        try:
            yield browser
            browser.value()
        finally:
            process.kill()


def serve(fifo: int) -> None:
    """Approve what each line of the FIFO asks for, until standard input ends: then the parent has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    received = b""
    while sys.stdin not in select.select([fifo, sys.stdin], [], [])[0]:
        *lines, received = (received + os.read(fifo, 1 << 16)).split(b"\n")
        for line in lines:
            if os.fork() == 0:
                os._exit(approve(line.decode()))


def approve(line: str) -> int:
    """Approve what one line asks for; the exit code. A failure is reported in the output of the test that runs."""
    *values, url = line.split("\t")
    os.environ.update(zip(_PASSED_ON, values, strict=True))
    try:
        code = approver.main([url])
    except BaseException:  # noqa: BLE001 - nothing else would report it
        traceback.print_exc()
        code = 1
    if code:
        sys.stderr.write(f"the browser that approves: exit code {code}\n")
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(int(sys.argv[1]))
