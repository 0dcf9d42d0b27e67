"""What a check has found, and the installation as the checks see it: what can be read, whatever else is broken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from portico.errors import PorticoError
from portico.usage.plan import plan_accounts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from portico.app import App
    from portico.config.load import LoadedConfig
    from portico.models.loader import ModelLoader
    from portico.store.keyring import KeyringStore
    from portico.store.records import Profile, StoreName
    from portico.store.token_store import LocalTokenStore
    from portico.usage.plan import PlanAccount

Level = Literal["error", "warning"]
Status = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `why` is why it matters, `hint` what to do, with `{prog}` for the program's name.

    `fix` does it, if that is safe without asking, and returns what it did.
    """

    id: str
    level: Level
    message: str
    why: str | None = None
    hint: str | None = None
    fix: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """What a check looked at, in a few words: a path, the accounts, the model that would answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a check had nothing to look at."""

    why: str


Outcome = Finding | Examined | Skipped


@dataclass(frozen=True, slots=True)
class Check:
    """One part of an installation to look at. `run` may block, for as long as it is given."""

    id: str
    label: str
    run: Callable[[CheckContext], Iterable[Outcome]]


def of_error(error: PorticoError, *, level: Level = "error", why: str | None = None) -> Finding:
    """What an operation that failed says."""
    where = f" ({error.where})" if error.where else ""
    return Finding(error.id, level, f"{error.message}{where}", why or error.why, error.hint)


class CheckContext:
    """`app`, part by part; a part is None, or empty, if it cannot be read, which its own check reports."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._with_store: set[str] = set()
        self._has_asked = False
        self._keyrings: list[KeyringStore] = []

    def store(self, check: str, store: StoreName | None = None) -> LocalTokenStore:
        """The token store for a check, which may take as long as the user needs if the keyring asks something."""
        self._with_store.add(check)
        return self.app.local_store(store, on_wait=self._wait, keyrings=self._keyrings)

    def is_asking(self, check: str) -> bool:
        """Whether a keyring has asked the user something for the check, or for one that is before it at the same keyring."""
        return self._has_asked and check in self._with_store

    def _wait(self, text: str) -> None:
        self._has_asked = True
        self.app.out.note(text)

    @cached_property
    def config(self) -> LoadedConfig | None:
        """The configuration."""
        try:
            return self.app.config
        except PorticoError:
            return None

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        """The sign-ins and stored keys."""
        try:
            return tuple(self.app.token_store.profiles())
        except PorticoError:
            return ()

    @cached_property
    def models(self) -> ModelLoader | None:
        """Names and models."""
        try:
            return self.app.models() if self.config is not None else None
        except PorticoError:
            return None

    @cached_property
    def has_key(self) -> bool:
        """Whether a provider has a key without any sign-in: from the environment or from the configuration."""
        if self.models is None:
            return False
        providers = self.models.catalog.providers.values()
        return any(each.key is not None for provider in providers for each in self.models.credentials.for_provider(provider))

    @cached_property
    def accounts(self) -> tuple[PlanAccount, ...]:
        """Whose plan can be asked about."""
        if self.models is None:
            return ()
        try:
            return plan_accounts(self.models, self.app.plugins.plan_readers(), self.profiles)
        except PorticoError:
            return ()
