"""Findings, and the parts of the installation that the checks need: each part is read even if others are broken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeVar

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

T = TypeVar("T")
Level = Literal["error", "warning"]
Status = Literal["ok", "warning", "error", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem: why it matters, and what to do (`hint`, with `{prog}` for the program's name).

    `fix` is set if the problem can be fixed safely without a prompt; it returns a description of the fix.
    """

    id: str
    level: Level
    message: str
    why: str | None = None
    hint: str | None = None
    fix: Callable[[], str] | None = None


@dataclass(frozen=True, slots=True)
class Examined:
    """What a check looked at, in a few words, such as a path."""

    text: str


@dataclass(frozen=True, slots=True)
class Skipped:
    """Why a check had nothing to check."""

    why: str


Outcome = Finding | Examined | Skipped


@dataclass(frozen=True, slots=True)
class Check:
    """A check of one part of an installation. `run` may block, because it has its own thread and a time limit."""

    id: str
    label: str
    run: Callable[[CheckContext], Iterable[Outcome]]


def of_error(error: PorticoError, *, level: Level = "error", why: str | None = None) -> Finding:
    """Return the finding for an error."""
    where = f" ({error.where})" if error.where else ""
    return Finding(error.id, level, f"{error.message}{where}", why or error.why, error.hint)


class CheckContext:
    """The parts of `app`; a part that cannot be read is None or empty, and another check reports this."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._with_store: set[str] = set()
        self._has_prompted = False
        self._keyrings: list[KeyringStore] = []

    def store(self, check: str, store: StoreName | None = None) -> LocalTokenStore:
        """Return the token store for a check. The check gets more time if the keyring prompts the user."""
        self._with_store.add(check)
        return self.app.local_store(store, on_wait=self._on_wait, keyrings=self._keyrings)

    def is_prompting(self, check: str) -> bool:
        """Whether a keyring has prompted the user, and `check` uses it."""
        return self._has_prompted and check in self._with_store

    def _on_wait(self, text: str) -> None:
        self._has_prompted = True
        self.app.out.note(text)

    @cached_property
    def config(self) -> LoadedConfig | None:
        return _unless_error(lambda: self.app.config, None)

    @cached_property
    def profiles(self) -> tuple[Profile, ...]:
        return _unless_error(lambda: tuple(self.app.token_store.profiles()), ())

    @cached_property
    def models(self) -> ModelLoader | None:
        return _unless_error(self.app.models, None) if self.config is not None else None

    @cached_property
    def has_key(self) -> bool:
        """Whether the environment or the config has a key of a provider."""
        if self.models is None:
            return False
        providers = self.models.catalog.providers.values()
        return any(each.key is not None for provider in providers for each in self.models.credentials.for_provider(provider))

    @cached_property
    def accounts(self) -> tuple[PlanAccount, ...]:
        """The accounts whose plan can be read."""
        if (models := self.models) is None:
            return ()
        return _unless_error(lambda: plan_accounts(models, self.app.plugins.plan_readers(), self.profiles), ())


def _unless_error(read: Callable[[], T], default: T) -> T:
    try:
        return read()
    except PorticoError:
        return default
