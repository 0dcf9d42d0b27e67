"""Finishing what a killed refresh had all but done: its tokens are written, and only the index does not point at them yet.

The tokens before them are spent at the server, so deleting the new record, as is right for any other unfinished write, would end
the sign-in. A record says which generation a refresh made it from; the fence in the index says that this refresh was sent and
never finished. Where both name the tokens of now, the record is the next generation; unless the fence is that of the record's own
refresh token, which its writer has then spent from memory, or the sign-in has ended for good.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from portico.store.leftovers import pointed_at
from portico.store.profile_record import OAuthProfile
from portico.store.records import fingerprint

if TYPE_CHECKING:
    from portico.store.profiles import IndexDraft, Leftover
    from portico.store.records import Tokens


def unfinished_refresh(draft: IndexDraft, profile_id: str) -> Leftover | None:
    """Where the tokens of a profile's unfinished refresh may lie, None where there is no such refresh."""
    profile = None if profile_id in draft.damaged else draft.get(profile_id)
    if profile is None or profile.fence is None or profile.fence.generation != profile.generation:
        return None
    if profile.failure is not None and profile.failure.terminal:
        return None
    live = pointed_at(draft, profile_id)
    place = (profile_id, profile.store, profile.backend)
    return next((one for one in draft.leftovers if one != live and (one.profile, one.store, one.backend) == place), None)


def finish_refresh(draft: IndexDraft, written: Leftover, tokens: Tokens) -> None:
    """Point the profile at `tokens`, which lie in `written`, if they are what follows its tokens of now."""
    profile, renewal = draft.get(written.profile), tokens.renewal
    if (
        not isinstance(profile, OAuthProfile)
        or profile.fence is None
        or renewal is None
        or renewal.replaces != profile.generation
    ):
        return
    if tokens.refresh is not None and profile.fence.token == fingerprint(tokens.refresh):
        return
    after = replace(
        profile.renewed(renewal),
        slot=written.slot,
        generation=tokens.generation,
        expires_at=tokens.expires_at,
        has_refresh=tokens.refresh is not None,
    )
    draft.put(after)
