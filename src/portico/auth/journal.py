"""The refresh journal: an entry in the profile index, written before a refresh token is sent.

The entry (`fence` in the index file) means that this token may be spent. One write of the index removes the entry and points
the profile at the new tokens. So if an owner takes the refresh lock and finds an entry, an earlier owner sent the token, and
then died or gave up before it stored a response.

The new owner sends the token again at once, because servers that rotate tokens accept the last token again for some seconds. If
the server rejects the token, the response was lost, and the user must sign in again. If no response arrives, the server may be
down: the token is sent again after 1, 5, 30 and then every 60 minutes. Only the server's response ends a sign-in.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from portico.store.records import JournalEntry, fingerprint
from portico.util.clock import BOOT

if TYPE_CHECKING:
    from portico.secret import Secret
    from portico.store.records import Profile

# How often a token is sent without a wait: many servers accept a second use for some seconds, and networks often return in this
# time.
IMMEDIATE_SENDS: Final = 3
_RESEND_AFTER_S: Final = (60.0, 300.0, 1800.0, 3600.0)


def find_entry(profile: Profile, refresh: Secret) -> JournalEntry | None:
    """Return the journal entry of `refresh`, or None if this token was not sent before."""
    entry = profile.journal_entry
    if entry is None or entry.generation != profile.generation or entry.token != fingerprint(refresh):
        return None
    return entry


def resend_wait_s(entry: JournalEntry) -> float | None:
    """Return how many seconds after the last send the token is sent again; None means at once."""
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
    """Describe in a text when the token was first sent, and which process sent it last."""
    sender = f"process {entry.pid}" if entry.boot_id == BOOT else f"process {entry.pid}, before this machine was restarted"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.started_at / 1000))
    return f"sent at {at} by {sender}"
