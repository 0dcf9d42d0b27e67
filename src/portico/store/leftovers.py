"""What the index notes about records, so that a dead process's are found again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from portico.store.profiles import Leftover

if TYPE_CHECKING:
    from portico.store.profiles import IndexDraft


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
    """Take a profile out of the index, and note both of its slots for deletion."""
    known = pointed_at(draft, profile_id)
    remembered = draft.remembered
    if known is None and profile_id in draft.damaged and remembered is not None:
        known = Leftover(profile_id, remembered.name, remembered.backend, "a")
    if known is not None:
        draft.leftovers = (*draft.leftovers, replace(known, slot="a"), replace(known, slot="b"))
    draft.remove(profile_id)
