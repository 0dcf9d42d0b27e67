"""The refresh journal: an entry in the profile index, written before a refresh token is sent.

The entry (`fence` in the index file) says: this token may be spent. It is removed by the same write that points the profile at
the new tokens. So an owner that takes the refresh lock and finds an entry knows that an earlier owner sent the token, and died
or gave up before it stored a response.

The new owner sends the token again at once, because servers that rotate tokens accept the last one again for some seconds. If
the server rejects it now, the response was lost, and the profile has ended. If no response arrives, this may be an outage: the
token is sent again after 1, 5, 30 and then every 60 minutes. Only the server's response ends a profile.

`PendingTokens` has new tokens that no store has accepted yet. The tokens before them are spent, so the new ones are served from
memory until a store accepts them.
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

# How often a token is sent at once: many servers forgive another use for some seconds, and networks often return within them.
IMMEDIATE_SENDS: Final = 3
_RESEND_AFTER_S: Final = (60.0, 300.0, 1800.0, 3600.0)


def find_entry(profile: Profile, refresh: Secret) -> JournalEntry | None:
    """Return the journal entry of `refresh`, or None if this token was not sent before."""
    entry = profile.journal_entry
    if entry is None or entry.generation != profile.generation or entry.token != fingerprint(refresh):
        return None
    return entry


def resend_wait_s(entry: JournalEntry) -> float | None:
    """Return the seconds from the last send until the token is sent again; None: at once."""
    resends = entry.sends - IMMEDIATE_SENDS
    return None if resends < 0 else _RESEND_AFTER_S[min(resends, len(_RESEND_AFTER_S) - 1)]


def new_entry(profile: Profile, refresh: Secret, now_ms: int) -> JournalEntry:
    """Return the journal entry for sending `refresh` now, from this process. It counts earlier sends."""
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
    """Return when the token was sent first and which process sent it last, as text."""
    sender = f"process {entry.pid}" if entry.boot_id == BOOT else f"process {entry.pid}, before this machine was restarted"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started_at / 1000))
    return f"sent at {at} by {sender}"


_COMMIT_ATTEMPTS: Final = 3
_log = logging.getLogger(__name__)


class ProfileReplaced(Exception):
    """A sign-in or sign-out was faster than the store of `profile_tokens`, and takes precedence."""

    def __init__(self, profile_tokens: ProfileTokens) -> None:
        super().__init__(profile_tokens.profile.id)
        self.profile_tokens = profile_tokens


@dataclass(frozen=True, slots=True)
class PendingTokens:
    """At most one pending token set per profile, with its refresh turn, so that no other process sends the old token.

    Pending tokens have negative generations. `stored_as` maps the last one of each profile to the generation that it was later
    stored as.
    """

    store: TokenStore
    by_profile: dict[str, ProfileTokens] = field(default_factory=dict)
    turns: dict[str, RefreshTurn] = field(default_factory=dict)
    errors: dict[str, StoreError | LockBusy] = field(default_factory=dict)
    stored_as: dict[int, int] = field(default_factory=dict)
    last_stored: dict[str, int] = field(default_factory=dict)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(-1, -1))

    def add(self, profile: Profile, tokens: Tokens) -> None:
        """Add the tokens that a server has just issued, in place of earlier pending ones."""
        self.by_profile[profile.id] = ProfileTokens(profile, replace(tokens, generation=next(self.generations)))

    def get(self, profile_id: str) -> ProfileTokens | None:
        """Return the pending tokens, or None if there are none, or a sign-in or sign-out was faster."""
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
        """Drop the pending tokens."""
        self.by_profile.pop(profile_id, None)
        self.errors.pop(profile_id, None)

    def try_store(self, profile_id: str) -> ProfileTokens | None:
        """Try to store the pending tokens. Return the tokens to use now, stored or not; None if nothing is pending.

        Raises:
            ProfileReplaced: a sign-in or sign-out was faster; nothing is pending any more.
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
        """Commit the tokens, with retries after clear failures: this may be the only copy."""
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
        """Return the profile as it is now, with the changes of the refresh."""
        profile, refreshed = self.store.get(profile_tokens.profile.id), profile_tokens.profile
        if not isinstance(profile, OAuthProfile) or profile.generation != refreshed.generation:
            raise GenerationChanged(f"{refreshed.id} was signed in again, or signed out.")
        assert profile_tokens.tokens.renewal is not None  # noqa: S101 - only refreshes bring pending tokens
        return profile.renewed(profile_tokens.tokens.renewal)
