"""The app: the config, plugins, profiles, token store, output and prompts of one run, each made once, on first use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from portico.errors import ConfigError
from portico.terminal.output import LogOutput, Output, Streams, wants_color
from portico.util.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from portico.auth.broker import TokenBroker
    from portico.config.document import ConfigFile, Document
    from portico.config.load import LoadedConfig
    from portico.interfaces.authorization import FormPoster
    from portico.interfaces.basics import Clock, Prompter
    from portico.models.loader import ModelLoader
    from portico.net.client import HttpClient
    from portico.paths import Paths
    from portico.plugins.manager import PluginHost
    from portico.secret import Secret
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.keyring import KeyringStore
    from portico.store.profiles import ProfileIndex
    from portico.store.records import StoreName
    from portico.store.token_store import LocalTokenStore, TokenStore
    from portico.usage.history import History


class EmulatorEnded(ConfigError):
    """The environment of this shell points to an emulator that has ended."""

    id = "emulator-ended"

    def __init__(self) -> None:
        hint = (
            "Open a new shell to use the real provider, or start an emulator ({prog} emulator run) and: "
            'eval "$({prog} emulator env)"'
        )
        super().__init__("The emulator that this shell uses has ended.", hint=hint)


@dataclass(frozen=True, slots=True)
class Options:
    """The global options of a command. `config` is the path of `--config`."""

    config: str | None = None
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    no_color: bool = False


class App:
    """The parts of one run, behind lazy attributes.

    Args:
        program: the program's name, for hints.
        options: the global options of a command.
        env: the environment; None is that of `streams`.
        clock: None is the system's clock.
        out: None prints to `streams`.
        prompter: None prompts on the terminal.
        streams: standard input, output and error; None are the process's.
    """

    def __init__(
        self,
        program: str = "portico",
        options: Options | None = None,
        *,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        out: Output | None = None,
        prompter: Prompter | None = None,
        streams: Streams | None = None,
    ) -> None:
        self.program = program
        self.options = options or Options()
        self.config_file = self.options.config
        self._streams = streams or Streams()
        self.env: Mapping[str, str] = self._streams.env if env is None else env
        self.clock: Clock = clock or SystemClock()
        self._edited: ConfigFile | None = None
        self._own_out = out
        self._own_prompter = prompter

    @classmethod
    def without_terminal(cls, config_file: str | None, env: Mapping[str, str] | None, clock: Clock | None = None) -> App:
        """Make the app of a Python program or of a background process: notes and warnings go to the logger `portico`."""
        from portico.terminal.prompts import NonInteractive

        return cls(options=Options(config_file), env=env, clock=clock, out=LogOutput(), prompter=NonInteractive())

    @cached_property
    def out(self) -> Output:
        """Prints results, notes and warnings."""
        if self._own_out is not None:
            return self._own_out
        options = self.options
        streams = self._streams
        return Output(
            json=options.json,
            quiet=options.quiet,
            verbose=options.verbose,
            color=wants_color(self.env, streams.stdout, no_color=options.no_color),
            stdout=streams.stdout,
            stderr=streams.stderr,
            env=self.env,
        )

    @cached_property
    def prompter(self) -> Prompter:
        """Prompts on the terminal; with `--json`, or without a terminal, each prompt is an error."""
        from portico.terminal.prompts import JSON_ASKS_NOTHING, NonInteractive, make_prompter

        if self._own_prompter is not None:
            return self._own_prompter
        if self.options.json:
            return NonInteractive(JSON_ASKS_NOTHING)
        return make_prompter(stdin=self.stdin, stderr=self._streams.stderr, env=self.env)

    @property
    def stdin(self) -> TextIO:
        """Standard input."""
        return self._streams.stdin

    def unattended(self, why: str = "--non-interactive asks no questions") -> App:
        """Return the app of the same run without prompts; each prompt is an error that says `why`."""
        from portico.terminal.prompts import NonInteractive

        app = self._copy(self.env, NonInteractive(why))
        app.keyrings = self.keyrings
        return app

    def outside_emulator(self) -> App:
        """Return the app of the same run in the environment that the emulator's variables replaced."""
        from portico.paths import CONFIG_ENV, EMULATOR_ENV, STATE_ENV

        home = self.env.get(EMULATOR_ENV)
        if home is None:
            return self
        env = {name: value for name, value in self.env.items() if name not in {CONFIG_ENV, EMULATOR_ENV}}
        return self._copy({**env, STATE_ENV: home}, self._own_prompter)

    def _copy(self, env: Mapping[str, str], prompter: Prompter | None) -> App:
        return App(self.program, self.options, env=env, clock=self.clock, out=self.out, prompter=prompter, streams=self._streams)

    async def read_line(self) -> str:
        """Read one line from the terminal; can be cancelled."""
        from portico.terminal.read_line import read_line

        return await read_line(self.stdin)

    def ask_passphrase(self, question: str) -> Secret | None:
        """Ask the user for the passphrase of the encrypted file; None if the prompter is not interactive."""
        from portico.store.encrypted_file import FILE_ENV

        return self.prompter.secret(question, flag=f"the passphrase in {FILE_ENV}") if self.prompter.interactive else None

    @cached_property
    def paths(self) -> Paths:
        """The files and folders of this run.

        Raises:
            ConfigError: `no-home`: a path needs a home folder, and the system knows none.
            EmulatorEnded: the environment points to an emulator that has ended.
        """
        from portico.paths import EMULATOR_ENV, no_home, resolve_paths

        try:
            paths = resolve_paths(self.config_file, self.env)
        except (RuntimeError, OSError) as exc:
            raise no_home(str(exc)) from exc
        if not (paths.config.is_absolute() and paths.state.is_absolute()):
            raise no_home("HOME is not set and this user has no home folder.")
        if EMULATOR_ENV in self.env and not paths.state.parent.exists():
            raise EmulatorEnded
        return paths

    @cached_property
    def config(self) -> LoadedConfig:
        """The config, with its base and `models.json`.

        Raises:
            ConfigError: the config file, its base or `models.json` cannot be read or used.
        """
        if self._loaded.fault is not None:
            raise self._loaded.fault
        return self._loaded

    @cached_property
    def settings(self) -> LoadedConfig:
        """As `config`, but a base or `models.json` that cannot be used is only a warning.

        This is for values that do not depend on the base or `models.json`.

        Raises:
            ConfigError: the config file cannot be read or used.
        """
        if self._loaded.fault is not None:
            self.warn_of_fault(self._loaded.fault)
        return self._loaded

    @cached_property
    def _loaded(self) -> LoadedConfig:
        if self._edited is not None:  # the text is in memory, and the warnings have been shown
            from portico.config.load import checked

            return checked(self._edited, self.paths, self.env)
        loaded = self._load_config()
        self.warn_of_problems(loaded)
        return loaded

    def warn_of_fault(self, fault: ConfigError) -> None:
        """Warn that the base or `models.json` cannot be used."""
        hint = fault.hint_for(self.program)
        self.out.config_warning(self.program, str(fault), "; ".join(filter(None, [hint, "this command ignores it"])))

    def warn_of_problems(self, loaded: LoadedConfig) -> None:
        """Warn of the problems in the config that stop no command."""
        warnings = loaded.shown_warnings
        most = self.out.most_warnings or len(warnings)
        for warning in warnings[:most]:
            self.out.config_warning(self.program, str(warning))
        if warnings[most:]:
            self.out.warn(f"{self.program}: {len(warnings[most:])} more warnings: run `{self.program} config validate`")

    def warn_if_exposed(self) -> None:
        """Warn of a config file that other users can change, after a command that only reads or edits its text."""
        from portico.config.sources import exposed_files

        if "_loaded" not in self.__dict__ and self._edited is None:
            for warning in exposed_files((self.paths.config, self.paths.state)):
                self.out.warn(f"{self.program}: {warning}")

    def refuse_missing_config(self) -> None:
        """Refuse a `--config` file that does not exist; only `config set` makes one.

        Raises:
            ConfigNotFound: the file does not exist.
        """
        if self.config_file is not None and not os.path.lexists(self.paths.config):
            from portico.config.document import ConfigNotFound

            hint = "Check the path; `{prog} config set KEY VALUE` makes a new file."
            raise ConfigNotFound(f"There is no config file at {self.paths.config}.", hint=hint)

    def reload_config(self, *, look_for_plugins: bool = False) -> LoadedConfig:
        """Read the config again, which another program may have changed; with `look_for_plugins` search for plugins again too.

        Raises:
            ConfigError: as `settings`.
        """
        if look_for_plugins:
            self.__dict__.pop("_first_host", None)
        loaded = self._load_config()
        # Replace the config before the objects derived from it are dropped, so another thread always finds a loaded config.
        self.__dict__["_loaded"] = loaded
        self._forget_config()
        return loaded

    def edit_config(self, change: Callable[[Document], Document], *, private: bool = False, strict: bool = True) -> bool:
        """Edit the config file as `ConfigFile.edit` does, and use the new config from now on; True if the file changed.

        With `strict` a base or `models.json` that cannot be used is an error, as for `config`; else a warning, as for `settings`.

        Raises:
            ConfigError, LockBusy: as `ConfigFile.edit`, `config` and `settings`.
        """
        file = (self.config if strict else self.settings).file
        changed = file.edit(change, private=private)
        self._edited = file
        self.__dict__.pop("_loaded", None)
        self._forget_config()
        return changed

    def _forget_config(self) -> None:
        for stale in ("config", "settings", "plugins"):
            self.__dict__.pop(stale, None)

    @cached_property
    def plugins(self) -> PluginHost:
        """The plugins, enabled as in the present config. A run searches for plugins only once."""
        return self._first_host.for_config(self.settings.config.plugins)

    @cached_property
    def _first_host(self) -> PluginHost:
        from portico.plugins.manager import PluginHost

        return PluginHost(self.settings.config.plugins, paths=self.paths, env=self.env)

    def models(self) -> ModelLoader:
        """Make the loader of models, for the present config, plugins, profiles and environment."""
        from portico.models.loader import ModelLoader

        loaded = self.config
        return ModelLoader(
            loaded.config,
            self.plugins.providers(),
            self.token_store.profiles(),
            loaded.env,
            corrections=loaded.corrections,
            switched_off=self.plugins.providers_off(),
        )

    @cached_property
    def token_store(self) -> TokenStore:
        """The profiles and their tokens."""
        return self.local_store()

    def history(self, *, batch_s: float = 0.0) -> History | None:
        """Open the history of requests, which the caller closes; None if the config turns it off."""
        from portico.usage.history import History

        if not self.settings.config.history:
            return None
        return History(self.paths, clock=self.clock, warn=self.out.warn, batch_s=batch_s)

    def http(self) -> HttpClient:
        """Make an HTTP client, an async context manager."""
        from portico.net.client import HttpClient

        return HttpClient(env=self.env, clock=self.clock)

    def broker(self, http: FormPoster, *, store: TokenStore | None = None) -> TokenBroker:
        """Make the broker that refreshes the tokens of `store`, by default the token store of this run."""
        from portico.auth.broker import TokenBroker

        store = store or self.token_store
        return TokenBroker(store=store, dialects=self.plugins.dialect, http=http, clock=self.clock, paths=self.paths)

    def store_choice(self) -> StoreName | None:
        """Return the store that the config chooses for new profiles; None means the last store that worked.

        Raises:
            ConfigError: the config file cannot be read or used.
        """
        return self.settings.config.auth.store

    def local_store(
        self,
        store: StoreName | None = None,
        *,
        paths: Paths | None = None,
        default_store: Callable[[], StoreName | None] | None = None,
        passphrase: PassphraseSource | None = None,
        on_wait: Callable[[str], None] | None = None,
        keyrings: list[KeyringStore] | None = None,
    ) -> LocalTokenStore:
        """Make the token store of this machine. New profiles go to `store`, else to the store that the config chooses.

        All stores of a run share its keyrings, because opening a keyring again may prompt the user again. `on_wait` is called
        when a keyring waits for the user; the default prints a note. `paths`, `default_store`, `passphrase` and `keyrings`
        replace those of the run.
        """
        from portico.store.token_store import local_token_store

        return local_token_store(
            paths or self.paths,
            self._index if paths is None else None,
            store=store,
            default_store=default_store or self.store_choice,
            passphrase=lambda: passphrase or self.passphrase,
            env=self.env,
            on_wait=on_wait or self.out.note,
            keyrings=self.keyrings if keyrings is None else keyrings,
        )

    @cached_property
    def _index(self) -> ProfileIndex:
        from portico.store.profiles import ProfileIndex

        return ProfileIndex(self.paths)

    @cached_property
    def keyrings(self) -> list[KeyringStore]:
        """The keyrings that the stores of this run have opened."""
        return []

    @cached_property
    def passphrase(self) -> PassphraseSource:
        """The passphrase of the encrypted file; the user is asked only once."""
        from portico.store.encrypted_file import PassphraseSource

        return PassphraseSource(self.env, self.ask_passphrase)

    def _load_config(self) -> LoadedConfig:
        from portico.config.load import load_config

        self.refuse_missing_config()
        return load_config(self.paths, self.env)

    def gateway_runs(self) -> bool:
        """Whether a gateway of this state folder is running, even if it is too busy to answer.

        The gateway must restart to use a new config.
        """
        if not self.paths.gateway.exists():
            return False
        from portico.services.gateway_state import status

        return status(self.paths)[0] != "stopped"
