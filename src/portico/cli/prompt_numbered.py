"""Numbered lists and plain lines: all that two streams are needed for, and what a narrow terminal can wrap."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.cli.prompt_nobody import refuse
from portico.cli.wrapping import fitted
from portico.secret import Secret
from portico.util.files import read_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import TextIO

    from portico.interfaces.basics import Choice

_RANGE: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


class NumberedPrompter:
    """Asks on `stderr`, one question a line, and reads the answers from `stdin`."""

    interactive = True

    def __init__(self, stdin: TextIO, stderr: TextIO) -> None:
        self._stdin = stdin
        self._stderr = stderr

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:
        self._say(question)
        for number, choice in enumerate(choices, 1):
            self._say(f"  {number}) {described(choice)}")
        values = [choice.value for choice in choices]
        # The number, not the value: what is typed is a number, too.
        proposed = str(values.index(default) + 1) if default in values else None
        while True:
            answer = self._ask(f"Choose 1-{len(values)}{_bracketed(proposed)}: ", question, flag)
            if not answer and default is not None:
                return default
            if answer in values:
                return answer
            if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(values):
                return values[int(answer) - 1]
            self._say(f"Please type a number from 1 to {len(values)}.")

    def choose_many(
        self, question: str, choices: Sequence[Choice], *, flag: str, chosen: Collection[str] = ()
    ) -> tuple[str, ...]:
        values = [choice.value for choice in choices]
        self._say(question)
        for number, choice in enumerate(choices, 1):
            self._say(f"  {number}) [{'x' if choice.value in chosen else ' '}] {described(choice)}")
        while True:
            answer = self._ask("Numbers such as 1,3-5, all, none, or Enter for those marked x: ", question, flag)
            picked = {*chosen} if not answer else _picked(answer, values)
            if picked is not None:
                return tuple(value for value in values if value in picked)
            self._say(f"Please type numbers from 1 to {len(values)} with commas between them, all, or none.")

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:
        while True:
            answer = self._ask(f"{question} [{'Y/n' if default else 'y/N'}] ", question, flag).lower()
            if not answer:
                return default
            if answer in {"y", "yes", "n", "no"}:
                return answer.startswith("y")
            self._say("Please type y or n.")

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:
        return self._ask(f"{question}{_bracketed(default)}: ", question, flag) or default or ""

    def secret(self, question: str, *, flag: str) -> Secret:
        from getpass import getpass

        try:
            return Secret(getpass(f"{question}: ", stream=self._stderr))
        except EOFError:
            refuse(question, flag)

    def _say(self, text: str, end: str = "\n") -> None:
        self._stderr.write(fitted(text, self._stderr) + end)
        self._stderr.flush()

    def _ask(self, prompt: str, question: str, flag: str) -> str:
        self._say(prompt.rstrip(), end=" ")
        try:
            answer = read_text(self._stdin, line=True)
        except KeyboardInterrupt:
            self._say("")
            raise
        if not answer:
            refuse(question, flag)
        return answer.strip()


def described(choice: Choice) -> str:
    """A row of a list: the label, and the hint behind it where there is one. A line break in them makes no further row."""
    row = f"{choice.label} - {choice.hint}" if choice.hint else choice.label
    return row.replace("\r\n", " ").replace("\n", " ")


def _picked(answer: str, values: Sequence[str]) -> set[str] | None:
    """The values that the words of `answer` stand for, by number or by name; None where one of them stands for nothing."""
    if answer.lower() in {"all", "none"}:
        return {*values} if answer.lower() == "all" else set()
    found: set[str] = set()
    for word in answer.replace(",", " ").split():
        span = _RANGE.fullmatch(word)
        if word in values:
            found.add(word)
        elif span is not None and 1 <= int(span[1]) <= int(span[2] or span[1]) <= len(values):
            found.update(values[int(span[1]) - 1 : int(span[2] or span[1])])
        else:
            return None
    return found


def _bracketed(default: str | None) -> str:
    return f" [{default}]" if default else ""
