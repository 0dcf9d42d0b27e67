"""What a person sees and answers: the streams of one run, output, prompts, a line read from the terminal."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` would be a third of what `--version` costs
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO


class Streams:
    """The environment and the standard streams of one run; what is None is the process's own."""

    __slots__ = ("env", "stderr", "stdin", "stdout")

    def __init__(
        self,
        env: Mapping[str, str] | None = None,
        stdin: TextIO | None = None,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
    ) -> None:
        self.env: Mapping[str, str] = os.environ if env is None else env
        self.stdin = sys.stdin if stdin is None else stdin
        self.stdout = sys.stdout if stdout is None else stdout
        self.stderr = sys.stderr if stderr is None else stderr
