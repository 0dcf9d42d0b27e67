"""The composition root: every part of Portico, wired once and only when a command asks for it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from portico.clock import SystemClock
from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.auth.broker import TokenBroker
    from portico.cli.render import Output
    from portico.config.layers import LoadedConfig
    from portico.contracts import Clock, FormPoster, Prompter
    from portico.oauth.client import OAuthClient
    from portico.paths import Paths
    from portico.plugins.manager import PluginHost
    from portico.secret import Secret
    from portico.store.passphrase import PassphraseSource
    from portico.store.profile_record import StoreName
    from portico.store.profiles import ProfileIndex
    from portico.store.vault import Vault


@dataclass(frozen=True, slots=True)
class Options:
    """The global options as they were given."""

    config: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False


class Runtime:
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
        self.env: Mapping[str, str] = os.environ if env is None else env
        self.clock: Clock = clock or SystemClock()
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
        from portico.cli.prompt import NonInteractive, make_prompter

        if self._given_prompter is not None:
            return self._given_prompter
        return NonInteractive() if self.options.json else make_prompter()

    def unattended(self) -> Runtime:
        """The same run with nobody to ask, as `--non-interactive` wants it."""
        from portico.cli.prompt import NonInteractive

        return Runtime(self.program, self.options, env=self.env, clock=self.clock, out=self.out, prompter=NonInteractive())

    async def read_line(self) -> str:
        """One line from the terminal; may be cancelled."""
        from portico.cli.prompt import read_line

        return await read_line()

    @cached_property
    def paths(self) -> Paths:
        """Where everything is.

        Raises:
            ConfigError: no home folder is known and no folder was named.
        """
        from portico.paths import EMULATOR_ENV, resolve_paths

        try:
            paths = resolve_paths(self.options.config, self.env)
        except (RuntimeError, OSError) as exc:
            raise _no_home(str(exc)) from exc
        if not (paths.config.is_absolute() and paths.state.is_absolute()):
            raise _no_home("HOME is not set and this user has no home folder.")
        if EMULATOR_ENV in self.env and not paths.state.parent.exists():
            raise _emulator_ended()
        return paths

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

    @cached_property
    def config(self) -> LoadedConfig:
        loaded = self._load_config()
        for warning in loaded.file.warnings():
            self.out.warn(f"{self.program}: {warning}")
        return loaded

    def refuse_missing_config(self) -> None:
        """A file that `--config` names has to be there, unless the command makes it.

        Raises:
            ConfigError: `config-not-found`.
        """
        if self.options.config is not None and not os.path.lexists(self.paths.config):
            hint = "Mind its spelling; `{prog} config set` makes a new one."
            raise ConfigError("config-not-found", f"There is no configuration at {self.paths.config}.", hint=hint)

    def reload_config(self) -> LoadedConfig:
        """Read the configuration again, after it was edited; the plugin host is made anew with it."""
        self.__dict__["config"] = loaded = self._load_config()
        self.__dict__.pop("plugins", None)
        return loaded

    @cached_property
    def plugins(self) -> PluginHost:
        from portico.plugins.manager import PluginHost

        return PluginHost(self.config.config.plugins, paths=self.paths, env=self.env)

    @cached_property
    def index(self) -> ProfileIndex:
        from portico.store.profiles import ProfileIndex

        return ProfileIndex(self.paths)

    def gateway_runs(self) -> bool:
        """Whether a gateway of this state folder is running, and so has to be restarted to see a new configuration."""
        if not self.paths.gateway.exists():
            return False
        from portico.gateway.service import running

        return running(self.paths) is not None

    def http(self) -> OAuthClient:
        """A client for token endpoints: an async context manager, for one command's run."""
        from portico.oauth.client import OAuthClient

        return OAuthClient(clock=self.clock)

    def broker(self, http: FormPoster, *, store: StoreName | None = None) -> TokenBroker:
        """The owner of refresh, over this runtime's vault and plugins."""
        from portico.auth.broker import TokenBroker

        return TokenBroker(
            vault=self.vault(store),
            index=self.index,
            dialects=self.plugins.dialect,
            http=http,
            clock=self.clock,
            paths=self.paths,
        )

    def vault(self, store: StoreName | None = None) -> Vault:
        """The door to the secrets, in the named store or in the one that a profile says."""
        from portico.store.vault import Vault

        return Vault(self.paths, self.index, store=store, passphrase=self.passphrase, env=self.env, on_wait=self.out.note)

    @cached_property
    def passphrase(self) -> PassphraseSource:
        """The sealed file store's passphrase, asked once."""
        from portico.store.passphrase import FILE_ENV, PassphraseSource

        def ask(question: str) -> Secret:
            return self.prompter.secret(question, flag=f"the passphrase in {FILE_ENV}")

        return PassphraseSource(self.env, ask if self.prompter.interactive else None)

    def _load_config(self) -> LoadedConfig:
        from portico.config.layers import load_config

        self.refuse_missing_config()
        return load_config(self.paths, self.env)


def _emulator_ended() -> ConfigError:
    hint = 'Start one and run `eval "$({prog} emulator env)"` again, or use a new shell for the real thing.'
    return ConfigError("emulator-ended", "The emulator that this shell was pointed at has ended.", hint=hint)


def _no_home(why: str) -> ConfigError:
    hint = "Set HOME, or set PORTICO_CONFIG and PORTICO_STATE_DIR."
    return ConfigError("no-home", "Portico does not know where its files are.", why=why, hint=hint)
