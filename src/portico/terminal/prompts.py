"""Prompts: menus on a terminal, numbered lists if it cannot draw menus, else an error that says why Portico cannot ask.

questionary draws the menus on stderr: arrow keys, plain-text marks, no meaning in colour alone. A numbered list needs only two
streams, and a narrow terminal can wrap it.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from portico.errors import UsageError
from portico.secret import Secret
from portico.terminal.output import fitted, visible, width_of
from portico.util.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import TextIO

    from portico.interfaces.basics import Choice, Prompter


# Why a command with `--json` cannot ask.
JSON_ASKS_NOTHING: Final = "--json asks no questions"


class InputNeeded(UsageError):
    """The command needs an answer, but cannot ask for it: no terminal, `--json`, `--non-interactive`, or the end of the input."""

    id = "input-needed"


@dataclass(frozen=True, slots=True)
class NonInteractive:
    """Asks nothing: each prompt is an error that says `why` and names the flag or the command to use instead."""

    why: str = "no terminal to ask on"
    interactive = False

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:  # noqa: ARG002 - Prompter's signature
        refuse(question, flag, values=[choice.value for choice in choices], why=self.why)

    def choose_many(
        self,
        question: str,
        choices: Sequence[Choice],  # noqa: ARG002 - Prompter's signature
        *,
        flag: str,
        chosen: Collection[str] = (),  # noqa: ARG002 - Prompter's signature
    ) -> tuple[str, ...]:
        refuse(question, flag, why=self.why)

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:  # noqa: ARG002 - Prompter's signature
        refuse(question, flag, why=self.why)

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:  # noqa: ARG002 - Prompter's signature
        refuse(question, flag, why=self.why)

    def secret(self, question: str, *, flag: str) -> Secret:
        refuse(question, flag, why=self.why)


def refuse(question: str, flag: str, *, why: str, values: Sequence[str] = ()) -> NoReturn:
    """Fail because no prompt is possible. `flag` is the option to use instead, or a command that begins with `{prog}`.

    Raises:
        InputNeeded: always.
    """
    question = question.rstrip(":? ")
    if flag.startswith("{prog}"):
        raise InputNeeded(f"{question}: {why}.", hint=f"Run: {flag}")
    choices = f" {{{','.join(values)}}}" if values else ""
    raise InputNeeded(f"{question}: specify {flag} ({why}).", hint=f"Run the command again with {flag}{choices}.")


def make_prompter(stdin: TextIO | None = None, stderr: TextIO | None = None, env: Mapping[str, str] | None = None) -> Prompter:
    """Return the prompter for these streams; prompts go to stderr, so stdout has only results.

    With `TERM=dumb` it prints numbered lists, which a screen reader or a session log may need.
    """
    stdin = stdin if stdin is not None else sys.stdin
    stderr = stderr if stderr is not None else sys.stderr
    env = os.environ if env is None else env
    if not (_is_terminal(stdin) and _is_terminal(stderr)):
        return NonInteractive()
    from importlib.util import find_spec

    numbered = NumberedPrompter(stdin, stderr, env)
    if env.get("TERM") == "dumb" or find_spec("questionary") is None:
        return numbered
    return MenuPrompter(numbered, stderr, env, stdin)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


_RANGE: Final = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)
_ENDED: Final = "the input has ended"


class NumberedPrompter:
    """Asks with numbered lists on `stderr`, and reads the answers from `stdin`."""

    interactive = True

    def __init__(self, stdin: TextIO, stderr: TextIO, env: Mapping[str, str] | None = None) -> None:
        self._stdin = stdin
        self._stderr = stderr
        self._env = env

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:
        self._print(question)
        for number, choice in enumerate(choices, 1):
            self._print(f"  {number}) {described(choice)}")
        values = [choice.value for choice in choices]
        default_number = str(values.index(default) + 1) if default in values else None
        while True:
            answer = self._ask(f"Choose 1-{len(values)}{_bracketed(default_number)}: ", question, flag)
            if not answer and default is not None:
                return default
            if answer in values:
                return answer
            if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(values):
                return values[int(answer) - 1]
            self._print(f"Please type a number from 1 to {len(values)}.")

    def choose_many(
        self, question: str, choices: Sequence[Choice], *, flag: str, chosen: Collection[str] = ()
    ) -> tuple[str, ...]:
        values = [choice.value for choice in choices]
        self._print(question)
        for number, choice in enumerate(choices, 1):
            self._print(f"  {number}) [{'x' if choice.value in chosen else ' '}] {described(choice)}")
        while True:
            answer = self._ask("Type numbers such as 1,3-5, all or none; Enter keeps the rows marked x: ", question, flag)
            picked = _parse_choices(answer, values) if answer else {*chosen}
            if picked is not None:
                return tuple(value for value in values if value in picked)
            self._print(f"Please type numbers from 1 to {len(values)}, separated by commas, or all, or none.")

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:
        while True:
            answer = self._ask(f"{question} [{'Y/n' if default else 'y/N'}] ", question, flag).lower()
            if not answer:
                return default
            if answer in {"y", "yes", "n", "no"}:
                return answer.startswith("y")
            self._print("Please type y or n.")

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:
        return self._ask(f"{question}{_bracketed(default)}: ", question, flag) or default or ""

    def secret(self, question: str, *, flag: str) -> Secret:
        if self._stdin is not sys.stdin:  # getpass reads the terminal of the process
            with _without_echo(self._stdin):
                return Secret(self._ask(f"{question}:", question, flag))
        from getpass import getpass

        try:
            return Secret(getpass(f"{question}: ", stream=self._stderr))
        except EOFError:
            refuse(question, flag, why=_ENDED)

    def _print(self, text: str, end: str = "\n") -> None:
        self._stderr.write(fitted(text, self._stderr, self._env) + end)
        self._stderr.flush()

    def _ask(self, prompt: str, question: str, flag: str) -> str:
        self._print(prompt.rstrip(), end=" ")
        try:
            answer = read_text(self._stdin, line=True)
        except KeyboardInterrupt:
            self._print("")
            raise
        if not answer:
            refuse(question, flag, why=_ENDED)
        return answer.strip()


@contextmanager
def _without_echo(stdin: TextIO) -> Iterator[None]:
    """Turn off the echo of the terminal `stdin`; does nothing if `stdin` is not a terminal."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    try:
        before = termios.tcgetattr(stdin)
    except (OSError, ValueError, termios.error):
        yield
        return
    silent = [*before]
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(stdin, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSAFLUSH, before)


def described(choice: Choice) -> str:
    """Return the row of a choice in a list, on one line: its label, then its hint."""
    row = f"{choice.label} - {choice.hint}" if choice.hint else choice.label
    return row.replace("\r\n", " ").replace("\n", " ")


def _parse_choices(answer: str, values: Sequence[str]) -> set[str] | None:
    """Return the values that `answer` lists by number or by name; None if a word in `answer` is not a number or a name."""
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


_POINTER: Final = ">"
_MARGIN: Final = 6  # columns before a row: for the pointer and the mark
_NARROW: Final = 60  # a terminal with fewer columns shows too little of a hint
_FILTER_FROM: Final = 16  # in a list with this number of rows, typing filters the rows
_MARKS: Final = "●○"  # questionary's


class MenuPrompter:
    """Asks with menus. A list that does not fit into the terminal is printed by `numbered`, because the terminal can wrap it."""

    interactive = True

    def __init__(
        self, numbered: Prompter, stderr: TextIO, env: Mapping[str, str] | None = None, stdin: TextIO | None = None
    ) -> None:
        self._numbered = numbered
        self._stderr = stderr
        self._env = env
        self._stdin = stdin

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:
        import questionary

        titles = self._titles(choices)
        if titles is None:
            return self._numbered.choose(question, choices, flag=flag, default=default)
        rows = [questionary.Choice(title, value=choice.value) for title, choice in zip(titles, choices, strict=True)]
        menu = self._menu(questionary.select, question, rows, "arrow keys", default=default)
        return str(_run(menu, question, flag))

    def choose_many(
        self, question: str, choices: Sequence[Choice], *, flag: str, chosen: Collection[str] = ()
    ) -> tuple[str, ...]:
        import questionary

        titles = self._titles(choices)
        if titles is None or not _can_encode(_MARKS, self._stderr):
            return self._numbered.choose_many(question, choices, flag=flag, chosen=chosen)
        rows = [
            questionary.Choice(title, value=choice.value, checked=choice.value in chosen)
            for title, choice in zip(titles, choices, strict=True)
        ]
        picked = _run(self._menu(questionary.checkbox, question, rows, "Space to mark, Enter to finish"), question, flag)
        assert isinstance(picked, list)  # noqa: S101 - a checkbox returns a list
        return tuple(choice.value for choice in choices if choice.value in picked)

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:
        import questionary

        shown = visible(question, self._stderr)
        return bool(_run(questionary.confirm(shown, default=default, **self._streams()), question, flag))

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:
        import questionary

        default = default or ""
        shown, shown_default = visible(question, self._stderr), visible(default, self._stderr)
        editable = default if shown_default == default else ""
        if editable != default:  # the text has control characters: Enter accepts it, but the user cannot edit it
            shown = f"{shown} [{shown_default}]"
        answer = str(_run(questionary.text(shown, default=editable, **self._streams()), question, flag)).strip()
        return answer if editable else answer or default

    def secret(self, question: str, *, flag: str) -> Secret:
        import questionary

        shown = visible(question, self._stderr)
        return Secret(str(_run(questionary.password(shown, **self._streams()), question, flag)))

    def _menu(self, kind: Callable[..., Any], question: str, rows: Sequence[Any], instruction: str, **options: Any) -> Any:
        can_filter = len(rows) >= _FILTER_FROM
        return kind(
            visible(question, self._stderr),
            choices=rows,
            pointer=_POINTER,
            instruction=f"({instruction}{'; type to filter' if can_filter else ''})",
            use_search_filter=can_filter,
            use_jk_keys=not can_filter,
            **options,
            **self._streams(),
        )

    def _titles(self, choices: Sequence[Choice]) -> list[str] | None:
        # prompt_toolkit escapes the control characters of ASCII, but not those that reverse text.
        stderr = self._stderr
        shown = [replace(each, label=visible(each.label, stderr), hint=visible(each.hint, stderr)) for each in choices]
        return fitting(shown, width_of(stderr, self._env) - _MARGIN)

    def _streams(self) -> dict[str, Any]:
        from prompt_toolkit.output import create_output

        streams: dict[str, Any] = {"output": create_output(stdout=self._stderr)}
        if self._stdin not in {None, sys.stdin}:
            from prompt_toolkit.input import create_input

            streams["input"] = create_input(stdin=self._stdin)
        return streams


def fitting(choices: Sequence[Choice], room: int) -> list[str] | None:
    """Return the rows, with hints cut to `room` columns; None if a label is too long, or if the hints would be too short."""
    rows = [described(choice) for choice in choices]
    if all(len(row) <= room for row in rows):
        return rows
    if room < _NARROW - _MARGIN or any(len(choice.label) > room for choice in choices):
        return None
    return [row if len(row) <= room else _cut(row, choice.label, room) for row, choice in zip(rows, choices, strict=True)]


def _cut(row: str, label: str, room: int) -> str:
    cut = row[: room - 2].rpartition(" ")[0].rstrip(" -,;")
    return f"{cut}..." if len(cut) > len(label) else row[: len(label)]


def _can_encode(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _run(question: Any, text: str, flag: str) -> object:
    import asyncio

    try:
        asyncio.get_running_loop()
        in_thread = True
    except RuntimeError:
        in_thread = False
    try:
        return question.application.run(in_thread=in_thread)
    except EOFError:
        refuse(text, flag, why=_ENDED)
