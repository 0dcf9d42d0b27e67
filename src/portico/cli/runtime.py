"""The composition root of a command: this machine's Portico, with a person at a terminal or with nobody there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from portico.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.cli.render import Output
    from portico.config.load import LoadedConfig
    from portico.errors import ConfigError
    from portico.interfaces.basics import Clock, Prompter
    from portico.secret import Secret

_MOST_WARNINGS: Final = 5


@dataclass(frozen=True, slots=True)
class Options:
    """The global options as they were given."""

    config: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False


class Runtime(Installation):
    """What a command handler gets: options, output, and the parts behind lazy attributes."""

    def __init__(
        self,
        program: str,
        options: Options | None = None,
        *,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        out: Output | None = None,
        prompter: Prompter | None = None,
    ) -> None:
        self.program = program
        self.options = options or Options()
        super().__init__(self.options.config, env, clock)
        self._given_out = out
        self._given_prompter = prompter

    @cached_property
    def out(self) -> Output:
        from portico.cli.render import Output, wants_color

        if self._given_out is not None:
            return self._given_out
        given = self.options
        color = wants_color(self.env, sys.stdout, no_color=given.no_color)
        return Output(json=given.json, quiet=given.quiet, verbose=given.verbose, color=color)

    @cached_property
    def prompter(self) -> Prompter:
        """Asks at the terminal; with `--json`, or without a terminal, nobody is asked."""
        from portico.cli.prompt import make_prompter
        from portico.cli.prompt_nobody import NonInteractive

        if self._given_prompter is not None:
            return self._given_prompter
        return NonInteractive() if self.options.json else make_prompter(env=self.env)

    def unattended(self) -> Runtime:
        """The same run with nobody to ask, as `--non-interactive` wants it."""
        from portico.cli.prompt_nobody import NonInteractive

        run = Runtime(self.program, self.options, env=self.env, clock=self.clock, out=self.out, prompter=NonInteractive())
        run.keyrings = self.keyrings
        return run

    async def read_line(self) -> str:
        """One line from the terminal; may be cancelled."""
        from portico.cli.read_line import read_line

        return await read_line()

    def warn(self, text: str) -> None:
        self.out.warn(text)

    def note(self, text: str) -> None:
        self.out.note(text)

    def tell_fault(self, fault: ConfigError) -> None:
        self.out.warn(f"{self.program}: {fault}\n  {fault.hint_for(self.program)}; this command does without it")

    def tell_problems(self, loaded: LoadedConfig) -> None:
        warnings = loaded.told_each_time
        shown, rest = warnings[:_MOST_WARNINGS], warnings[_MOST_WARNINGS:]
        for warning in shown:
            self.out.warn(f"{self.program}: {warning}")
        if rest:
            self.out.warn(f"{self.program}: {len(rest)} more warnings: see `{self.program} config validate`")

    def tell_exposed(self) -> None:
        """Warn of a config file that other users can change, for commands that read its text alone."""
        from portico.config.sources import exposed

        if "_loaded" not in self.__dict__:
            for warning in exposed((self.paths.config, self.paths.state)):
                self.out.warn(f"{self.program}: {warning}")

    def ask_passphrase(self, question: str) -> Secret | None:
        from portico.store.encrypted_file import FILE_ENV

        return self.prompter.secret(question, flag=f"the passphrase in {FILE_ENV}") if self.prompter.interactive else None

    def outside_emulator(self) -> Runtime:
        """The same run as in a shell that is not pointed at an emulator."""
        from portico.paths import CONFIG_ENV, EMULATOR_ENV, STATE_ENV

        home = self.env.get(EMULATOR_ENV)
        if home is None:
            return self
        env = {name: value for name, value in self.env.items() if name not in {CONFIG_ENV, EMULATOR_ENV}}
        return Runtime(
            self.program,
            self.options,
            env={**env, STATE_ENV: home},
            clock=self.clock,
            out=self.out,
            prompter=self._given_prompter,
        )

    def gateway_runs(self) -> bool:
        """Whether there is a gateway of this state folder, which has to be restarted to see a new configuration.

        One that does not answer just now, since it is busy or starts, is there as well.
        """
        if not self.paths.gateway.exists():
            return False
        from portico.gateway.control import status

        return status(self.paths)[0] != "stopped"
