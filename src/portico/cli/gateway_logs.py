"""`gateway logs`: the end of what the gateway has remarked, from the service manager's journal or from its own file."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from portico.errors import ConfigError, ExitCode
from portico.util.children import child_environment, found_command
from portico.util.files import file_error, read_end, read_start

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from portico.cli.runtime import Runtime

LINES: Final = 50
_LOOK_EVERY_S: Final = 0.2
_READ: Final = 1 << 20


def logs(args: argparse.Namespace, rt: Runtime) -> int:
    """Show the last lines, and with `--follow` each new one until Ctrl-C.

    Raises:
        ConfigError: `service-failed`: the journal cannot be read.
    """
    from portico.cli.gateway_service import installed

    here = installed(rt)
    command = here.manager.log_command(here.service, args.lines, follow=args.follow) if here is not None else None
    for line in _of_file(rt.paths.gateway_log, args.lines, follow=args.follow) if command is None else _printed(command, rt):
        if rt.out.is_json:
            rt.out.event({"line": line})
        else:
            rt.out.exact(line)
        sys.stdout.flush()
    return ExitCode.OK


def _printed(command: list[str], rt: Runtime) -> Iterator[str]:
    try:
        process = subprocess.Popen(
            found_command(command, rt.env),
            env=child_environment(rt.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise ConfigError("service-failed", f"`{command[0]}` cannot be run.", why=error.strerror) from None
    with process:
        try:
            yield from (line.rstrip("\n") for line in process.stdout or ())
        finally:
            process.terminate()
    if process.returncode > 0:
        raise ConfigError("service-failed", f"`{' '.join(command)}` failed.", why=f"exit code {process.returncode}")


def _of_file(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """The last lines of a file that is put aside and begun anew when it is too long."""
    data = _part(path, None)
    yield from data.decode(errors="replace").splitlines()[-lines:] if lines else ()
    at, rest = (path.stat().st_size if path.exists() else 0), b""
    while follow:
        time.sleep(_LOOK_EVERY_S)
        size = path.stat().st_size if path.exists() else 0
        at = at if at <= size else 0
        if at == size:
            continue
        data = _part(path, at)
        at += len(data)
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in whole)


def _part(path: Path, at: int | None) -> bytes:
    """A piece of the log from `at` on, or its end; empty where there is no log."""
    try:
        return read_end(path, _READ) if at is None else read_start(path, _READ, offset=at)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise file_error("store-read-failed", f"cannot read {path}", error) from error
