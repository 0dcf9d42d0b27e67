"""New tokens that no store has taken yet. The ones before them are spent, so these are served from memory until one does."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.auth.held import Held
from portico.errors import LockBusy, StoreError, StoreUnknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.store.lock import FileLock
    from portico.store.profiles import Profile, ProfileIndex
    from portico.store.records import Tokens
    from portico.store.vault import Vault

_TRIES: Final = 3
_log = logging.getLogger(__name__)


class Overtaken(Exception):
    """A new sign-in or a sign-out came before `held` was stored, and wins."""

    def __init__(self, held: Held) -> None:
        super().__init__("overtaken")
        self.held = held


@dataclass(frozen=True, slots=True)
class Unstored:
    """At most one pair for each profile, and the refresh lock of each: kept, so that no other process sends the old token.

    `stored_as` maps the negative generation of each profile's last pair in memory to the one it was then stored under. Of an
    older pair it need not be known: whoever has a token of it has another one than the store.
    """

    vault: Vault
    index: ProfileIndex
    waiting: dict[str, Held] = field(default_factory=dict)
    locks: dict[str, FileLock] = field(default_factory=dict)
    failed: dict[str, StoreError | LockBusy] = field(default_factory=dict)
    stored_as: dict[int, int] = field(default_factory=dict)
    last_stored: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(-1, -1))

    def add(self, profile: Profile, tokens: Tokens) -> None:
        """Keep what a server has just given, in place of what waits."""
        self.waiting[profile.id] = Held(profile, replace(tokens, generation=next(self.numbers)))

    def get(self, profile_id: str) -> Held | None:
        """What waits; None where nothing does, and where a new sign-in or a sign-out has come first."""
        held = self.waiting.get(profile_id)
        if held is None:
            return None
        current = self.index.get(profile_id)
        return held if current is not None and current.generation == held.profile.generation else None

    def forget(self, profile_id: str) -> None:
        """Drop what waits: the server refuses it."""
        self.waiting.pop(profile_id, None)
        self.failed.pop(profile_id, None)

    def store(self, profile_id: str) -> Held | None:
        """Try to store what waits: the tokens to use now, from the store or still from memory; None where nothing waits.

        Raises:
            Overtaken: nothing waits any more.
        """
        held = self.waiting.get(profile_id)
        if held is None:
            return None
        try:
            stored = self._commit(held)
        except (StoreError, LockBusy) as error:
            if error.id == "generation-changed":
                self.forget(profile_id)
                raise Overtaken(held) from None
            if profile_id not in self.failed:
                _log.error("%s: new tokens are in memory only, and lost if this program ends: %s", profile_id, error)
            self.failed[profile_id] = error
            return held
        self.forget(profile_id)
        self.stored_as.pop(self.last_stored.get(profile_id, 0), None)
        self.last_stored[profile_id] = held.tokens.generation
        self.stored_as[held.tokens.generation] = stored.generation
        return Held(stored, replace(held.tokens, generation=stored.generation))

    def _commit(self, held: Held) -> Profile:
        """Store, and try again at once where it failed plainly: these may be the only copy."""
        generation = held.profile.generation
        for left in reversed(range(_TRIES)):
            try:
                return self.vault.commit(self._updated(held), held.tokens, expect_generation=generation)
            except StoreError as error:
                if not left or isinstance(error, StoreUnknown) or error.id == "generation-changed":
                    raise
        raise AssertionError("unreachable: the last try returned or raised")

    def _updated(self, held: Held) -> Profile:
        """The profile as it is now in the index, with what the refresh brought."""
        profile, new = self.index.get(held.profile.id), held.profile
        if profile is None or profile.generation != new.generation:
            raise StoreError("generation-changed", f"{new.id} was signed in anew, or signed out")
        assert held.tokens.renewal is not None  # noqa: S101 - only refreshes bring what waits here
        return profile.renewed(held.tokens.renewal)
