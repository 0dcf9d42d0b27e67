"""New tokens that no store has taken yet. The ones before them are spent, so these are served from memory until one does."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.errors import LockBusy, StoreError, StoreUnknown
from portico.store.profiles import OAuthProfile
from portico.store.token_store import GenerationChanged, ProfileTokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.store.profiles import Profile
    from portico.store.token_store import RefreshTurn, Tokens, TokenStore

_TRIES: Final = 3
_log = logging.getLogger(__name__)


class Overtaken(Exception):
    """A new sign-in or a sign-out came before `held` was stored, and wins."""

    def __init__(self, held: ProfileTokens) -> None:
        super().__init__("overtaken")
        self.held = held


@dataclass(frozen=True, slots=True)
class Unstored:
    """At most one token set for each profile, and the turn of its refresh: kept, so that nobody else sends the old token.

    `stored_as` maps the negative generation of each profile's last pair in memory to the one it was then stored under. Of an
    older pair it need not be known: whoever has a token of it has another one than the store.
    """

    store: TokenStore
    waiting: dict[str, ProfileTokens] = field(default_factory=dict)
    turns: dict[str, RefreshTurn] = field(default_factory=dict)
    failed: dict[str, StoreError | LockBusy] = field(default_factory=dict)
    stored_as: dict[int, int] = field(default_factory=dict)
    last_stored: dict[str, int] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(-1, -1))

    def add(self, profile: Profile, tokens: Tokens) -> None:
        """Keep what a server has just given, in place of what waits."""
        self.waiting[profile.id] = ProfileTokens(profile, replace(tokens, generation=next(self.numbers)))

    def get(self, profile_id: str) -> ProfileTokens | None:
        """What waits; None where nothing does, and where a new sign-in or a sign-out has come first."""
        held = self.waiting.get(profile_id)
        if held is None:
            return None
        current = self.store.get(profile_id)
        return held if current is not None and current.generation == held.profile.generation else None

    def forget(self, profile_id: str) -> None:
        """Drop what waits: the server refuses it."""
        self.waiting.pop(profile_id, None)
        self.failed.pop(profile_id, None)

    def try_store(self, profile_id: str) -> ProfileTokens | None:
        """Try to store what waits: the tokens to use now, from the store or still from memory; None where nothing waits.

        Raises:
            Overtaken: nothing waits any more.
        """
        held = self.waiting.get(profile_id)
        if held is None:
            return None
        try:
            stored = self._commit(held)
        except GenerationChanged:
            self.forget(profile_id)
            raise Overtaken(held) from None
        except (StoreError, LockBusy) as error:
            if profile_id not in self.failed:
                _log.error("%s: new tokens are in memory only, and lost if this program ends: %s", profile_id, error)
            self.failed[profile_id] = error
            return held
        self.forget(profile_id)
        self.stored_as.pop(self.last_stored.get(profile_id, 0), None)
        self.last_stored[profile_id] = held.tokens.generation
        self.stored_as[held.tokens.generation] = stored.generation
        return ProfileTokens(stored, replace(held.tokens, generation=stored.generation))

    def _commit(self, held: ProfileTokens) -> Profile:
        """Store, and try again at once where it failed plainly: these may be the only copy."""
        generation = held.profile.generation
        for left in reversed(range(_TRIES)):
            try:
                return self.store.commit(self._updated(held), held.tokens, expect_generation=generation)
            except StoreError as error:
                if not left or isinstance(error, (StoreUnknown, GenerationChanged)):
                    raise
        raise AssertionError("unreachable: the last try returned or raised")

    def _updated(self, held: ProfileTokens) -> Profile:
        """The profile as it is now, with what the refresh brought."""
        profile, new = self.store.get(held.profile.id), held.profile
        if not isinstance(profile, OAuthProfile) or profile.generation != new.generation:
            raise GenerationChanged("generation-changed", f"{new.id} was signed in anew, or signed out")
        assert held.tokens.renewal is not None  # noqa: S101 - only refreshes bring what waits here
        return profile.renewed(held.tokens.renewal)
