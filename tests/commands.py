"""Commands in this process, on the config and state of one test, without any server."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.testing.process import PorticoRunner
from tests.minimax_session import in_this_process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from subprocess import CompletedProcess


class HereRunner(PorticoRunner):
    """What `PorticoRunner` does, in this process: a tenth of the time. Plugins of the test's own folder are forgotten afterwards."""

    def __call__(
        self,
        *args: str,
        env: Mapping[str, str | None] | None = None,
        input: str | None = None,
        timeout: float = 30.0,
        prints_secret: bool = False,
    ) -> CompletedProcess[str]:
        environment = self.environment(env)
        modules, places, temporary = {*sys.modules}, [*sys.path], tempfile.tempdir
        tempfile.tempdir = None  # so that TMPDIR is heeded
        sys.path[:0] = [each for each in environment["PYTHONPATH"].split(os.pathsep) if each not in places]
        try:
            done = in_this_process(args, environment, typed=input or "")
        finally:
            sys.path[:], tempfile.tempdir = places, temporary
            for name in sys.modules.keys() - modules:
                if str(getattr(sys.modules[name], "__file__", None) or "").startswith(f"{self.outputs.parent}"):
                    del sys.modules[name]
        self._save_output(done, with_stdout=not prints_secret and args[:2] != ("auth", "token"))
        return done

    def in_a_process(self, *args: str, env: Mapping[str, str | None] | None = None) -> CompletedProcess[str]:
        """For what happens while a command of this process runs, or what outlives the command."""
        return PorticoRunner.__call__(self, *args, env=env)


@dataclass
class Commands:
    """`env` is what each command gets on top of the runner's environment."""

    run_portico: PorticoRunner
    env: dict[str, str] = field(default_factory=dict)

    @property
    def paths(self):
        return self.run_portico.paths

    def run(self, *words: str, env: Mapping[str, str | None] | None = None) -> CompletedProcess[str]:
        return in_this_process(words, self.run_portico.environment({**self.env, **(env or {})}))

    def ok(self, *words: str, env: Mapping[str, str | None] | None = None) -> str:
        """Standard output of a command that ends well."""
        result = self.run(*words, env=env)
        assert result.returncode == 0, f"{words} ended with {result.returncode}:\n{result.stderr}\n{result.stdout}"
        return result.stdout
