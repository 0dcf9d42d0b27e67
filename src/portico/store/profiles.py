"""The profile index (`auth-profiles.json`): which profiles exist and where their tokens are. It holds no secret.

A process changes the file only under a lock, and reads it again first, so processes never lose each other's changes. The file
has a version and a backup; a damaged file is moved aside. The index also lists token records that a process may have left
behind (`Leftover`), so that the next process can delete them.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar, cast

from portico.store.errors import IndexDamaged, NotSignedIn, ProfileDamaged, StateNewer
from portico.store.records import (
    Leftover,
    Profile,
    Slot,
    StoreName,
    leftover_from_json,
    leftover_to_json,
    profile_from_json,
    profile_to_json,
)
from portico.util.files import no_crash_point, read_private, set_aside, temporaries, write_private
from portico.util.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portico.errors import SignInNeeded, StoreError
    from portico.interfaces.basics import JsonValue
    from portico.paths import Paths
    from portico.store.records import JsonObject
    from portico.store.token_store import Snapshot
    from portico.util.files import CrashPoint

VERSION: Final = 1
LOCK_NAME: Final = "index.lock"


class IndexFile:
    """The file `auth-profiles.json`. Its previous version is the `.bak` file, whose pointers are still valid."""

    def __init__(self, paths: Paths, *, crash_point: CrashPoint = no_crash_point) -> None:
        self.path = paths.index
        self.backup = paths.index.with_name(f"{paths.index.name}.bak")
        self._lock_path = paths.locks / LOCK_NAME
        self._crash_point = crash_point
        self._cached: tuple[tuple[int, int, int], JsonObject] | None = None

    def load(self) -> JsonObject:
        """Return the index, empty if the file does not exist. Do not change it.

        Raises:
            StoreError: the file cannot be read, a later version wrote it, or it is damaged. A damaged file is moved aside and
                replaced by the backup.
        """
        stamp = self._stamp()
        if stamp is not None and self._cached is not None and self._cached[0] == stamp:
            return self._cached[1]
        data = read_private(self.path)
        if data is None:
            return _empty()
        try:
            document = _parse(data, self.path)
        except ValueError as error:
            with self._locked():
                raise self._recover(error) from None
        if stamp is not None and stamp == self._stamp():
            self._cached = (stamp, document)
        return document

    @contextlib.contextmanager
    def editing(self, *, durable: bool = True) -> Iterator[JsonObject]:
        """Read the index under its lock, and save it after the block if the block changed it.

        Raises:
            StoreError: as for `load`, or the file cannot be written.
            LockBusy: another process had the lock for ten seconds.
        """
        with self._locked():
            data = read_private(self.path)
            try:
                document = _empty() if data is None else _parse(data, self.path)
            except ValueError as error:
                raise self._recover(error) from None
            yield document
            text = (json.dumps(document, indent=2) + "\n").encode()
            if text == data or (data is None and document == _empty()):
                return
            for temporary in temporaries(self.path):  # their writers are dead, because a live writer would have the lock
                temporary.unlink(missing_ok=True)
            if data is not None:
                self._save_backup()
            write_private(self.path, text, durable=durable, crash_point=self._crash_point)

    def _save_backup(self) -> None:
        temporary = self.backup.with_name(f".{self.path.name}.bak.tmp")
        with contextlib.suppress(OSError):  # a file system without hard links gets no backup
            temporary.unlink(missing_ok=True)
            os.link(self.path, temporary)
            temporary.replace(self.backup)
            temporary.unlink(missing_ok=True)  # if both names are the same file, rename(2) keeps both

    def _recover(self, cause: ValueError) -> StoreError:
        """Move the damaged file aside, and replace it by the backup. Return the error to raise. The caller has the lock."""
        data = read_private(self.path)
        if data is not None and _is_valid(data, self.path):
            return IndexDamaged(f"{self.path} was damaged and is now restored.", hint="Run the command again.")
        corrupt_path = set_aside(self.path)
        backup_data = read_private(self.backup)
        message = f"{self.path} was damaged. It was moved to {corrupt_path.name}"
        why = f"not a profile index: {cause}"
        if backup_data is None or not _is_valid(backup_data, self.backup):
            return IndexDamaged(f"{message}.", why=why, hint="Sign in again: {prog} onboard")
        write_private(self.path, backup_data)
        return IndexDamaged(f"{message}, and the backup was restored.", why=why, hint="Check the accounts: {prog} auth list")

    def _locked(self) -> contextlib.AbstractContextManager[object]:
        return file_lock(self._lock_path, what="the profile index")

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.lstat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _empty() -> JsonObject:
    return {"version": VERSION, "profiles": {}}


def _parse(data: bytes, path: Path) -> JsonObject:
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - every fault of a file raises the same error
    version = document.get("version")
    if type(version) is int and version > VERSION:
        raise StateNewer(
            f"{path} was written by a later version of Portico.",
            why=f"its format is {version}; this version knows {VERSION}",
            hint="Upgrade Portico, or set PORTICO_STATE_DIR to another folder. The file was not changed.",
        )
    if version != VERSION or not isinstance(document.get("profiles"), dict):
        raise ValueError("`version` or `profiles` is missing or wrong")
    return cast("JsonObject", document)


def _is_valid(data: bytes, path: Path) -> bool:
    try:
        _parse(data, path)
    except ValueError:
        return False
    return True


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RememberedStore:
    """The store of the last sign-in. `backend` is the keyring's class; None for the encrypted file."""

    name: StoreName
    backend: str | None


class IndexDraft:
    """The content of the index, to read or to change. `ProfileIndex.edit` saves the changes."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Every readable profile, in the order of the sign-ins."""
        return tuple(profile for id in self._entries if (profile := self.find(id)) is not None)

    @property
    def damaged(self) -> tuple[str, ...]:
        """The ids of unreadable entries. They stay in the file until you sign in again or sign out."""
        return tuple(id for id in self._entries if self.find(id) is None)

    def get(self, id: str) -> Profile | None:
        """Return the profile `id`, or None if it does not exist.

        Raises:
            StoreError: its entry is damaged.
        """
        if id not in self._entries:
            return None
        try:
            return profile_from_json(id, self._entries[id])
        except ValueError as error:
            raise ProfileDamaged(
                f"The entry of {id} in the profile index is damaged.",
                why=f"missing or wrong: {error}",
                hint=f"Sign in again, or remove it: {{prog}} auth logout {id}",
            ) from None

    def find(self, id: str) -> Profile | None:
        """Return the profile `id`, or None if it does not exist or its entry is damaged."""
        try:
            return self.get(id)
        except ProfileDamaged:
            return None

    def store_of_damaged(self, id: str) -> RememberedStore | None:
        """Return the store that a damaged entry names, or None if the store's name is damaged too."""
        entry = self._entries[id]
        if not isinstance(entry, dict):
            return None
        if entry.get("store") == "file":
            return RememberedStore("file", None)
        backend = entry.get("backend")
        return RememberedStore("keyring", backend) if entry.get("store") == "keyring" and isinstance(backend, str) else None

    def put(self, profile: Profile) -> None:
        previous = self._entries.get(profile.id)
        self._entries[profile.id] = profile_to_json(profile, previous if isinstance(previous, dict) else {})

    def remove(self, id: str) -> None:
        self._entries.pop(id, None)

    def next_generation(self) -> int:
        """Return a generation that no profile ever had."""
        last = self._document.get("generation")
        highest_used = max((profile.generation for profile in self.profiles), default=0)
        generation = max(last if type(last) is int else 0, highest_used) + 1
        self._document["generation"] = generation
        return generation

    @property
    def leftovers(self) -> tuple[Leftover, ...]:
        """Token records that may exist. They can be deleted unless their profile points at them."""
        entries = self._document.get("leftovers")
        leftovers = []
        for value in entries if isinstance(entries, list) else []:
            try:
                leftovers.append(leftover_from_json(value))
            except ValueError:
                continue
        return tuple(leftovers)

    @leftovers.setter
    def leftovers(self, leftovers: tuple[Leftover, ...]) -> None:
        self._document.pop("leftovers", None)
        if leftovers:
            self._document["leftovers"] = cast("JsonValue", [leftover_to_json(one) for one in dict.fromkeys(leftovers)])

    @property
    def remembered(self) -> RememberedStore | None:
        """The store of the last sign-in, None before the first one."""
        entry = self._document.get("store")
        if not isinstance(entry, dict) or entry.get("name") not in {"keyring", "file"}:
            return None
        backend = entry.get("backend")
        return RememberedStore(cast("StoreName", entry["name"]), backend if isinstance(backend, str) else None)

    @remembered.setter
    def remembered(self, store: RememberedStore) -> None:
        entry: JsonObject = {"name": store.name}
        if store.backend is not None:
            entry["backend"] = store.backend
        self._document["store"] = entry

    @property
    def _entries(self) -> JsonObject:
        return cast("JsonObject", self._document["profiles"])


class ProfileIndex:
    """Reads `auth-profiles.json` at each call, and changes it under its lock.

    Every method raises `StoreError` if the file cannot be read, is damaged, or was written by a later version: an unreadable
    index is never treated as empty. Methods that change the file also raise `LockBusy`.
    """

    def __init__(self, paths: Paths, *, crash_point: CrashPoint = no_crash_point) -> None:
        self._file = IndexFile(paths, crash_point=crash_point)

    @property
    def path(self) -> Path:
        return self._file.path

    def view(self) -> IndexDraft:
        """Return the whole current index. Do not change it."""
        return IndexDraft(self._file.load())

    def edit(self, change: Callable[[IndexDraft], T], *, durable: bool = True) -> T:
        """Let `change` alter the index under its lock, and save it. Return what `change` returned."""
        with self._file.editing(durable=durable) as document:
            return change(IndexDraft(document))

    def profiles(self) -> tuple[Profile, ...]:
        return self.view().profiles

    def get(self, id: str) -> Profile | None:
        return self.view().get(id)

    def put(self, profile: Profile) -> None:
        self.edit(lambda draft: draft.put(profile))

    def update(self, id: str, change: Callable[[Profile], Profile]) -> Profile | None:
        """Replace the profile `id` by the result of `change`. Return the new profile, or None if the profile does not exist."""

        def apply(draft: IndexDraft) -> Profile | None:
            current = draft.get(id)
            if current is None:
                return None
            changed = change(current)
            draft.put(changed)
            return changed

        return self.edit(apply)

    @property
    def store_name(self) -> StoreName | None:
        """The store of the last sign-in, None before the first one."""
        remembered = self.view().remembered
        return None if remembered is None else remembered.name

    def remember_store(self, name: StoreName, backend: str | None = None) -> None:
        """Remember that `name` works on this machine, so that later sign-ins use it."""
        remembered = RememberedStore(name, backend)
        if self.view().remembered == remembered:
            return

        def note(draft: IndexDraft) -> None:
            draft.remembered = remembered

        self.edit(note)


SLOTS: Final[tuple[Slot, ...]] = ("a", "b")


def current_record(draft: IndexDraft, profile_id: str) -> Leftover | None:
    """Return the record that a profile's entry points at; None if the entry has no record or is damaged."""
    profile = draft.find(profile_id)
    if profile is None or profile.slot is None:
        return None
    return Leftover(profile_id, profile.store, profile.backend, profile.slot)


def note_intent(draft: IndexDraft, new: Leftover) -> int:
    """List `new` and the profile's current record as leftovers, before `new` is written. Return the generation of `new`."""
    old = current_record(draft, new.profile)
    draft.leftovers = (*draft.leftovers, new, *(() if old is None else (old,)))
    return draft.next_generation()


def remove_profile(draft: IndexDraft, profile_id: str) -> None:
    """Remove a profile from the index, and list both slots of every store that may hold its tokens as leftovers."""
    slots = [Leftover(profile_id, store.name, store.backend, slot) for store in _stores(draft, profile_id) for slot in SLOTS]
    draft.leftovers = (*draft.leftovers, *slots)
    draft.remove(profile_id)


def _stores(draft: IndexDraft, profile_id: str) -> list[RememberedStore]:
    """Return the store that the profile's entry names; if the entry is damaged, every store that may hold the tokens."""
    current = current_record(draft, profile_id)
    if current is not None:
        return [RememberedStore(current.store, current.backend)]
    if profile_id not in draft.damaged:
        return []
    named_store = draft.store_of_damaged(profile_id)
    if named_store is not None:
        return [named_store]
    remembered = draft.remembered
    keyring = remembered if remembered is not None and remembered.name == "keyring" else RememberedStore("keyring", None)
    return [keyring, RememberedStore("file", None)]


NOT_SIGNED_IN: Final = "You are not signed in."
FILE_COMMAND: Final = "{prog} onboard --store file"
"""The hint's command that signs in again with the encrypted file. Commands that need no sign-in leave it out."""
FILE_HINT: Final = f"{FILE_COMMAND}   (keeps the tokens in a file encrypted with a passphrase)"


def sign_in(choice: str = "minimax-portal") -> str:
    """Return the hint how to sign in by this auth choice. `{prog}` stands for the program name."""
    return f"Run `{{prog}} onboard --auth-choice {choice}`."


def sign_in_again(profile: Profile) -> str:
    """Return the command that replaces `profile`; `{prog}` stands for the program name."""
    if profile.type != "api_key":
        return login_command(profile)
    from shlex import quote

    region = f" --region {profile.region}" if profile.region else ""
    # Every provider with API keys has the auth choice `PROVIDER-api`.
    return f"{{prog}} onboard --auth-choice {profile.provider}-api{region} --profile {quote(profile.id)} --replace"


def login_command(profile: Profile) -> str:
    """Return the command of `sign_in_again` for a profile with tokens."""
    from shlex import quote

    region = f" --region {profile.region}" if profile.region else ""
    return f"{{prog}} models auth login --provider {profile.provider}{region} --profile {quote(profile.id)} --replace"


def without_sign_in_hint(hint: str | None) -> str | None:
    """Return `hint` for a stored key. A key needs no sign-in, so the hint names the config's setting for the encrypted file."""
    return None if hint is None else hint.replace(FILE_COMMAND, "{prog} config set auth.store file")


def require_profile(snapshot: Snapshot, id: str) -> Profile:
    """Return the profile `id`.

    Raises:
        SignInNeeded: `not-signed-in`: the profile does not exist, or was signed out.
        StoreError: `record-damaged`.
    """
    profile = snapshot.get(id)
    if profile is None:
        raise not_signed_in(id, [each.id for each in snapshot.profiles])
    if profile.sign_out_unfinished:
        hint = f"Finish the sign-out: {{prog}} auth logout {id}"
        raise NotSignedIn(f"{id} was signed out, but its tokens are not deleted yet.", hint=hint)
    return profile


def not_signed_in(wanted: str | None, profile_ids: list[str]) -> SignInNeeded:
    """Return the error for a profile that does not exist. The hint names similar profiles."""
    from difflib import get_close_matches

    matches = [id for id in profile_ids if wanted and (id.startswith(wanted) or id.endswith(f":{wanted}"))]
    matches = matches or get_close_matches(wanted or "", profile_ids, n=1)
    fallback_hint = "{prog} auth list" if profile_ids else sign_in()
    hint = f"Did you mean {' or '.join(matches)}?" if matches else fallback_hint
    message = NOT_SIGNED_IN if wanted is None else f"{wanted} is not signed in."
    return NotSignedIn(message, hint=hint)
