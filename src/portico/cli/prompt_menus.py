"""questionary's menus, drawn on stderr: arrow keys, marks of plain text, no meaning in colour alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from portico.cli.prompt_nobody import refuse
from portico.cli.prompt_numbered import described
from portico.cli.wrapping import visible, width_of
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import TextIO

    from portico.interfaces.basics import Choice, Prompter

_POINTER: Final = ">"
_MARGIN: Final = 6  # before a row: the pointer, and the mark of a list in which several can be chosen
_NARROW: Final = 60  # columns below which a hint that is cut would say too little
_FILTERED_FROM: Final = 16  # rows from which on letters that are typed narrow the list
_MARKS: Final = "●○"  # questionary's own


class MenuPrompter:
    """Asks with menus; a list that does not fit into the terminal is asked by `numbered` instead, which the terminal wraps."""

    interactive = True

    def __init__(self, numbered: Prompter, stderr: TextIO) -> None:
        self._numbered = numbered
        self._stderr = stderr

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:
        import questionary

        titles = fitting([self._visible(choice) for choice in choices], width_of(self._stderr) - _MARGIN)
        if titles is None:
            return self._numbered.choose(question, choices, flag=flag, default=default)
        rows = [questionary.Choice(title, value=choice.value) for title, choice in zip(titles, choices, strict=True)]
        long = len(rows) >= _FILTERED_FROM
        menu = questionary.select(
            visible(question, self._stderr),
            choices=rows,
            default=default,
            pointer=_POINTER,
            instruction="(arrow keys; type to filter)" if long else "(arrow keys)",
            use_search_filter=long,
            use_jk_keys=not long,
            output=self._output(),
        )
        return str(_run(menu, question, flag))

    def choose_many(
        self, question: str, choices: Sequence[Choice], *, flag: str, chosen: Collection[str] = ()
    ) -> tuple[str, ...]:
        import questionary

        titles = fitting([self._visible(choice) for choice in choices], width_of(self._stderr) - _MARGIN)
        if titles is None or not _can_show(_MARKS, self._stderr):
            return self._numbered.choose_many(question, choices, flag=flag, chosen=chosen)
        rows = [
            questionary.Choice(title, value=choice.value, checked=choice.value in chosen)
            for title, choice in zip(titles, choices, strict=True)
        ]
        long = len(rows) >= _FILTERED_FROM
        menu = questionary.checkbox(
            visible(question, self._stderr),
            choices=rows,
            pointer=_POINTER,
            instruction=f"(Space marks, Enter ends{'; type to filter' if long else ''})",
            use_search_filter=long,
            use_jk_keys=not long,
            output=self._output(),
        )
        picked = _run(menu, question, flag)
        assert isinstance(picked, list)  # noqa: S101 - a checkbox gives a list
        return tuple(choice.value for choice in choices if choice.value in picked)

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:
        import questionary

        shown = visible(question, self._stderr)
        return bool(_run(questionary.confirm(shown, default=default, output=self._output()), question, flag))

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:
        import questionary

        default = default or ""
        shown, proposed = visible(question, self._stderr), visible(default, self._stderr)
        if proposed != default:  # what cannot be edited as it looks is taken by an empty line
            shown = f"{shown} [{proposed}]"
        editable = default if proposed == default else ""
        answer = str(_run(questionary.text(shown, default=editable, output=self._output()), question, flag)).strip()
        return answer if editable else answer or default

    def secret(self, question: str, *, flag: str) -> Secret:
        import questionary

        shown = visible(question, self._stderr)
        return Secret(str(_run(questionary.password(shown, output=self._output()), question, flag)))

    def _visible(self, choice: Choice) -> Choice:
        # prompt_toolkit shows the controls of ASCII, and lets pass those that turn text around.
        return replace(choice, label=visible(choice.label, self._stderr), hint=visible(choice.hint, self._stderr))

    def _output(self) -> Any:
        from prompt_toolkit.output import create_output

        return create_output(stdout=self._stderr)


def fitting(choices: Sequence[Choice], room: int) -> list[str] | None:
    """Each row in at most `room` columns, a long hint cut; None where what would be left could not be told apart."""
    rows = [described(choice) for choice in choices]
    if all(len(row) <= room for row in rows):
        return rows
    if room < _NARROW - _MARGIN or any(len(choice.label) > room for choice in choices):
        return None
    return [row if len(row) <= room else _cut(row, choice.label, room) for row, choice in zip(rows, choices, strict=True)]


def _cut(row: str, label: str, room: int) -> str:
    cut = row[: room - 2].rpartition(" ")[0].rstrip(" -,;")
    return f"{cut}..." if len(cut) > len(label) else row[: len(label)]


def _can_show(text: str, stream: TextIO) -> bool:
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
        refuse(text, flag)
