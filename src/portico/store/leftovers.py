"""What the index notes about records, so that a dead process's are found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.store.profiles import Leftover, RememberedStore

if TYPE_CHECKING:
    from portico.store.profiles import IndexDraft, Slot

SLOTS: Final[tuple[Slot, ...]] = ("a", "b")


def pointed_at(draft: IndexDraft, profile_id: str) -> Leftover | None:
    """The record that a profile's entry points at, None where it has none or cannot be understood."""
    profile = None if profile_id in draft.damaged else draft.get(profile_id)
    if profile is None or profile.slot is None:
        return None
    return Leftover(profile_id, profile.store, profile.backend, profile.slot)


def intend(draft: IndexDraft, new: Leftover) -> int:
    """Note that `new` is about to be written and that the profile's record of now will be old; the new record's generation."""
    old = pointed_at(draft, new.profile)
    draft.leftovers = (*draft.leftovers, new, *(() if old is None else (old,)))
    return draft.next_generation()


def forget(draft: IndexDraft, profile_id: str) -> None:
    """Take a profile out of the index, and note both slots of every store that may hold its tokens for deletion."""
    both = [Leftover(profile_id, store.name, store.backend, slot) for store in _stores(draft, profile_id) for slot in SLOTS]
    draft.leftovers = (*draft.leftovers, *both)
    draft.remove(profile_id)


def _stores(draft: IndexDraft, profile_id: str) -> list[RememberedStore]:
    """The store that the profile's entry names; where that cannot be read, every store there is."""
    known = pointed_at(draft, profile_id)
    if known is not None:
        return [RememberedStore(known.store, known.backend)]
    if profile_id not in draft.damaged:
        return []
    named = draft.store_of_damaged(profile_id)
    if named is not None:
        return [named]
    remembered = draft.remembered
    keyring = remembered if remembered is not None and remembered.name == "keyring" else RememberedStore("keyring", None)
    return [keyring, RememberedStore("file", None)]
