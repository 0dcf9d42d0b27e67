"""OpenClaw's own configuration, found on this machine: read underneath Portico's, if the person says so."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Final

from portico.auth.importers.found import place
from portico.errors import ConfigError
from portico.paths import EMULATOR_ENV

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.onboarding.workbench import Workbench

_PATH: Final = ("base",)


def offer(bench: Workbench) -> None:
    """Ask whether to read it underneath, where there is one and no base is named; a section of its own, written at once.

    Raises:
        UsageError: nobody can be asked.
        ConfigError: Portico's own file cannot be written.
    """
    found = openclaw_file(bench.env)
    named = bench.config.document.has(_PATH) or bench.config.config.base is not None
    if found is None or named or EMULATOR_ENV in bench.env or os.path.realpath(found) == os.path.realpath(bench.paths.config):
        return
    written = _as_written(found, bench.env)
    trouble = _trouble(bench, written)
    if trouble is not None:
        bench.out.note(f"OpenClaw's configuration is at {written}, and cannot be read underneath Portico's: {trouble}")
        return
    bench.out.note(
        f"OpenClaw's configuration is at {written}. Read underneath Portico's own, its providers, models and aliases count"
        f" here too; what Portico's own says comes first. Portico changes only its own: {bench.paths.config}"
    )
    if bench.prompter.confirm(f"Read {written} underneath?", flag=f"{{prog}} config set base {quote(written)}", default=True):
        bench.config.file.edit(lambda document: document.set(_PATH, written))
        bench.reload_config()
        bench.out.note(f"Updated {bench.paths.config}: base {written}")


def openclaw_file(env: Mapping[str, str]) -> Path | None:
    """Where OpenClaw keeps its configuration (docs.openclaw.ai/gateway/configuration), None where there is no file."""
    home = Path(env.get("HOME") or Path.home())
    folder = place(env.get("OPENCLAW_STATE_DIR")) or home / ".openclaw"
    path = (place(env.get("OPENCLAW_CONFIG_PATH")) or folder / "openclaw.json").absolute()
    return path if path.is_file() else None


def _as_written(path: Path, env: Mapping[str, str]) -> str:
    """`~/...` where it is in the home folder, as people write it."""
    home = Path(env.get("HOME") or Path.home())
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def _trouble(bench: Workbench, written: str) -> str | None:
    """The first error that naming it as the base would bring, None where it can be read."""
    from portico.config.check import examined
    from portico.config.sources import read_stack

    try:
        _, problems = examined(read_stack(bench.config.document.set(_PATH, written)))
    except ConfigError as error:
        return str(error)
    return next((str(problem) for problem in problems if problem.is_fatal), None)
