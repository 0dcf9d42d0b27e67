"""A situation that prints a remedy, and what a person does who follows it.

To add a remedy of yours, write a function in one of the `in_*.py` modules of this folder:

    @scenario("{prog} plugins enable {}")               # each template that it prints; `test_remedies.py` names those without
    def a_plugin_that_is_off(desk):
        desk.ok("plugins", "disable", "minimax-portal-auth")
        error = desk.refused("models", "list", "--provider", "minimax-portal")   # runs it with --json; the error that it ends with
        desk.follow(error["hint"])                                               # types the hint's first command
        desk.ok("models", "list", "--provider", "minimax-portal")                # the situation is gone

or, where one command is refused and is right once its words, or something before it, are changed, a row of `ROWS` in `in_rows.py`.
A remedy that needs a person or a server is followed as far as it goes: against the emulator, or until the command parses.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from portico.app import App
from tests.minimax_session import GLOBAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

    from portico.store.token_store import TokenStore
    from portico.testing.secret_service import SecretService
    from tests.commands import Commands
    from tests.minimax_session import MinimaxSession

SCENARIOS: dict[str, Scenario] = {}


@dataclass
class Desk:
    """Where a scenario types its commands, and what they printed. `start` begins the emulator, for those that need a server,
    and `keyring` gives the Secret Service that it uses, for those that lock it.
    """

    commands: Commands | MinimaxSession
    start: Callable[..., MinimaxSession]
    keyring: Callable[[], SecretService]
    printed: list[str] = field(default_factory=list)

    def signed_in(self, *options: str, **emulator: Any) -> MinimaxSession:
        """From here on, commands meet the emulator; `minimax-portal:default` is signed in at it."""
        session = self.emulator(**emulator)
        session.sign_in("--region", "global", *options)
        return session

    def emulator(self, **options: Any) -> MinimaxSession:
        """From here on, commands meet the emulator; nobody is signed in."""
        session = self.start(**options)
        self.commands = session
        return session

    def expired(self, id: str = GLOBAL, **changed: Any) -> None:
        """The tokens of an account have ended, so that a command has to refresh them first; `changed` is of its profile."""
        store = self.store()
        held = store.read(id)
        store.commit(replace(held.profile, **changed), replace(held.tokens, expires_at=1))

    def store(self) -> TokenStore:
        """The tokens, as the commands find them."""
        return App(env=self.commands.run_portico.environment(self.commands.env)).token_store

    def ok(self, *words: str, env: Mapping[str, str | None] | None = None) -> str:
        return self.commands.ok(*words, env=env)

    def refused(self, *words: str, env: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """The error that the command ends with; its hint counts as printed."""
        done = self.commands.run("--json", *words, env=env)
        error = json.loads(done.stdout.splitlines()[-1])["error"] if done.stdout else {}
        assert error, f"{words} ended with {done.returncode} and no error:\n{done.stdout}\n{done.stderr}"
        self.printed.append(error.get("hint", ""))
        return error

    def found(self, *ids: str, env: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """The first finding of `doctor` with one of these ids; its hint counts as printed."""
        findings = json.loads(self.commands.run("doctor", "--json", env=env).stdout)["findings"]
        found = next((each for each in findings if each["id"] in ids), None)
        assert found is not None, f"none of {ids} in {[each['id'] for each in findings]}"
        self.printed.append(found["hint"] or "")
        return found

    def not_found(self, id: str, env: Mapping[str, str | None] | None = None) -> None:
        findings = json.loads(self.commands.run("doctor", "--json", env=env).stdout)["findings"]
        assert id not in {each["id"] for each in findings}

    def shown(self, text: str, *words: str, env: Mapping[str, str | None] | None = None) -> str:
        """The line with `text` of what a command prints for a person; it counts as printed."""
        done = self.commands.run(*words, env=env)
        line = next((line.strip() for line in (done.stdout + done.stderr).splitlines() if text in line), None)
        assert line is not None, f"{text!r} is not in:\n{done.stdout}\n{done.stderr}"
        self.printed.append(line)
        return line

    def follow(self, hint: str, *more: str, env: Mapping[str, str | None] | None = None) -> str:
        """Type the first command of the hint, with what a person would fill in or add."""
        return self.ok(*command_of(hint), *more, env=env)


def command_of(hint: str) -> list[str]:
    """The words of the first command that a printed hint names, without the program's name."""
    from tests.remedies.commands import accepted, named_commands

    command = next(named_commands(hint), None)
    assert command is not None, f"no command in: {hint}"
    words = accepted(command)
    assert words, f"this is no command: {command}"
    return words


@dataclass(frozen=True)
class Scenario:
    """`prints` are the templates that it shows. `run` builds the situation and follows the remedy."""

    name: str
    prints: tuple[str, ...]
    run: Callable[[Desk], None]
    marks: tuple[pytest.MarkDecorator, ...] = ()


def scenario(
    *prints: str, name: str | None = None, marks: tuple[pytest.MarkDecorator, ...] = ()
) -> Callable[[Callable[[Desk], None]], Callable[[Desk], None]]:
    """Enter the function in the table; its test gets the marks."""

    def enter(run: Callable[[Desk], None]) -> Callable[[Desk], None]:
        called = name or run.__name__
        assert called not in SCENARIOS, called
        SCENARIOS[called] = Scenario(called, prints, run, marks)
        return run

    return enter


def typed(line: str) -> list[str]:
    """The words of a command line."""
    return shlex.split(line)
