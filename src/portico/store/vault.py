"""The vault: the one way to the tokens, which are whole at every instant.

Each profile has two slots, and its index entry points at one. A commit notes its intent in the index, writes the idle slot,
reads it back, moves the pointer, and deletes the old slot. So keychains that delete before they add, vaults that copy what they
lose, and a kill at any instant lose nothing and leave no old token: what a dead process left is in the index's list of
leftovers, and is deleted.

The exception is a refresh that a dead process had all but finished: its tokens are written, and only the pointer has not moved.
The tokens before them are spent at the server, so deleting the new record would end the profile. A record says which generation
a refresh made it from; the journal entry in the index says that this refresh was sent and never finished. Where both
name the tokens of now, the pointer is moved to the record; unless the journal entry is that of the record's own refresh token,
which its writer has then spent from memory, or the profile has ended for good.
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
    """Where the tokens of a profile's unfinished refresh may lie, None where there is no such refresh."""
    profile = None if profile_id in draft.damaged else draft.get(profile_id)
    if profile is None or profile.journal_entry is None or profile.journal_entry.generation != profile.generation:
        return None
    if profile.failure is not None and profile.failure.terminal:
        return None
    live = current_record(draft, profile_id)
    location = (profile_id, profile.store, profile.backend)
    others = (leftover for leftover in draft.leftovers if leftover != live)
    return next((each for each in others if (each.profile, each.store, each.backend) == location), None)


def finish_refresh(draft: IndexDraft, written: Leftover, tokens: Tokens) -> None:
    """Point the profile at `tokens`, which lie in `written`, if they are what follows its tokens of now."""
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
# Another process may hold the lock while its keyring asks somebody; nobody here sees that window, so it is not waited out.
_MAX_LOCK_WAIT_S: Final = 60.0
_LOCK_MARGIN_S: Final = 15.0
# Whoever has refused a window, or not come to one, is shown no other by the same operation.
_PROMPT_ENDED: Final = (PromptDismissed, KeyringTimeout, KeyringUnknown)
_PROBE: Final = "probe"


class Vault:
    """Reads, commits and deletes the tokens of profiles, wherever each keeps them. Blocking: call it from a thread, not a loop.

    `store` is the store the user has chosen, None where none was: commits then stay where the profile is. What is new goes to the
    store that `usual` names, called when it is needed; else to where the last sign-in was, else to the keyring. Reading never
    depends on either. `passphrase` is for the sealed file store alone. `keyrings` are those that
    other vaults of the same run have opened already. With `asks` False a keyring that it opens asks its user nothing.
    """

    def __init__(
        self,
        paths: Paths,
        index: ProfileIndex,
        *,
        store: StoreName | None = None,
        usual: Callable[[], StoreName | None] = lambda: None,
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
        self._usual_store = usual
        self._passphrase = passphrase
        self._env = os.environ if env is None else env
        self._deadlines = deadlines or Deadlines()
        self._on_wait = on_wait
        self._keyrings = [] if keyrings is None else keyrings
        self._crash_point = crash_point
        self._stores: dict[tuple[StoreName, str | None], RecordStore] = {}
        self._probed: RecordStore | None = None

    def probe(self) -> RecordLocation:
        """Show that the chosen store works (write, read back, delete), and remember it. Before any browser opens.

        Raises:
            StoreError: it does not work.
            ConfigError: as `usual`.
        """
        remembered = self._index.view().remembered
        name = self._chosen_store or self._usual_store() or (remembered.name if remembered else "keyring")
        store = self._store(name, None)
        user = record_user(_PROBE, _PROBE, self._paths.state_id)
        value = Secret(secrets.token_urlsafe(24))
        with self._locked(_PROBE):
            store.set(user, value)
            read_back = store.get(user, lambda copy: copy == value)
            with contextlib.suppress(KeyringLocked):  # it opens nothing; another database may have a copy from before that
                store.delete(user)
        if read_back != value:
            raise _not_read_back_error(store)
        self._index.remember_store(store.name, store.backend)
        self._probed = store
        with contextlib.suppress(StoreError, LockBusy):
            self.sweep()
        return RecordLocation(store.name, store.backend, SERVICE, user)

    def location(self, profile_id: str) -> RecordLocation:
        """Where the tokens of a profile lie.

        Raises:
            SignInNeeded: no such profile.
            StoreError: the index cannot be read.
        """
        profile, slot = self._require_profile(profile_id)
        return self._location(profile.store, profile.backend, profile_id, slot)

    def read(self, profile_id: str, *, to_refresh: bool = False) -> Tokens:
        """The tokens of a profile, from the store that holds them and no other.

        With `to_refresh` they are surely the newest: what a killed refresh had written is finished first, by whoever does it.

        Raises:
            SignInNeeded: no such profile.
            StoreError: the index or the store failed, or the record is missing or damaged.
            LockBusy: `to_refresh`, and another process is storing tokens of this profile.
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
                continue  # it has gone because the pointer was moved
            if tokens is not None and tokens.generation == profile.generation:
                self._clean_after_read(profile)
                return tokens
            if self._index.get(profile_id) == profile:
                break  # nobody moved the pointer meanwhile: the record is truly not there
        raise RecordMissing(
            f"the tokens of {profile_id} are no longer in the store",
            why=f"{location}: {'no record' if tokens is None else 'a record of another generation'}",
            hint=f"sign in again: {sign_in_again(profile)}",
        )

    def commit(self, profile: Profile, tokens: Tokens, *, expect_generation: int | None = None, anew: bool = False) -> Profile:
        """Store `tokens` durably and point `profile`'s index entry at them; the entry as it now is. The old tokens are deleted.

        With `expect_generation`, only if the profile's generation is still that one; `ABSENT`: only if there is no such profile.
        With `anew` they move to the store that was chosen or is usual, if it is another than holds the old ones.

        Raises:
            GenerationChanged: nothing was stored, since the profile is not as expected.
            StoreError: nothing was stored.
            StoreUnknown: a write timed out; the old tokens are still the profile's.
            LockBusy: another process is storing tokens of this profile.
            ConfigError: as `usual`; nothing was stored.
            ValueError: the id has more than `MAX_ID_LENGTH` characters, or others than printable ones.
        """
        _check_id(profile.id)
        with self._locked(profile.id):
            self._try_discard(profile.id, _Prompts(allowed=False))
            current = self._current_profile(profile.id)
            _check_generation(profile.id, current, expect_generation)
            store = self._store_for(current, anew=anew)
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
        """Forget a profile and delete every copy of its tokens; what could not be deleted, to be tried again by `sweep`.

        With `expect_generation`, only if the profile's generation is still that one.

        Raises:
            GenerationChanged: nothing was deleted, since the profile is not as expected.
            StoreError: the index cannot be read or written.
            LockBusy: another process is storing tokens of this profile.
        """
        with self._locked(profile_id):
            _check_generation(profile_id, self._current_profile(profile_id), expect_generation)
            index = self._index.view()
            possible = {*index.leftovers, current_record(index, profile_id)}
            self._index.edit(lambda draft: remove_profile(draft, profile_id))
            self._crash_point("forgotten")
            return self._discard(profile_id, _Prompts(), written=possible if None not in possible else None)

    def sweep(self) -> tuple[str, ...]:
        """Delete what killed or timed-out writes have left; what could not be deleted. Cheap where nothing was left.

        Raises:
            StoreError: the index cannot be read or written.
        """
        stuck: list[str] = []
        prompts = _Prompts()
        for profile_id in dict.fromkeys(leftover.profile for leftover in self._index.view().leftovers):
            lock = self._lock(profile_id)
            if not lock.try_acquire():
                continue  # a commit is going on, and tidies up itself
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
        """Finish or delete what killed writes of `profile` have left, if that is in the store which has just answered."""
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
        """Under the profile's lock: finish what a killed refresh had written, delete the rest; what could not be deleted."""
        try:
            self._adopt_written(profile_id)
        except StoreError as error:
            return (str(error),)  # whatever is there, it stays
        return self._discard(profile_id, prompts)

    def _finish_refresh(self, profile_id: str) -> None:
        """Point at what a killed refresh has written, if there is such a thing; whoever is at it already is waited for."""
        if unfinished_refresh(self._index.view(), profile_id) is not None:
            with self._locked(profile_id):
                self._adopt_written(profile_id)

    def _adopt_written(self, profile_id: str) -> None:
        """Under the profile's lock.

        Raises:
            StoreError: what the killed refresh has written cannot be read now.
        """
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
        """The tokens there, of several copies those which a refresh has made from generation `replaces`."""
        try:
            value = self._store(location.store, location.backend).get(
                location.user, _of_generation(replaces, location, renewed=True)
            )
        except KeyringNotOpen:
            return None  # the kill may have come before the write; the record that is replaced has to be seen all the same
        try:
            return None if value is None else decode_record(value, location)
        except RecordDamaged:
            return None  # cut short by the kill

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
        """Discard what can be discarded: what a commit has done does not hang on it, and `sweep` collects the rest."""
        with contextlib.suppress(StoreError, LockBusy):
            self._discard(profile_id, prompts)

    def _discard(
        self, profile_id: str, prompts: _Prompts, *, written: Collection[Leftover | None] | None = None
    ) -> tuple[str, ...]:
        """Under the profile's lock: delete its leftovers, but the tokens it points at; what could not be deleted.

        With `written` no other than these was ever written, as far as is known.
        """
        draft = self._index.view()
        leftovers = [leftover for leftover in draft.leftovers if leftover.profile == profile_id]
        if not leftovers:
            return ()
        live, current = current_record(draft, profile_id), draft.get(profile_id)
        deleted, stuck = set(), []
        for leftover in leftovers:
            location = self._location(leftover.store, leftover.backend, profile_id, leftover.slot)
            # The name is in use again, and an older copy may be where the keyring was locked when it was to be deleted.
            keep = _of_generation(current.generation, location) if current is not None and leftover == live else None
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
            raise KeyringUnknown("a call that timed out is still going on")
        try:
            store.delete(location.user, keep=keep, ask=prompts.allowed)
        except StoreError as error:
            prompts.allowed = prompts.allowed and not isinstance(error, _PROMPT_ENDED)
            raise

    def _require_profile(self, profile_id: str) -> tuple[Profile, Slot]:
        profile = self._index.get(profile_id)
        if profile is None or profile.slot is None:
            hint = "{prog} onboard" if profile is None else f"sign in again: {sign_in_again(profile)}"
            raise NotSignedIn(f"{profile_id} is not signed in", hint=hint)
        return profile, profile.slot

    def _current_profile(self, profile_id: str) -> Profile | None:
        draft = self._index.view()
        return None if profile_id in draft.damaged else draft.get(profile_id)

    def _store_for(self, current: Profile | None, *, anew: bool) -> RecordStore:
        """The store for new tokens: the chosen one, the profile's, the usual one, the last one, the keyring.

        With `anew` the usual one comes before the profile's.
        """
        if self._probed is not None:
            return self._probed
        current_profile = current if current is not None and current.slot is not None else None
        name = self._chosen_store or (self._usual_store() if current_profile is None or anew else None)
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
            self._paths.sealed,
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
    """Whether a keyring may open a window for what an operation tidies up."""

    allowed: bool = True


def _of_generation(generation: int, location: RecordLocation, *, renewed: bool = False) -> RecordMatch:
    """Tells a record of that generation, or with `renewed` one that a refresh has made from it, from other copies."""

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
    """Name the command that signs `profile` in again: what found the error knows a place, and not whose it is."""
    command = sign_in_again(profile)
    if isinstance(error, RecordDamaged):
        error.hint = f"sign in again: {command}"
    elif isinstance(error, StoreKeyLost):
        error.hint = f"put it back from a backup, or sign in again: {command}"
    elif isinstance(error, KeyringNotOpen):
        error.hint = f"{error.hint}; if nothing has it any more, sign in again: {command}"
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
    raise GenerationChanged(f"newer tokens of {profile_id} have been stored meanwhile", why=why)


def _not_read_back_error(store: RecordStore) -> StoreError:
    return StoreForgetful(
        f"{store.backend or 'the sealed file store'} did not give back what it was given",
        hint="choose another store: {prog} onboard --store file",
    )
