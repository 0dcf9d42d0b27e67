"""The token store: profiles and their credentials.

`TokenStore` is the interface; `LocalTokenStore` is this machine's implementation.

Code outside `store` uses only `TokenStore`. The interface mentions no slots, lock files or keyrings, so a store that several
machines share can implement it. Such a store has one secret for each profile, with its tokens, metadata and refresh journal,
and each change is a compare-and-set (OpenBao KV v2, https://openbao.org/api-docs/secret/kv/kv-v2/). Every implementation must
pass `tests/store/test_token_store.py`.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from portico.store.errors import TokensKeepChanging
from portico.store.profiles import ProfileIndex, current_record
from portico.store.records import ABSENT, MAX_ID_LENGTH, GenerationChanged, OAuthProfile, RecordLocation, Tokens
from portico.util.lock import named_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import TypedDict, Unpack

    from portico.paths import Paths
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.keyring import KeyringStore
    from portico.store.profiles import IndexDraft
    from portico.store.records import Failure, JournalEntry, Profile, StoreName
    from portico.store.vault import Vault
    from portico.util.files import CrashPoint
    from portico.util.lock import FileLock
    from portico.util.threads import Deadlines

    class StoreOptions(TypedDict, total=False):
        """The options of `Vault`, except the passphrase."""

        store: StoreName | None
        default_store: Callable[[], StoreName | None]
        env: Mapping[str, str] | None
        deadlines: Deadlines | None
        on_wait: Callable[[str], None] | None
        keyrings: list[KeyringStore] | None
        crash_point: CrashPoint
        asks: bool


__all__ = (
    "ABSENT",
    "MAX_ID_LENGTH",
    "GenerationChanged",
    "LocalTokenStore",
    "ProfileTokens",
    "RefreshTurn",
    "Snapshot",
    "TokenStore",
    "Tokens",
)

_READ_TRIES = 3
# How often `begin_refresh` tries the lock and calls `unless`. Both take microseconds.
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class ProfileTokens:
    """A profile and its tokens: the stored tokens, or newer tokens that are only in memory."""

    profile: Profile
    tokens: Tokens

    @property
    def account(self) -> OAuthProfile:
        """The profile as an `OAuthProfile`.

        Raises:
            TypeError: it is an API key.
        """
        if not isinstance(self.profile, OAuthProfile):
            raise TypeError(f"{self.profile.id} is a key")
        return self.profile

    @property
    def stored(self) -> bool:
        """Whether the store has these tokens."""
        return self.tokens.generation == self.profile.generation


class Snapshot(Protocol):
    """The profiles at one moment."""

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Every readable profile, in the order of the sign-ins."""

    @property
    def damaged(self) -> tuple[str, ...]:
        """The ids of unreadable profiles. They stay until you sign in again or sign out."""

    def get(self, id: str, /) -> Profile | None:
        """Return the profile `id`, or None if it does not exist.

        Raises:
            StoreError: `record-damaged`.
        """


class RefreshTurn(Protocol):
    """The right to send a profile's refresh token.

    Only one owner has this right at a time, among all processes that share the store.

    If the owner dies, it loses the right. Its journal entry stays, and warns the next owner that the token may be spent. A
    commit of new tokens removes the entry.
    """

    def note_sending(self, profile: Profile, entry: JournalEntry) -> Profile:
        """Write `entry` durably into the refresh journal, before the token is sent. Return the new profile.

        Raises:
            GenerationChanged: other tokens were stored meanwhile; nothing was written.
            StoreError, LockBusy: nothing was written.
        """

    def note_failure(self, profile: Profile, failure: Failure, entry: JournalEntry | None) -> None:
        """Store why the refresh of `profile`'s tokens failed, and the journal entry. If the tokens have changed, do nothing.

        Raises:
            StoreError, LockBusy: nothing was written.
        """

    def end(self) -> None:
        """Give up the right, so that others can refresh. A second call does nothing."""


class TokenStore(Protocol):
    """Stores profiles with their tokens. Blocking: call the methods from a thread, not from an event loop.

    Every method raises `StoreError` if the store cannot be read or written, and `LockBusy` if another writer keeps it busy.
    A profile's `generation` is its version: each commit gives it a number that was never used before.
    """

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that change whenever a profile changes, for watchers. Empty if a watcher must call the store instead."""

    def snapshot(self) -> Snapshot:
        """Return all profiles, without their tokens. Needs no keyring."""

    def profiles(self) -> tuple[Profile, ...]:
        """Return every readable profile, in the order of the sign-ins."""

    def get(self, profile_id: str) -> Profile | None:
        """Return the profile, or None if it does not exist.

        Raises:
            StoreError: also `record-damaged`.
        """

    def read(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """Return a profile and its tokens.

        With `to_refresh`, first finish the refresh of a dead owner, to return the newest tokens.

        Raises:
            SignInNeeded: `not-signed-in`.
        """

    def commit(
        self, profile: Profile, tokens: Tokens, *, expect_generation: int | None = None, may_move: bool = False
    ) -> Profile:
        """Store `tokens` and `profile` durably. Return the new profile.

        With `expect_generation`, only if the profile has that generation; `ABSENT`: only if it does not exist. With `may_move`,
        the tokens may move to the store for new tokens.

        Raises:
            GenerationChanged: the profile is not as expected; nothing was stored.
            StoreUnknown: the tokens may or may not be stored; the old tokens are still in force.
        """

    def update(self, profile_id: str, change: Callable[[Profile], Profile]) -> Profile | None:
        """Replace a profile by the result of `change`. Return the new profile, or None if the profile does not exist.

        `change` may be called again if another writer was faster.
        """

    def begin_refresh(
        self, profile_id: str, *, wait_s: float = 0.0, unless: Callable[[], bool] = lambda: False
    ) -> RefreshTurn | None:
        """Become the owner of the profile's refresh token. The turn of a dead owner has ended.

        While another owner has the turn, `unless` is called repeatedly. Return None when `unless` returns true.

        Raises:
            LockBusy: another owner had the turn for all of `wait_s` seconds.
        """

    def delete(
        self, profile_id: str, *, expect_generation: int | None = None, unfinished: Failure | None = None
    ) -> tuple[str, ...]:
        """Remove a profile and delete every copy of its tokens. Return what could not be deleted; `sweep` tries it again.

        With `unfinished`, a profile whose tokens could not be deleted stays, with this failure, so that `delete` can be called
        again.

        Raises:
            GenerationChanged: the profile is not of `expect_generation`; nothing was deleted.
        """

    def sweep(self) -> tuple[str, ...]:
        """Finish or delete the records of dead writers.

        Return the records that could not be deleted. Cheap if there are none.
        """

    def probe(self) -> object:
        """Check that new tokens can be stored: write, read back, delete. Call it before a browser opens.

        Raises:
            ConfigError: the config that chooses the store cannot be read.
        """


class LocalTokenStore:
    """The `TokenStore` of this machine: the profile index under its lock, and two slots for each profile's tokens (`Vault`).

    `location`, `last_store` and `next_store` are not in the interface; they are for this machine's keyring and files.
    """

    def __init__(self, paths: Paths, index: ProfileIndex, open_vault: Callable[[], Vault]) -> None:
        self._paths = paths
        self._index = index
        self._open_vault = open_vault
        self._open_lock = threading.Lock()
        self._cached_vault: Vault | None = None

    @property
    def _vault(self) -> Vault:
        """The vault. It is opened only once, because a reopened keyring may prompt its user again."""
        with self._open_lock:
            self._cached_vault = self._cached_vault or self._open_vault()
        return self._cached_vault

    @property
    def files(self) -> tuple[Path, ...]:
        """The index file."""
        return (self._index.path,)

    def snapshot(self) -> Snapshot:
        return self._index.view()

    def profiles(self) -> tuple[Profile, ...]:
        return self._index.profiles()

    def get(self, profile_id: str) -> Profile | None:
        return self._index.get(profile_id)

    def read(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """See `TokenStore.read`.

        Raises:
            StoreError: also `record-damaged`, and the errors of the keyring or the encrypted file.
        """
        for _ in range(_READ_TRIES):
            tokens = self._vault.read(profile_id, to_refresh=to_refresh)
            profile = self._index.get(profile_id)
            if profile is not None and profile.generation == tokens.generation:
                return ProfileTokens(profile, tokens)
        raise TokensKeepChanging(f"The tokens of {profile_id} keep changing.", hint="Run the command again.")

    def commit(
        self, profile: Profile, tokens: Tokens, *, expect_generation: int | None = None, may_move: bool = False
    ) -> Profile:
        """See `TokenStore.commit` and `Vault.commit`."""
        return self._vault.commit(profile, tokens, expect_generation=expect_generation, may_move=may_move)

    def update(self, profile_id: str, change: Callable[[Profile], Profile]) -> Profile | None:
        return self._index.update(profile_id, change)

    def begin_refresh(
        self, profile_id: str, *, wait_s: float = 0.0, unless: Callable[[], bool] = lambda: False
    ) -> RefreshTurn | None:
        """See `TokenStore.begin_refresh`. The turn is a lock file; the system releases it when its owner dies."""
        lock = refresh_lock(self._paths, profile_id)
        deadline = time.monotonic() + wait_s
        while not lock.try_acquire():
            if unless():
                return None
            if time.monotonic() >= deadline:
                raise lock.busy_error(wait_s)
            time.sleep(_POLL_S)
        return _LocalTurn(self._index, lock)

    def delete(
        self, profile_id: str, *, expect_generation: int | None = None, unfinished: Failure | None = None
    ) -> tuple[str, ...]:
        before = self._index.view().find(profile_id)
        undeleted = self._vault.delete(profile_id, expect_generation=expect_generation)
        if not undeleted or unfinished is None or before is None:
            return undeleted
        unfinished_profile = replace(before, failure=unfinished, journal_entry=None)

        def put_back(draft: IndexDraft) -> None:
            if draft.find(profile_id) is None:  # unless the user has signed in again during this call
                draft.put(unfinished_profile)

        self._index.edit(put_back)
        return undeleted

    def sweep(self) -> tuple[str, ...]:
        return self._vault.sweep()

    def probe(self) -> RecordLocation:
        """See `TokenStore.probe`. A store that works is remembered."""
        return self._vault.probe()

    def location(self, profile_id: str) -> RecordLocation:
        """Return the place of a profile's tokens.

        Raises:
            SignInNeeded: `not-signed-in`.
        """
        return self._vault.location(profile_id)

    def next_store(self, profile_id: str) -> StoreName:
        """Return the store for the profile's next commit: its own store, else the last store, else the keyring."""
        index = self._index.view()
        record = current_record(index, profile_id)
        if record is not None:
            return record.store
        return index.remembered.name if index.remembered is not None else "keyring"

    @property
    def last_store(self) -> StoreName | None:
        """The store of the last sign-in, None before the first one."""
        return self._index.store_name


def refresh_lock(paths: Paths, profile_id: str) -> FileLock:
    """Return the lock of a profile's refresh token. The lock is not taken yet."""
    return named_lock(paths.locks, "refresh", profile_id, what=f"the refresh of {profile_id}")


class _LocalTurn:
    def __init__(self, index: ProfileIndex, lock: FileLock) -> None:
        self._index = index
        self._lock = lock

    def note_sending(self, profile: Profile, entry: JournalEntry) -> Profile:
        updated = self._index.update(profile.id, _if_unchanged(profile, lambda now: replace(now, journal_entry=entry)))
        if updated is None or updated.generation != profile.generation:
            message = f"Newer tokens of {profile.id} were stored."
            raise GenerationChanged(message, hint="Run the command again.")
        return updated

    def note_failure(self, profile: Profile, failure: Failure, entry: JournalEntry | None) -> None:
        self._index.update(profile.id, _if_unchanged(profile, lambda now: replace(now, failure=failure, journal_entry=entry)))

    def end(self) -> None:
        self._lock.release()


def _if_unchanged(profile: Profile, change: Callable[[Profile], Profile]) -> Callable[[Profile], Profile]:
    """Return `change`, limited to a profile that still has the tokens of `profile`."""
    return lambda now: change(now) if now.generation == profile.generation else now


def local_token_store(
    paths: Paths,
    index: ProfileIndex | None = None,
    *,
    passphrase: Callable[[], PassphraseSource | None] = lambda: None,
    **options: Unpack[StoreOptions],
) -> LocalTokenStore:
    """Return the store of the state folder in `paths`, with `index` or the folder's own index.

    `passphrase` is called when tokens are first needed. `options` are the options of `Vault`.
    """
    own_index = ProfileIndex(paths) if index is None else index

    def open_vault() -> Vault:
        from portico.store.vault import Vault

        return Vault(paths, own_index, passphrase=passphrase(), **options)

    return LocalTokenStore(paths, own_index, open_vault)
