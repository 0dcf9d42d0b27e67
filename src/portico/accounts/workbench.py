"""What onboarding needs from the program around it; the composition root is one of these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TextIO

    from portico.auth.broker import TokenBroker
    from portico.config.load import LoadedConfig
    from portico.interfaces.authorization import FormPoster
    from portico.interfaces.basics import Clock, Prompter
    from portico.models.loader import ModelLoader
    from portico.net.client import HttpClient
    from portico.paths import Paths
    from portico.plugins.manager import PluginHost
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.records import StoreName
    from portico.store.token_store import LocalTokenStore, TokenStore


class Speaker(Protocol):
    """Where words go: results on stdout, remarks on stderr, one JSON object per step where JSON was asked for."""

    is_json: bool
    stderr: TextIO

    def line(self, text: str = "") -> None: ...

    def note(self, text: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def warn(self, text: str) -> None: ...

    def json(self, value: object) -> None: ...

    def event(self, event: Mapping[str, object]) -> None: ...

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None: ...


class Workbench(Protocol):
    """The parts of one run."""

    program: str
    env: Mapping[str, str]
    clock: Clock

    @property
    def paths(self) -> Paths: ...

    @property
    def out(self) -> Speaker: ...

    @property
    def prompter(self) -> Prompter: ...

    @property
    def config(self) -> LoadedConfig: ...

    @property
    def plugins(self) -> PluginHost: ...

    @property
    def token_store(self) -> TokenStore: ...

    @property
    def passphrase(self) -> PassphraseSource: ...

    def models(self) -> ModelLoader: ...

    def gateway_runs(self) -> bool: ...

    async def read_line(self) -> str:
        """One line from the terminal; may be cancelled."""
        ...

    def reload_config(self) -> LoadedConfig: ...

    def store_choice(self) -> StoreName | None:
        """The store that the configuration chooses for what is new."""
        ...

    def local_store(self, store: StoreName | None = None) -> LocalTokenStore: ...

    def http(self) -> HttpClient: ...

    def broker(self, http: FormPoster) -> TokenBroker: ...
