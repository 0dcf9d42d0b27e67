"""Where nobody can be asked: what would have answered each question."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from portico.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from portico.interfaces.basics import Choice
    from portico.secret import Secret


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
