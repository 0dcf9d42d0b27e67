"""Somebody at a terminal, in this process: types one answer to each question, and perhaps Ctrl-C."""

from __future__ import annotations

import io
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from portico.secret import Secret
from portico.terminal import prompts
from portico.terminal.prompts import NumberedPrompter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from subprocess import CompletedProcess

    from tests.minimax_session import MinimaxSession

CTRL_C = "\x03"
ENTER = ""


@dataclass
class Person(NumberedPrompter):
    """Answers in turn; after the last one the terminal is closed. `asked` are the questions, in their order.

    An answer may be a function, which does what happens while the person thinks and gives what is typed then.
    """

    answers: list[str | Callable[[], str]]

    def __post_init__(self) -> None:
        self.shown = io.StringIO()
        self.asked: list[str] = []
        super().__init__(self, self.shown)

    def readline(self, _size: int = -1) -> str:
        if not self.answers:
            return ""
        answer = self.answers.pop(0)
        if not isinstance(answer, str):
            answer = answer()
        if answer == CTRL_C:
            raise KeyboardInterrupt
        return f"{answer}\n"

    def secret(self, question: str, *, flag: str) -> Secret:
        # What a terminal does not show is no part of what was said.
        return Secret(self._ask(f"{question}: ", question, flag))

    def _ask(self, prompt: str, question: str, flag: str) -> str:
        self.asked.append(question)
        return super()._ask(prompt, question, flag)


def sit_down(
    session: MinimaxSession, *words: str, answers: list[str | Callable[[], str]], env: Mapping[str, str | None] | None = None
) -> tuple[CompletedProcess[str], Person]:
    """`portico WORDS` with a person who gives `answers`; what came of it, and the person, who knows what was asked."""
    person = Person([*answers])
    read, write = os.pipe()
    with pytest.MonkeyPatch.context() as patch, os.fdopen(read) as keyboard, os.fdopen(write, "wb"):
        patch.setattr(prompts, "make_prompter", lambda **_: person)
        patch.setattr(sys, "stdin", keyboard)  # where a pasted redirect would be typed, and nothing is
        result = session.run(*words, env=env)
    return result, person
