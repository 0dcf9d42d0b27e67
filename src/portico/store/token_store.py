"""Where the credentials of profiles are kept, with what is known about each: the seam, and this machine's own store behind it.

Everybody above `store` goes through `TokenStore`. It says nothing of slots, lock files or a keyring, so that a store for several
machines can stand behind it: one secret for each profile that holds tokens, metadata and refresh journal, every change of it a
compare-and-set (OpenBao KV v2, https://openbao.org/api-docs/secret/kv/kv-v2/). `tests/store/test_token_store.py` is what every
implementation has to pass.
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
        """The options of `Vault`, but for the passphrase."""

        store: StoreName | None
        usual: Callable[[], StoreName | None]
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
# Between two looks at the lock and at what `unless` looks at, which cost some microseconds.
_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class ProfileTokens:
    """A profile and its tokens: those of the store, of the profile's generation, or newer ones that are in memory only."""

    profile: Profile
    tokens: Tokens

    @property
    def account(self) -> OAuthProfile:
        """The profile, which is an account's: nobody refreshes a key.

        Raises:
            TypeError: it is a key's.
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
        """Every profile that can be understood, in the order they were signed in."""
        ...

    @property
    def damaged(self) -> tuple[str, ...]:
        """The ids of those that cannot be understood; they stay until they are signed in again or out."""
        ...

    def get(self, id: str, /) -> Profile | None:
        """The profile `id`, None where there is none.

        Raises:
            StoreError: `record-damaged`.
        """
        ...


class RefreshTurn(Protocol):
    """The right to send a profile's refresh token. One owner has it at a time, among all that share the store.

    An owner that dies loses it. Its journal entry stays in the profile, and tells the next owner that the token may be
    spent. The commit of new tokens takes the entry out; of a refresh that failed, `note_failure` says what is to stay.
    """

    def note_sending(self, profile: Profile, entry: JournalEntry) -> Profile:
        """Write `entry` into the refresh journal, durably, before the token is sent; the profile as it now is.

        Raises:
            GenerationChanged: other tokens were stored meanwhile; nothing was written.
            StoreError, LockBusy: it could not be written.
        """
        ...

    def note_failure(self, profile: Profile, failure: Failure, entry: JournalEntry | None) -> None:
        """Note why a refresh of `profile`'s tokens failed, and what the journal is to say from now on; nothing if they changed.

        Raises:
            StoreError, LockBusy: it could not be written.
        """
        ...

    def end(self) -> None:
        """Let others refresh. Ending a turn twice does nothing."""
        ...


class TokenStore(Protocol):
    """Blocking: call it from a thread, not from an event loop.

    Every method raises `StoreError` where the store cannot be read or written, and `LockBusy` where another writer keeps it busy.
    A profile's `generation` is its version: each commit gives it a new one, which no profile ever had before.
    """

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that change whenever a profile does, for those who watch; empty if the store has to be asked."""
        ...

    def snapshot(self) -> Snapshot:
        """All profiles, without their tokens. Needs no keyring."""
        ...

    def profiles(self) -> tuple[Profile, ...]:
        """Every profile that can be understood, in the order they were signed in."""
        ...

    def get(self, profile_id: str) -> Profile | None:
        """The profile, None where there is none.

        Raises:
            StoreError: also `record-damaged`.
        """
        ...

    def read(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """A profile with its tokens; with `to_refresh` surely the newest, since what a dead owner had written is finished first.

        Raises:
            SignInNeeded: `not-signed-in`.
        """
        ...

    def commit(self, profile: Profile, tokens: Tokens, *, expect_generation: int | None = None, anew: bool = False) -> Profile:
        """Store `tokens` durably, with `profile` as what is known about them; the profile as it now is.

        With `expect_generation`, only if the profile is of that generation; `ABSENT`: only if there is none. With `anew` the
        tokens may move to the place that new ones go to.

        Raises:
            GenerationChanged: the profile is not as expected; nothing was stored.
            StoreUnknown: it is not known whether they were stored; the old tokens still are the profile's.
        """
        ...

    def update(self, profile_id: str, change: Callable[[Profile], Profile]) -> Profile | None:
        """Replace what is known about a profile by what `change` makes of it as it is now; None where there is no such profile.

        `change` may be called again, if another writer came in between.
        """
        ...

    def begin_refresh(
        self, profile_id: str, *, wait_s: float = 0.0, unless: Callable[[], bool] = lambda: False
    ) -> RefreshTurn | None:
        """Become the one who may send the profile's refresh token. A dead owner's turn is over.

        While another owner has the turn, `unless` is asked now and then whether it is still wanted; None as soon as it is not.

        Raises:
            LockBusy: another owner had the turn for all of `wait_s` seconds.
        """
        ...

    def delete(
        self, profile_id: str, *, expect_generation: int | None = None, unfinished: Failure | None = None
    ) -> tuple[str, ...]:
        """Forget a profile and delete every copy of its tokens; what could not be deleted, for `sweep` to try again.

        With `unfinished`, a profile of which something is left stays, with this failure, so that it can be deleted again.

        Raises:
            GenerationChanged: the profile is not of `expect_generation`; nothing was deleted.
        """
        ...

    def sweep(self) -> tuple[str, ...]:
        """Finish or delete what dead writers have left; what could not be deleted. Cheap where nothing was left."""
        ...

    def probe(self) -> object:
        """Show that new tokens can be kept: write, read back, delete. Before a browser opens.

        Raises:
            ConfigError: the config that chooses the store cannot be read.
        """
        ...


class LocalTokenStore:
    """`TokenStore` on this machine: the profile index under its lock, and two slots for each profile's tokens (`Vault`).

    `location`, `last_store` and `next_store` are about this machine's own keyring and files, for those who choose between them
    or show them: the sign-in, `auth list`, `gateway key`, `doctor`.
    """

    def __init__(self, paths: Paths, index: ProfileIndex, open_vault: Callable[[], Vault]) -> None:
        self._paths = paths
        self._index = index
        self._open_vault = open_vault
        self._opening = threading.Lock()
        self._opened: Vault | None = None

    @property
    def _vault(self) -> Vault:
        """Opened by the first who needs tokens, and once, since a keyring that is opened again may ask its user again."""
        with self._opening:
            self._opened = self._opened or self._open_vault()
        return self._opened

    @property
    def files(self) -> tuple[Path, ...]:
        """The index file."""
        return (self._index.path,)

    def snapshot(self) -> Snapshot:
        """See `TokenStore.snapshot`."""
        return self._index.view()

    def profiles(self) -> tuple[Profile, ...]:
        """See `TokenStore.profiles`."""
        return self._index.profiles()

    def get(self, profile_id: str) -> Profile | None:
        """See `TokenStore.get`."""
        return self._index.get(profile_id)

    def read(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """See `TokenStore.read`.

        Raises:
            StoreError: also `record-damaged`, and what the keyring or the encrypted file adds.
        """
        for _ in range(_READ_TRIES):
            tokens = self._vault.read(profile_id, to_refresh=to_refresh)
            profile = self._index.get(profile_id)
            if profile is not None and profile.generation == tokens.generation:
                return ProfileTokens(profile, tokens)
        raise TokensKeepChanging(f"the tokens of {profile_id} keep changing", hint="run the command again")

    def commit(self, profile: Profile, tokens: Tokens, *, expect_generation: int | None = None, anew: bool = False) -> Profile:
        """See `TokenStore.commit` and `Vault.commit`."""
        return self._vault.commit(profile, tokens, expect_generation=expect_generation, anew=anew)

    def update(self, profile_id: str, change: Callable[[Profile], Profile]) -> Profile | None:
        """See `TokenStore.update`."""
        return self._index.update(profile_id, change)

    def begin_refresh(
        self, profile_id: str, *, wait_s: float = 0.0, unless: Callable[[], bool] = lambda: False
    ) -> RefreshTurn | None:
        """See `TokenStore.begin_refresh`. The turn is a lock file's, which the system releases when its owner dies."""
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
        """See `TokenStore.delete`."""
        before = next((profile for profile in self._index.profiles() if profile.id == profile_id), None)
        undeleted = self._vault.delete(profile_id, expect_generation=expect_generation)
        if not undeleted or unfinished is None or before is None:
            return undeleted
        unfinished_profile = replace(before, failure=unfinished, journal_entry=None)

        def put_back(draft: IndexDraft) -> None:
            if all(profile.id != profile_id for profile in draft.profiles):  # nobody has signed in anew meanwhile
                draft.put(unfinished_profile)

        self._index.edit(put_back)
        return undeleted

    def sweep(self) -> tuple[str, ...]:
        """See `TokenStore.sweep`."""
        return self._vault.sweep()

    def probe(self) -> RecordLocation:
        """See `TokenStore.probe`; the store that worked is remembered."""
        return self._vault.probe()

    def location(self, profile_id: str) -> RecordLocation:
        """Where the tokens of a profile lie.

        Raises:
            SignInNeeded: `not-signed-in`.
        """
        return self._vault.location(profile_id)

    def next_store(self, profile_id: str) -> StoreName:
        """The store that a commit of this profile goes to if none is chosen: its own, the last one, the keyring."""
        index = self._index.view()
        record = current_record(index, profile_id)
        if record is not None:
            return record.store
        return index.remembered.name if index.remembered is not None else "keyring"

    @property
    def last_store(self) -> StoreName | None:
        """The store that worked at the last sign-in, None before the first one."""
        return self._index.store_name


def refresh_lock(paths: Paths, profile_id: str) -> FileLock:
    """The lock that stands for a turn with a profile's refresh token; not taken yet."""
    return named_lock(paths.locks, "refresh", profile_id, what=f"the refresh of {profile_id}")


class _LocalTurn:
    def __init__(self, index: ProfileIndex, lock: FileLock) -> None:
        self._index = index
        self._lock = lock

    def note_sending(self, profile: Profile, entry: JournalEntry) -> Profile:
        updated = self._index.update(profile.id, _if_unchanged(profile, lambda now: replace(now, journal_entry=entry)))
        if updated is None or updated.generation != profile.generation:
            message = f"newer tokens of {profile.id} were stored"
            raise GenerationChanged(message, hint="run the command again")
        return updated

    def note_failure(self, profile: Profile, failure: Failure, entry: JournalEntry | None) -> None:
        self._index.update(profile.id, _if_unchanged(profile, lambda now: replace(now, failure=failure, journal_entry=entry)))

    def end(self) -> None:
        self._lock.release()


def _if_unchanged(profile: Profile, change: Callable[[Profile], Profile]) -> Callable[[Profile], Profile]:
    """`change`, if the profile still has the tokens that it has in `profile`."""
    return lambda now: change(now) if now.generation == profile.generation else now


def local_token_store(
    paths: Paths,
    index: ProfileIndex | None = None,
    *,
    passphrase: Callable[[], PassphraseSource | None] = lambda: None,
    **options: Unpack[StoreOptions],
) -> LocalTokenStore:
    """The store of the state folder in `paths`, over an index that is open already, or its own.

    `passphrase` is called when tokens are needed; the other options are those of `Vault`.
    """
    own_index = ProfileIndex(paths) if index is None else index

    def open_vault() -> Vault:
        from portico.store.vault import Vault

        return Vault(paths, own_index, passphrase=passphrase(), **options)

    return LocalTokenStore(paths, own_index, open_vault)
