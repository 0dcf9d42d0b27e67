"""Processes that a test has started and not ended: each costs every later test, and a user would find it in the list of theirs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# What was asked to end may still be doing so.
_MAX_WAIT_S: Final = 5.0
_POLL_S: Final = 0.1


def leftover_processes(base: Path) -> list[str]:
    """One line for each process that has a file under `base` in its environment and does not end by itself; Linux only."""
    if sys.platform != "linux":
        return []
    deadline = time.monotonic() + _MAX_WAIT_S
    while (processes := dict(_processes(os.fsencode(base)))) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return [f"left running: {pid}: {line}" for pid, line in processes.items()]


def _processes(base: bytes) -> Iterator[tuple[int, str]]:
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            variables = folder.joinpath("environ").read_bytes()
            if base in variables:
                test = next((one for one in variables.split(b"\0") if one.startswith(b"PYTEST_CURRENT_TEST=")), b"")
                command = folder.joinpath("cmdline").read_bytes().replace(b"\0", b" ")[:100]
                yield int(folder.name), f"{command.decode(errors='replace')}; {test.partition(b'=')[2].decode(errors='replace')}"
