"""Asking a person: menus on a terminal, numbered lists where menus cannot be drawn, a clear error where nobody is there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from portico.cli.prompt_nobody import NonInteractive

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

    from portico.interfaces.basics import Prompter


def make_prompter(stdin: TextIO | None = None, stderr: TextIO | None = None, env: Mapping[str, str] = os.environ) -> Prompter:
    """The prompter for these streams; questions go to stderr, so that stdout holds results only.

    `TERM=dumb` asks for numbered lists, as a screen reader or a log of the session may need them.
    """
    stdin = stdin if stdin is not None else sys.stdin
    stderr = stderr if stderr is not None else sys.stderr
    if not (_is_terminal(stdin) and _is_terminal(stderr)):
        return NonInteractive()
    from importlib.util import find_spec

    from portico.cli.prompt_numbered import NumberedPrompter

    numbered = NumberedPrompter(stdin, stderr)
    if env.get("TERM") == "dumb" or find_spec("questionary") is None:
        return numbered
    from portico.cli.prompt_menus import MenuPrompter

    return MenuPrompter(numbered, stderr)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
