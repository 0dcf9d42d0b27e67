"""Asking a person: menus on a terminal, numbered lists where menus cannot be drawn, a clear error where nobody is there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from portico.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import TextIO

    from portico.contracts import Choice, Prompter
    from portico.secret import Secret


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


class NonInteractive:
    """Nobody can be asked: every question is an error that names the flag or the command which would have answered it."""

    interactive = False

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:  # noqa: ARG002 - Prompter's signature
        refuse(question, flag, values=[choice.value for choice in choices])

    def choose_many(
        self,
        question: str,
        choices: Sequence[Choice],  # noqa: ARG002 - Prompter's signature
        *,
        flag: str,
        chosen: Collection[str] = (),  # noqa: ARG002 - Prompter's signature
    ) -> tuple[str, ...]:
        refuse(question, flag)

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:  # noqa: ARG002 - Prompter's signature
        refuse(question, flag)

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:  # noqa: ARG002 - Prompter's signature
        refuse(question, flag)

    def secret(self, question: str, *, flag: str) -> Secret:
        refuse(question, flag)


def refuse(question: str, flag: str, *, values: Sequence[str] = ()) -> NoReturn:
    """Say that nobody answers, and what would: `flag`, or a command that begins with `{prog}`.

    Raises:
        UsageError: `input-needed`.
    """
    choices = f" {{{','.join(values)}}}" if values else ""
    hint = f"Run: {flag}" if flag.startswith("{prog}") else f"Give {flag}{choices}."
    raise UsageError("input-needed", f"{question.rstrip(':? ')}: nobody can be asked here.", hint=hint)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
