"""Commands in this process, on the config and state of one test, without any server."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.minimax_session import in_this_process

if TYPE_CHECKING:
    from collections.abc import Mapping
    from subprocess import CompletedProcess

    from portico.testing.process import PorticoRunner


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
