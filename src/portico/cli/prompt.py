"""Asking a person: menus on a terminal, numbered lists where the menus are missing, a clear error where nobody is there."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from portico.errors import UsageError
from portico.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

    from portico.contracts import Choice, Prompter


def make_prompter(stdin: TextIO | None = None, stderr: TextIO | None = None) -> Prompter:
    """The prompter for these streams; questions go to stderr, so that stdout holds results only."""
    stdin = stdin if stdin is not None else sys.stdin
    stderr = stderr if stderr is not None else sys.stderr
    if not (_is_terminal(stdin) and _is_terminal(stderr)):
        return NonInteractive()
    from importlib.util import find_spec

    return MenuPrompter() if find_spec("questionary") is not None else NumberedPrompter(stdin, stderr)


class NonInteractive:
    """Nobody can be asked: every question is an error that names the flag which would have answered it."""

    interactive = False

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:  # noqa: ARG002 - Prompter's signature
        _refuse(question, flag, values=[choice.value for choice in choices])

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:  # noqa: ARG002 - Prompter's signature
        _refuse(question, flag)

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:  # noqa: ARG002 - Prompter's signature
        _refuse(question, flag)

    def secret(self, question: str, *, flag: str) -> Secret:
        _refuse(question, flag)


class NumberedPrompter:
    """Numbered lists and plain lines: needs nothing but two streams."""

    interactive = True

    def __init__(self, stdin: TextIO, stderr: TextIO) -> None:
        self._stdin = stdin
        self._stderr = stderr

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:
        self._say(question)
        for number, choice in enumerate(choices, 1):
            hint = f" - {choice.hint}" if choice.hint else ""
            self._say(f"  {number}) {choice.label}{hint}")
        values = [choice.value for choice in choices]
        while True:
            answer = self._ask(f"Choose 1-{len(values)}{_bracketed(default)}: ", question, flag)
            if not answer and default is not None:
                return default
            if answer in values:
                return answer
            if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(values):
                return values[int(answer) - 1]
            self._say(f"Please type a number from 1 to {len(values)}.")

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
            _refuse(question, flag)

    def _say(self, text: str, end: str = "\n") -> None:
        self._stderr.write(text + end)
        self._stderr.flush()

    def _ask(self, prompt: str, question: str, flag: str) -> str:
        self._say(prompt, end="")
        answer = self._stdin.readline()
        if not answer:
            _refuse(question, flag)
        return answer.strip()


class MenuPrompter:
    """questionary's menus, drawn on stderr."""

    interactive = True

    def choose(self, question: str, choices: Sequence[Choice], *, flag: str, default: str | None = None) -> str:
        import questionary

        rows = [
            questionary.Choice(f"{choice.label} - {choice.hint}" if choice.hint else choice.label, value=choice.value)
            for choice in choices
        ]
        return str(_run(questionary.select(question, choices=rows, default=default, output=_terminal()), question, flag))

    def confirm(self, question: str, *, flag: str, default: bool = False) -> bool:
        import questionary

        return bool(_run(questionary.confirm(question, default=default, output=_terminal()), question, flag))

    def text(self, question: str, *, flag: str, default: str | None = None) -> str:
        import questionary

        return str(_run(questionary.text(question, default=default or "", output=_terminal()), question, flag)).strip()

    def secret(self, question: str, *, flag: str) -> Secret:
        import questionary

        return Secret(str(_run(questionary.password(question, output=_terminal()), question, flag)))


async def read_line() -> str:
    """One line from the terminal, without its end; cancelling leaves later lines to whoever asks next.

    Raises:
        EOFError: the input has ended.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    if sys.platform == "win32":
        # A console cannot be waited for without a thread; after a cancel this one takes one more line with it.
        _read_in_thread(loop, line)
        return _decoded(await line)
    descriptor = _terminal_descriptor()
    loop.add_reader(descriptor, _collect, descriptor, line, bytearray())
    try:
        return _decoded(await line)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _terminal_descriptor() -> int:
    # A descriptor of our own may be non-blocking; the one we were given is shared with the shell, which would be so too.
    descriptor = sys.stdin.fileno()
    try:
        return os.open(os.ttyname(descriptor), os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return os.dup(descriptor)


def _collect(descriptor: int, line: Any, buffer: bytearray) -> None:
    chunk = os.read(descriptor, 65536)
    buffer += chunk
    if (not chunk or b"\n" in chunk) and not line.done():
        line.set_result(bytes(buffer))


def _read_in_thread(loop: Any, line: Any) -> None:
    from threading import Thread

    def finish(raw: bytes) -> None:
        if not line.done():
            line.set_result(raw)

    def read() -> None:
        raw = sys.stdin.readline().encode()
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, raw)

    Thread(target=read, daemon=True, name="read-line").start()


def _decoded(raw: bytes) -> str:
    if not raw:
        raise EOFError("the input has ended")
    return raw.decode(errors="replace").splitlines()[0] if raw.strip(b"\r\n") else ""


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
        _refuse(text, flag)


def _terminal() -> Any:
    from prompt_toolkit.output import create_output

    return create_output(stdout=sys.stderr)


def _refuse(question: str, flag: str, *, values: Sequence[str] = ()) -> NoReturn:
    choices = f" {{{','.join(values)}}}" if values else ""
    raise UsageError("input-needed", f"{question.rstrip(':? ')}: nobody can be asked here.", hint=f"Give {flag}{choices}.")


def _bracketed(default: str | None) -> str:
    return f" [{default}]" if default else ""


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()
