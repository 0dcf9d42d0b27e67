"""Run Portico as its users do: as a separate process."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.paths import CONFIG_ENV, PACKAGE, STATE_ENV
from portico.util.children import import_folders, portico_command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from portico.paths import Paths

# The only command that prints a secret. Its standard output is not stored.
_PRINTS_SECRET: Final = ("auth", "token")


@dataclass(frozen=True, slots=True)
class PorticoRunner:
    """Runs `python -P -m portico ARGS` with `paths` and this process's environment, changed by `env` (None removes a variable).

    The output is stored in `outputs`, in one folder for each run, for a canary scan.
    """

    paths: Paths
    outputs: Path

    def __call__(
        self,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        input: str | None = None,
        timeout: float = 30.0,
        prints_secret: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and wait for its end. `prints_secret`: the command is expected to print a secret (`--reveal`).

        Raises:
            subprocess.TimeoutExpired: after `timeout` seconds.
        """
        command = portico_command(*args)
        stdin = {"input": input} if input is not None else {"stdin": subprocess.DEVNULL}
        result: subprocess.CompletedProcess[str] = subprocess.run(
            command, env=self.environment(env), capture_output=True, timeout=timeout, check=False, encoding="utf-8", **stdin
        )
        self._save_output(result, with_stdout=not prints_secret and args[: len(_PRINTS_SECRET)] != _PRINTS_SECRET)
        return result

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The environment of a run, for tests that start the process themselves."""
        overrides = {
            CONFIG_ENV: str(self.paths.config),
            STATE_ENV: str(self.paths.state),
            "PYTHONPATH": os.pathsep.join((str(PACKAGE.parent), *import_folders(os.environ))),
            "PYTHONIOENCODING": "utf-8",
        }
        merged: dict[str, str | None] = {**os.environ, **overrides, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def _save_output(self, result: subprocess.CompletedProcess[str], *, with_stdout: bool) -> None:
        self.outputs.mkdir(parents=True, exist_ok=True)
        number = len(list(self.outputs.iterdir()))
        output = result.stderr + (result.stdout if with_stdout else "")
        (self.outputs / f"{number:03d}.txt").write_text(output, encoding="utf-8")
