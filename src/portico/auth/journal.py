"""The refresh journal: a note in the index that a refresh token is about to be sent, written before it is sent.

It stands in the profile's index entry (`fence`) and goes in the very write that points at the new tokens. A process that finds
one holds the refresh lock, and so knows that its writer is gone or has given up: the token may be spent. It is then tried once
more, at once, since servers that rotate tokens take the last one again for some seconds; an error after that is known for a
lost answer. An outage that swallows answers looks the same, so the token is sent again after 1, 5, 30 and then every 60
minutes, without end: only the server's word ends a profile.

`PendingTokens` has new tokens that no store has taken yet. The ones before them are spent, so these are served from memory until
one does.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.errors import LockBusy, StoreError, StoreUnknown
from portico.store.records import JournalEntry, OAuthProfile, fingerprint
from portico.store.token_store import GenerationChanged, ProfileTokens
from portico.util.clock import BOOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.secret import Secret
    from portico.store.records import Profile
    from portico.store.token_store import RefreshTurn, Tokens, TokenStore

# Sends of one token within some seconds: for so long many servers forgive another use, and a network takes to come back.
IMMEDIATE_SENDS: Final = 3
_RESEND_AFTER_S: Final = (60.0, 300.0, 1800.0, 3600.0)


def find_entry(profile: Profile, refresh: Secret) -> JournalEntry | None:
    """The note that `refresh` was sent before, None where it was not."""
    entry = profile.journal_entry
    if entry is None or entry.generation != profile.generation or entry.token != fingerprint(refresh):
        return None
    return entry


def resend_wait_s(entry: JournalEntry) -> float | None:
    """Seconds until a token whose answers were lost is sent again; None while it is sent at once."""
    resends = entry.sends - IMMEDIATE_SENDS
    return None if resends < 0 else _RESEND_AFTER_S[min(resends, len(_RESEND_AFTER_S) - 1)]


def new_entry(profile: Profile, refresh: Secret, now_ms: int) -> JournalEntry:
    """The note that `refresh` is being sent by this process, counting earlier sends."""
    previous = find_entry(profile, refresh)
    return JournalEntry(
        generation=profile.generation,
        token=fingerprint(refresh),
        started_at=now_ms if previous is None else previous.started_at,
        sends=1 if previous is None else previous.sends + 1,
        pid=os.getpid(),
        boot_id=BOOT,
        sent_at=now_ms,
    )


def describe_entry(entry: JournalEntry) -> str:
    """Who sent the token and when, for a person."""
    sender = f"process {entry.pid}" if entry.boot_id == BOOT else f"process {entry.pid}, before this machine was started"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started_at / 1000))
    return f"sent at {at} by {sender}"


_COMMIT_ATTEMPTS: Final = 3
_log = logging.getLogger(__name__)


class ProfileReplaced(Exception):
    """A new sign-in or a sign-out came before `profile_tokens` were stored, and wins."""

    def __init__(self, profile_tokens: ProfileTokens) -> None:
        super().__init__("overtaken")
        self.profile_tokens = profile_tokens


@dataclass(frozen=True, slots=True)
class PendingTokens:
    """At most one token set for each profile, and the turn of its refresh: kept, so that no other process sends the old token.

    `stored_as` maps the negative generation of each profile's last pair in memory to the one it was then stored under. Of an
    older pair it need not be known: a caller with a token of it has another one than the store.
    """

    store: TokenStore
    by_profile: dict[str, ProfileTokens] = field(default_factory=dict)
    turns: dict[str, RefreshTurn] = field(default_factory=dict)
    errors: dict[str, StoreError | LockBusy] = field(default_factory=dict)
    stored_as: dict[int, int] = field(default_factory=dict)
    last_stored: dict[str, int] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(-1, -1))

    def add(self, profile: Profile, tokens: Tokens) -> None:
        """Keep what a server has just given, in place of what waits."""
        self.by_profile[profile.id] = ProfileTokens(profile, replace(tokens, generation=next(self.generations)))

    def get(self, profile_id: str) -> ProfileTokens | None:
        """What waits; None where nothing does, and where a new sign-in or a sign-out has come first."""
        profile_tokens = self.by_profile.get(profile_id)
        if profile_tokens is None:
            return None
        current = self.store.get(profile_id)
        return profile_tokens if current is not None and current.generation == profile_tokens.profile.generation else None

    def read(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """The profile and its tokens, pending or stored; with `to_refresh` surely the newest.

        Raises:
            SignInNeeded: `not-signed-in`.
            StoreError: the store failed.
            LockBusy: `to_refresh`, and another process is storing newer ones.
        """
        return self.get(profile_id) or self.store.read(profile_id, to_refresh=to_refresh)

    def forget(self, profile_id: str) -> None:
        """Drop what waits: the server refuses it."""
        self.by_profile.pop(profile_id, None)
        self.errors.pop(profile_id, None)

    def try_store(self, profile_id: str) -> ProfileTokens | None:
        """Try to store what waits: the tokens to use now, from the store or still from memory; None where nothing waits.

        Raises:
            ProfileReplaced: nothing waits any more.
        """
        profile_tokens = self.by_profile.get(profile_id)
        if profile_tokens is None:
            return None
        try:
            stored = self._commit(profile_tokens)
        except GenerationChanged:
            self.forget(profile_id)
            raise ProfileReplaced(profile_tokens) from None
        except (StoreError, LockBusy) as error:
            if profile_id not in self.errors:
                _log.error("%s: new tokens are in memory only, and lost if this program ends: %s", profile_id, error)
            self.errors[profile_id] = error
            return profile_tokens
        self.forget(profile_id)
        self.stored_as.pop(self.last_stored.get(profile_id, 0), None)
        self.last_stored[profile_id] = profile_tokens.tokens.generation
        self.stored_as[profile_tokens.tokens.generation] = stored.generation
        return ProfileTokens(stored, replace(profile_tokens.tokens, generation=stored.generation))

    def _commit(self, profile_tokens: ProfileTokens) -> Profile:
        """Store, and try again at once where it failed plainly: these may be the only copy."""
        generation = profile_tokens.profile.generation
        for attempts_left in reversed(range(_COMMIT_ATTEMPTS)):
            try:
                return self.store.commit(
                    self._renewed_profile(profile_tokens), profile_tokens.tokens, expect_generation=generation
                )
            except StoreError as error:
                if not attempts_left or isinstance(error, (StoreUnknown, GenerationChanged)):
                    raise
        raise AssertionError("unreachable: the last try returned or raised")

    def _renewed_profile(self, profile_tokens: ProfileTokens) -> Profile:
        """The profile as it is now, with what the refresh brought."""
        profile, refreshed = self.store.get(profile_tokens.profile.id), profile_tokens.profile
        if not isinstance(profile, OAuthProfile) or profile.generation != refreshed.generation:
            raise GenerationChanged(f"{refreshed.id} was signed in anew, or signed out")
        assert profile_tokens.tokens.renewal is not None  # noqa: S101 - only refreshes bring what waits here
        return profile.renewed(profile_tokens.tokens.renewal)
