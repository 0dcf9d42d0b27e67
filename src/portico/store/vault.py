"""The vault: stores token sets so that a crash at any moment loses no tokens.

Each profile has two slots, `a` and `b`, in its store. Its index entry points at one of them. A commit:

1. lists both slots as leftovers in the index (a leftover is deleted unless the entry points at it);
2. writes the new record into the idle slot and reads it back;
3. points the entry at that slot;
4. deletes the old slot and clears the list.

If the process dies before step 3, the old tokens are in force; after step 3, the new tokens. The next process deletes the other
slot, because it is listed. A keychain may delete a record before it adds a new one, or keep copies; both do no harm.

If a process dies during a refresh, between steps 2 and 3, the rule differs. The old refresh token is spent, so the new record
must not be deleted, and the next process does step 3 (`finish_refresh`). It recognises such a record by two numbers: the
generation that the record replaces (`Renewal.replaces`), and the generation whose refresh the journal notes. Both must be the
profile's generation. Step 3 is left out in two cases: the journal entry is for the new record's own refresh token (a process
has sent that token from memory), or a terminal failure has ended the profile.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.errors import LockBusy, StoreError, StoreUnknown
from portico.secret import Secret
from portico.store.errors import (
    KeyringLocked,
    KeyringNotOpen,
    KeyringTimeout,
    KeyringUnknown,
    NotSignedIn,
    PromptDismissed,
    RecordDamaged,
    RecordMissing,
    StateNewer,
    StoreForgetful,
    StoreKeyLost,
)
from portico.store.profiles import (
    FILE_COMMAND,
    IndexDraft,
    ProfileIndex,
    current_record,
    note_intent,
    remove_profile,
    sign_in_again,
)
from portico.store.records import (
    ABSENT,
    MAX_ID_LENGTH,
    SERVICE,
    GenerationChanged,
    Leftover,
    OAuthProfile,
    Profile,
    RecordLocation,
    RecordStore,
    Slot,
    StoreName,
    Tokens,
    decode_record,
    encode_record,
    fingerprint,
    record_user,
)
from portico.util.files import no_crash_point
from portico.util.lock import named_lock
from portico.util.threads import Deadlines

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from portico.paths import Paths
    from portico.store.encrypted_file import PassphraseSource
    from portico.store.keyring import KeyringStore
    from portico.store.records import RecordMatch
    from portico.util.files import CrashPoint
    from portico.util.lock import FileLock


def unfinished_refresh(draft: IndexDraft, profile_id: str) -> Leftover | None:
    """Return the slot that may hold the tokens of an unfinished refresh, or None if no refresh is unfinished."""
    profile = draft.find(profile_id)
    if profile is None or profile.journal_entry is None or profile.journal_entry.generation != profile.generation:
        return None
    if profile.has_ended:
        return None
    live = current_record(draft, profile_id)
    location = (profile_id, profile.store, profile.backend)
    others = (leftover for leftover in draft.leftovers if leftover != live)
    return next((each for each in others if (each.profile, each.store, each.backend) == location), None)


def finish_refresh(draft: IndexDraft, written: Leftover, tokens: Tokens) -> None:
    """Point the profile at `tokens` in slot `written`, if they are the result of its unfinished refresh."""
    profile, renewal = draft.get(written.profile), tokens.renewal
    if (
        not isinstance(profile, OAuthProfile)
        or profile.journal_entry is None
        or renewal is None
        or renewal.replaces != profile.generation
    ):
        return
    if tokens.refresh is not None and profile.journal_entry.token == fingerprint(tokens.refresh):
        return
    finished = replace(
        profile.renewed(renewal),
        slot=written.slot,
        generation=tokens.generation,
        expires_at=tokens.expires_at,
        has_refresh=tokens.refresh is not None,
    )
    draft.put(finished)


COMMIT_CRASH_POINTS: Final = ("intent", "written", "verified", "flipped", "deleted", "cleared")
DELETE_CRASH_POINTS: Final = ("forgotten", "deleted", "cleared")
_READ_TRIES: Final = 5
# Another process may have the lock while its keyring prompts its user. The user of this process does not see this prompt.
_MAX_LOCK_WAIT_S: Final = 60.0
_LOCK_MARGIN_S: Final = 15.0
# After one of these errors, the same operation opens no further prompt.
_PROMPT_ENDED: Final = (PromptDismissed, KeyringTimeout, KeyringUnknown)
_PROBE: Final = "probe"


class Vault:
    """Reads, commits and deletes the tokens of profiles. Blocking: call it from a thread, not from an event loop.

    A commit uses the first known store of these: `store` (the user's choice), the profile's own store, `default_store()` (from
    the config), the store of the last sign-in, the keyring. A read uses only the profile's own store. `passphrase` opens the
    encrypted file. `keyrings` lists the keyrings that other vaults of this run have opened. With `asks` False, a keyring that
    this vault opens does not prompt its user.
    """

    def __init__(
        self,
        paths: Paths,
        index: ProfileIndex,
        *,
        store: StoreName | None = None,
        default_store: Callable[[], StoreName | None] = lambda: None,
        passphrase: PassphraseSource | None = None,
        env: Mapping[str, str] | None = None,
        deadlines: Deadlines | None = None,
        on_wait: Callable[[str], None] | None = None,
        keyrings: list[KeyringStore] | None = None,
        crash_point: CrashPoint = no_crash_point,
        asks: bool = True,
    ) -> None:
        self._asks = asks
        self._paths = paths
        self._index = index
        self._chosen_store = store
        self._default_store = default_store
        self._passphrase = passphrase
        self._env = os.environ if env is None else env
        self._deadlines = deadlines or Deadlines()
        self._on_wait = on_wait
        self._keyrings = [] if keyrings is None else keyrings
        self._crash_point = crash_point
        self._stores: dict[tuple[StoreName, str | None], RecordStore] = {}
        self._probed: RecordStore | None = None

    def probe(self) -> RecordLocation:
        """Write, read back and delete a record in the chosen store, and remember the store. Call it before a browser opens.

        Raises:
            StoreError: the store does not work.
            ConfigError: raised by `default_store`.
        """
        remembered = self._index.view().remembered
        name = self._chosen_store or self._default_store() or (remembered.name if remembered else "keyring")
        store = self._store(name, None)
        user = record_user(_PROBE, _PROBE, self._paths.state_id)
        value = Secret(secrets.token_urlsafe(24))
        with self._locked(_PROBE):
            store.set(user, value)
            read_back = store.get(user, lambda copy: copy == value)
            with contextlib.suppress(KeyringLocked):  # another database may have an older copy, but a probe record is harmless
                store.delete(user)
        if read_back != value:
            raise _not_read_back_error(store)
        self._index.remember_store(store.name, store.backend)
        self._probed = store
        with contextlib.suppress(StoreError, LockBusy):
            self.sweep()
        return RecordLocation(store.name, store.backend, SERVICE, user)

    def location(self, profile_id: str) -> RecordLocation:
        """Return where the tokens of a profile are.

        Raises:
            SignInNeeded: the profile does not exist.
            StoreError: the index cannot be read.
        """
        profile, slot = self._require_profile(profile_id)
        return self._location(profile.store, profile.backend, profile_id, slot)

    def read(self, profile_id: str, *, to_refresh: bool = False) -> Tokens:
        """Return the tokens of a profile.

        With `to_refresh`, first finish the refresh of a killed process, to return the newest tokens.

        Raises:
            SignInNeeded: the profile does not exist.
            StoreError: the index or the store failed, or the record is missing or damaged.
            LockBusy: with `to_refresh`, another process is storing tokens of this profile.
        """
        tokens: Tokens | None = None
        for _ in range(_READ_TRIES):
            if to_refresh:
                self._finish_refresh(profile_id)
            profile, slot = self._require_profile(profile_id)
            location = self._location(profile.store, profile.backend, profile_id, slot)
            try:
                tokens = self._read_record(profile, location)
            except (KeyringLocked, KeyringNotOpen):
                if self._index.get(profile_id) == profile:
                    raise
                continue  # another process has moved the pointer and deleted this record
            if tokens is not None and tokens.generation == profile.generation:
                self._clean_after_read(profile)
                return tokens
            if self._index.get(profile_id) == profile:
                break  # the pointer has not moved, so the record is missing
        raise RecordMissing(
            f"The tokens of {profile_id} are no longer in the store.",
            why=f"{location}: {'no record' if tokens is None else 'a record of another generation'}",
            hint=f"Sign in again: {sign_in_again(profile)}",
        )

    def commit(
        self, profile: Profile, tokens: Tokens, *, expect_generation: int | None = None, may_move: bool = False
    ) -> Profile:
        """Store `tokens` durably, point `profile`'s index entry at them, and delete the old tokens. Return the new entry.

        With `expect_generation`, do this only if the profile still has this generation; with `ABSENT`, only if the profile does
        not exist. With `may_move`, `default_store` comes before the profile's own store.

        Raises:
            GenerationChanged: the profile is not as expected; nothing was stored.
            StoreError: nothing was stored.
            StoreUnknown: a write timed out; the old tokens are still in force.
            LockBusy: another process is storing tokens of this profile.
            ConfigError: raised by `default_store`; nothing was stored.
            ValueError: the id is longer than `MAX_ID_LENGTH` characters, or not printable.
        """
        _check_id(profile.id)
        with self._locked(profile.id):
            self._try_discard(profile.id, _Prompts(allowed=False))
            current = self._index.view().find(profile.id)
            _check_generation(profile.id, current, expect_generation)
            store = self._store_for(current, may_move=may_move)
            slot: Slot = "b" if current is not None and current.slot == "a" else "a"
            new = Leftover(profile.id, store.name, store.backend, slot)
            generation = self._index.edit(lambda draft: note_intent(draft, new))
            self._crash_point("intent")
            new_profile = replace(
                profile,
                store=store.name,
                backend=store.backend,
                slot=slot,
                generation=generation,
                expires_at=tokens.expires_at,
                has_refresh=tokens.refresh is not None,
            )
            self._write(store, new_profile, slot, encode_record(new_profile, tokens))
            self._index.edit(lambda draft: draft.put(new_profile))
            self._crash_point("flipped")
            self._try_discard(profile.id, _Prompts())
            return new_profile

    def delete(self, profile_id: str, *, expect_generation: int | None = None) -> tuple[str, ...]:
        """Remove a profile and delete every copy of its tokens. Return what could not be deleted; `sweep` tries it again.

        With `expect_generation`, do this only if the profile still has this generation.

        Raises:
            GenerationChanged: the profile is not as expected; nothing was deleted.
            StoreError: the index cannot be read or written.
            LockBusy: another process is storing tokens of this profile.
        """
        with self._locked(profile_id):
            index = self._index.view()
            _check_generation(profile_id, index.find(profile_id), expect_generation)
            written = {*index.leftovers, current_record(index, profile_id)}
            self._index.edit(lambda draft: remove_profile(draft, profile_id))
            self._crash_point("forgotten")
            return self._discard(profile_id, _Prompts(), written=written if None not in written else None)

    def sweep(self) -> tuple[str, ...]:
        """Finish or delete the records of killed or timed-out writes.

        Return the records that could not be deleted. Cheap if there are none.

        Raises:
            StoreError: the index cannot be read or written.
        """
        stuck: list[str] = []
        prompts = _Prompts()
        for profile_id in dict.fromkeys(leftover.profile for leftover in self._index.view().leftovers):
            lock = self._lock(profile_id)
            if not lock.try_acquire():
                continue  # a commit is running, and cleans up itself
            try:
                stuck += self._collect(profile_id, prompts)
            finally:
                lock.release()
        return tuple(stuck)

    def _read_record(self, profile: Profile, location: RecordLocation) -> Tokens | None:
        try:
            matches = _of_generation(profile.generation, location)
            value = self._store(profile.store, profile.backend).get(location.user, matches)
            return None if value is None else decode_record(value, location)
        except StoreError as error:
            _add_sign_in_hint(error, profile)
            raise

    def _clean_after_read(self, profile: Profile) -> None:
        """Finish or delete the records of killed writes of `profile` in the store that has just answered."""
        location = (profile.id, profile.store, profile.backend)
        if all((leftover.profile, leftover.store, leftover.backend) != location for leftover in self._index.view().leftovers):
            return
        lock = self._lock(profile.id)
        with contextlib.suppress(StoreError, LockBusy):
            if lock.try_acquire():
                try:
                    self._collect(profile.id, _Prompts(allowed=False))
                finally:
                    lock.release()

    def _collect(self, profile_id: str, prompts: _Prompts) -> tuple[str, ...]:
        """Finish a killed refresh and delete the other leftovers.

        Return what could not be deleted. The caller has the profile's lock.
        """
        try:
            self._adopt_written(profile_id)
        except StoreError as error:
            return (str(error),)  # the record may be the newest one: keep it
        return self._discard(profile_id, prompts)

    def _finish_refresh(self, profile_id: str) -> None:
        """Finish the refresh of a killed process, if there is one. If another process is doing this, wait."""
        if unfinished_refresh(self._index.view(), profile_id) is not None:
            with self._locked(profile_id):
                self._adopt_written(profile_id)

    def _adopt_written(self, profile_id: str) -> None:
        """Point the profile at the record of its unfinished refresh. The caller has the profile's lock."""
        draft = self._index.view()
        written, profile = unfinished_refresh(draft, profile_id), draft.get(profile_id)
        if written is None or profile is None:
            return
        location = self._location(written.store, written.backend, profile_id, written.slot)
        try:
            tokens = self._read_complete_record(location, profile.generation)
        except StoreError as error:
            _add_sign_in_hint(error, profile)
            raise
        if tokens is not None:
            self._index.edit(lambda draft: finish_refresh(draft, written, tokens))

    def _read_complete_record(self, location: RecordLocation, replaces: int) -> Tokens | None:
        """Return the tokens at this place.

        If there are several copies, return the copy that a refresh made from generation `replaces`.
        """
        try:
            value = self._store(location.store, location.backend).get(
                location.user, _of_generation(replaces, location, renewed=True)
            )
        except KeyringNotOpen:
            return None  # the kill may have come before the write; then the old record is read next, and its error must be seen
        try:
            return None if value is None else decode_record(value, location)
        except RecordDamaged:
            return None  # the write was incomplete

    def _write(self, store: RecordStore, profile: Profile, slot: Slot, record: Secret) -> None:
        user = record_user(profile.id, slot, self._paths.state_id)
        try:
            store.set(user, record)
            self._crash_point("written")
            if store.get(user, lambda copy: copy == record) != record:
                raise _not_read_back_error(store)
            self._crash_point("verified")
        except StoreUnknown:
            raise
        except StoreError:
            self._try_discard(profile.id, _Prompts(allowed=False))
            raise

    def _try_discard(self, profile_id: str, prompts: _Prompts) -> None:
        """Delete leftovers as far as possible. A commit does not depend on this; `sweep` deletes the rest."""
        with contextlib.suppress(StoreError, LockBusy):
            self._discard(profile_id, prompts)

    def _discard(
        self, profile_id: str, prompts: _Prompts, *, written: Collection[Leftover | None] | None = None
    ) -> tuple[str, ...]:
        """Delete the profile's leftovers but not its current tokens. Return what could not be deleted.

        The caller has the profile's lock. `written`: the only records that, as far as is known, were ever written.
        """
        draft = self._index.view()
        leftovers = [leftover for leftover in draft.leftovers if leftover.profile == profile_id]
        if not leftovers:
            return ()
        current_slot, current = current_record(draft, profile_id), draft.get(profile_id)
        deleted, stuck = set(), []
        for leftover in leftovers:
            location = self._location(leftover.store, leftover.backend, profile_id, leftover.slot)
            # This slot is in use again. So only an older copy may be deleted, in a database that was closed at the first
            # deletion.
            keep = _of_generation(current.generation, location) if current is not None and leftover == current_slot else None
            try:
                self._delete_record(location, keep, prompts)
            except StoreError as error:
                if isinstance(error, KeyringNotOpen) and written is not None and leftover not in written:
                    deleted.add(leftover)
                elif keep is None:
                    stuck.append(f"{location}: {error}")
                continue
            deleted.add(leftover)
            if keep is None:
                self._crash_point("deleted")
        if not deleted:
            return tuple(stuck)

        def clear(draft: IndexDraft) -> None:
            draft.leftovers = tuple(leftover for leftover in draft.leftovers if leftover not in deleted)

        self._index.edit(clear, durable=False)
        self._crash_point("cleared")
        return tuple(stuck)

    def _delete_record(self, location: RecordLocation, keep: RecordMatch | None, prompts: _Prompts) -> None:
        store = self._store(location.store, location.backend)
        if store.has_pending_call:
            raise KeyringUnknown("An earlier call to the keyring is still running.")
        try:
            store.delete(location.user, keep=keep, ask=prompts.allowed)
        except StoreError as error:
            prompts.allowed = prompts.allowed and not isinstance(error, _PROMPT_ENDED)
            raise

    def _require_profile(self, profile_id: str) -> tuple[Profile, Slot]:
        profile = self._index.get(profile_id)
        if profile is None or profile.slot is None:
            hint = "Sign in: {prog} onboard" if profile is None else f"Sign in again: {sign_in_again(profile)}"
            raise NotSignedIn(f"{profile_id} is not signed in.", hint=hint)
        return profile, profile.slot

    def _store_for(self, current: Profile | None, *, may_move: bool) -> RecordStore:
        """Return the store for new tokens (see the class)."""
        if self._probed is not None:
            return self._probed
        current_profile = current if current is not None and current.slot is not None else None
        name = self._chosen_store or (self._default_store() if current_profile is None or may_move else None)
        if current_profile is not None and name in {None, current_profile.store}:
            return self._store(current_profile.store, current_profile.backend)
        remembered = self._index.view().remembered
        if remembered is not None and name in {None, remembered.name}:
            return self._store(remembered.name, remembered.backend)
        return self._store(name or "keyring", None)

    def _store(self, name: StoreName, backend: str | None) -> RecordStore:
        known = self._stores.get((name, backend))
        if known is None:
            known = self._stores[name, backend] = self._open(name, backend)
        return known

    def _open(self, name: StoreName, backend: str | None) -> RecordStore:
        if name == "file":
            from portico.store.encrypted_file import EncryptedFileStore, PassphraseSource

            return EncryptedFileStore(self._paths, self._passphrase or PassphraseSource(self._env), crash_point=self._crash_point)
        from portico.store.encrypted_file import LongRecordStore
        from portico.store.keyring import KeyringStore

        lock = self._paths.locks / "keyring.lock"
        keyring = KeyringStore(
            backend, env=self._env, deadlines=self._deadlines, on_wait=self._on_wait, lock=lock, asks=self._asks
        )
        return LongRecordStore(
            keyring.same_or_new(self._keyrings),
            self._paths.encrypted_records,
            may_encrypt=self._chosen_store != "keyring",
            crash_point=self._crash_point,
        )

    def _location(self, store: StoreName, backend: str | None, profile_id: str, slot: Slot) -> RecordLocation:
        return RecordLocation(store, backend, SERVICE, record_user(profile_id, slot, self._paths.state_id))

    def _lock(self, profile_id: str) -> FileLock:
        return named_lock(self._paths.locks, "vault", profile_id, what=f"the tokens of {profile_id}")

    @contextlib.contextmanager
    def _locked(self, profile_id: str) -> Iterator[None]:
        lock = self._lock(profile_id)
        lock.acquire(min(self._deadlines.prompt_s, _MAX_LOCK_WAIT_S) + _LOCK_MARGIN_S)
        try:
            yield
        finally:
            lock.release()


@dataclass(slots=True)
class _Prompts:
    """Whether a keyring may still open a prompt during a clean-up."""

    allowed: bool = True


def _of_generation(generation: int, location: RecordLocation, *, renewed: bool = False) -> RecordMatch:
    """Return a function that matches a record of `generation`; with `renewed`, a record that a refresh made from `generation`."""

    def matches(value: Secret) -> bool:
        try:
            tokens = decode_record(value, location)
        except StoreError as error:
            return isinstance(error, StateNewer)
        if renewed:
            return tokens.renewal is not None and tokens.renewal.replaces == generation
        return tokens.generation == generation

    return matches


def _add_sign_in_hint(error: StoreError, profile: Profile) -> None:
    """Add the command that signs `profile` in again to the hint. The code that found the error knows only the record."""
    command = sign_in_again(profile)
    if isinstance(error, RecordDamaged):
        error.hint = f"Sign in again: {command}"
    elif isinstance(error, StoreKeyLost):
        error.hint = f"Put it back from a backup, or sign in again: {command}"
    elif isinstance(error, KeyringNotOpen):
        error.hint = f"{error.hint} If the record is lost, sign in again: {command}"
    elif error.hint is not None:
        error.hint = error.hint.replace(FILE_COMMAND, f"{command} --store file")


def _check_id(profile_id: str) -> None:
    if not profile_id or not profile_id.isprintable() or len(profile_id) > MAX_ID_LENGTH:
        raise ValueError(f"a profile's id is 1 to {MAX_ID_LENGTH} printable characters")


def _check_generation(profile_id: str, current: Profile | None, expected: int | None) -> None:
    actual = ABSENT if current is None else current.generation
    if expected is None or actual == expected:
        return
    why = f"expected generation {expected or 'none'}, found {actual or 'none'}"
    raise GenerationChanged(f"Newer tokens of {profile_id} were stored.", why=why)


def _not_read_back_error(store: RecordStore) -> StoreError:
    place = f"The keyring {store.backend}" if store.backend else "The encrypted file"
    return StoreForgetful(
        f"{place} did not return the record that was written.",
        hint="Choose another store: {prog} onboard --store file",
    )
