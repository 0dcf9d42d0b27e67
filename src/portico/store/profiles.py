"""The profile index: which accounts are signed in and where their tokens are. It holds no secret and needs no keyring.

Every change is made under a lock, on what the file holds at that moment, so that two processes never lose each other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, cast

from portico.errors import StoreError
from portico.store.atomic import no_step
from portico.store.index_file import IndexFile
from portico.store.profile_record import (
    ApiKeyProfile,
    Failure,
    Fence,
    GatewayKeyProfile,
    Leftover,
    OAuthProfile,
    Profile,
    Renewal,
    Slot,
    StoreName,
    leftover_from_json,
    leftover_to_json,
    profile_from_json,
    profile_to_json,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portico.interfaces.basics import JsonValue
    from portico.paths import Paths
    from portico.store.atomic import OnStep
    from portico.store.profile_record import JsonObject

__all__ = (
    "ApiKeyProfile",
    "Failure",
    "Fence",
    "GatewayKeyProfile",
    "IndexDraft",
    "Leftover",
    "OAuthProfile",
    "Profile",
    "ProfileIndex",
    "RememberedStore",
    "Renewal",
    "Slot",
    "StoreName",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RememberedStore:
    """The store that worked at the last sign-in; `backend` is the keyring's class, None for the sealed file."""

    name: StoreName
    backend: str | None


class IndexDraft:
    """The index's content, to look at or to change; saving it is `ProfileIndex.edit`'s part."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Every profile that can be understood, in the order they were signed in."""
        return tuple(profile for id in self._entries if (profile := self._understood(id)) is not None)

    @property
    def damaged(self) -> tuple[str, ...]:
        """The ids of entries that cannot be understood; they stay in the file until they are signed in again or out."""
        return tuple(id for id in self._entries if self._understood(id) is None)

    def get(self, id: str) -> Profile | None:
        """The profile `id`, None where there is none.

        Raises:
            StoreError: there is one and it cannot be understood.
        """
        if id not in self._entries:
            return None
        try:
            return profile_from_json(id, self._entries[id])
        except ValueError as error:
            raise StoreError(
                "profile-damaged",
                f"the index's entry of {id} is damaged",
                why=f"missing or wrong: {error}",
                hint=f"sign in again, or remove it: {{prog}} auth logout {id}",
            ) from None

    def store_of_damaged(self, id: str) -> RememberedStore | None:
        """The store that a damaged entry names, None where that part of it is damaged too."""
        entry = self._entries[id]
        if not isinstance(entry, dict):
            return None
        if entry.get("store") == "file":
            return RememberedStore("file", None)
        backend = entry.get("backend")
        return RememberedStore("keyring", backend) if entry.get("store") == "keyring" and isinstance(backend, str) else None

    def put(self, profile: Profile) -> None:
        """Add `profile`, or replace the one of its id."""
        previous = self._entries.get(profile.id)
        self._entries[profile.id] = profile_to_json(profile, previous if isinstance(previous, dict) else {})

    def remove(self, id: str) -> None:
        """Forget `id`; nothing happens where it is not known."""
        self._entries.pop(id, None)

    def next_generation(self) -> int:
        """A generation that no profile has had before."""
        last = self._document.get("generation")
        highest = max((profile.generation for profile in self.profiles), default=0)
        generation = max(last if type(last) is int else 0, highest) + 1
        self._document["generation"] = generation
        return generation

    @property
    def leftovers(self) -> tuple[Leftover, ...]:
        """Token records that may exist and that nothing needs, unless their profile points at them."""
        listed = self._document.get("leftovers")
        found = []
        for value in listed if isinstance(listed, list) else []:
            try:
                found.append(leftover_from_json(value))
            except ValueError:
                continue
        return tuple(found)

    @leftovers.setter
    def leftovers(self, leftovers: tuple[Leftover, ...]) -> None:
        self._document.pop("leftovers", None)
        if leftovers:
            self._document["leftovers"] = cast("JsonValue", [leftover_to_json(one) for one in dict.fromkeys(leftovers)])

    @property
    def remembered(self) -> RememberedStore | None:
        """The store that worked last, None before the first sign-in."""
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

    def _understood(self, id: str) -> Profile | None:
        try:
            return profile_from_json(id, self._entries[id])
        except ValueError:
            return None


class ProfileIndex:
    """`auth-profiles.json`, read when asked and changed under its lock.

    Every method raises `StoreError` where the file cannot be read, is of a later version or is damaged: an unreadable index is
    never an empty one. The methods that change it also raise `LockBusy`.
    """

    def __init__(self, paths: Paths, *, on_step: OnStep = no_step) -> None:
        self._file = IndexFile(paths, on_step=on_step)

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    def view(self) -> IndexDraft:
        """The whole index as it is now, to look at."""
        return IndexDraft(self._file.load())

    def edit(self, change: Callable[[IndexDraft], T], *, durable: bool = True) -> T:
        """Let `change` alter the index under its lock, save it, and hand back what `change` returned."""
        with self._file.editing(durable=durable) as document:
            return change(IndexDraft(document))

    def profiles(self) -> tuple[Profile, ...]:
        """Every profile that can be understood, in the order they were signed in."""
        return self.view().profiles

    def get(self, id: str) -> Profile | None:
        """The profile `id`, None where there is none."""
        return self.view().get(id)

    def put(self, profile: Profile) -> None:
        """Add `profile`, or replace the one of its id."""
        self.edit(lambda draft: draft.put(profile))

    def remove(self, id: str) -> None:
        """Forget `id` without touching its tokens: to delete those too is `Vault.delete`'s part."""
        self.edit(lambda draft: draft.remove(id))

    def update(self, id: str, change: Callable[[Profile], Profile]) -> Profile | None:
        """Replace the profile `id` by what `change` makes of it as it is now; None where it is gone meanwhile."""

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
        """The store that worked at the last sign-in."""
        remembered = self.view().remembered
        return None if remembered is None else remembered.name

    def remember_store(self, name: StoreName, backend: str | None = None) -> None:
        """Note that `name` works here, so that later sign-ins need not find out again."""
        remembered = RememberedStore(name, backend)
        if self.view().remembered == remembered:
            return

        def note(draft: IndexDraft) -> None:
            draft.remembered = remembered

        self.edit(note)
