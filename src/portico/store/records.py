"""The secret record of a profile: what is in it, where it lies, and what a place that keeps records can do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.profile_record import profile_to_json, renewal_from_json, renewal_to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.store.profile_record import Profile, Renewal, StoreName

    Fits = Callable[[Secret], bool]

SERVICE: Final = "portico"
RECORD_VERSION: Final = 1
RECORD_LIMIT: Final = 256 * 1024
# The generation of a profile that is not there; those of profiles begin with 1.
ABSENT: Final = 0


class GenerationChanged(StoreError):
    """A profile is not as a commit expected it: other tokens were stored, or it was signed out or in."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a profile's record holds. `expires_at` is wall ms, None where the server gave no lifetime.

    `renewal` tells of the refresh that made them, None for those of a sign-in.
    """

    access: Secret
    refresh: Secret | None
    expires_at: int | None
    generation: int = 0
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class RecordPlace:
    """Where a record lies: `service` and `user` are the keyring's words, and name the sealed file too."""

    store: StoreName
    backend: str | None
    service: str
    user: str

    def __str__(self) -> str:
        return f"{self.service} / {self.user} in {self.backend or 'the sealed file store'}"


class RecordStore(Protocol):
    """A place that keeps records by user. Every method raises `StoreError`, and `StoreUnknown` for a write that timed out."""

    name: StoreName

    @property
    def backend(self) -> str | None:
        """The class that does the work, None where there is no choice of it."""
        ...

    @property
    def unsettled(self) -> bool:
        """Whether a call that timed out is still going on in this process."""
        ...

    def get(self, user: str, fits: Fits | None = None) -> Secret | None:
        """The record, None only where there is none. Of several copies the first that `fits`, else the first."""
        ...

    def set(self, user: str, value: Secret) -> None: ...

    def delete(self, user: str, *, keep: Fits | None = None, ask: bool = True) -> None:
        """Remove every copy of the record but what `keep` wants; if there is any. `ask` False: opens no window.

        The error is `keyring-not-open` where none was seen, and one may be where it cannot be seen.
        """
        ...


def fingerprint(token: Secret) -> str:
    """How an index that holds no secrets names a token: its SHA-256, in hex."""
    import hashlib

    return hashlib.sha256(token.reveal().encode()).hexdigest()


def record_user(profile_id: str, slot: str, state_id: str) -> str:
    """The user under which a record is kept; any state folder but the default one has its own."""
    return f"{profile_id}#{slot}@{state_id}" if state_id else f"{profile_id}#{slot}"


def encode_record(profile: Profile, tokens: Tokens) -> Secret:
    """The record as text, of the profile's generation.

    Raises:
        StoreError: it is longer than any store takes.
    """
    refresh = None if tokens.refresh is None else tokens.refresh.reveal()
    known = profile_to_json(profile, {})
    record = {
        "v": RECORD_VERSION,
        **{key: known[key] for key in ("generation", "type", "provider")},
        "access": tokens.access.reveal(),
        "refresh": refresh,
        "expiresAt": tokens.expires_at,
        **{key: known[key] for key in ("region", "apiBase", "clientId")},
        **({} if tokens.renewal is None else {"renewal": renewal_to_json(tokens.renewal)}),
    }
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    hint = "the provider sent something that is hardly a token: tell its plugin's author"
    if len(text) > RECORD_LIMIT:
        why = f"{len(text):,} characters, and {RECORD_LIMIT:,} is the most"
        raise StoreError("record-too-long", f"the tokens of {profile.id} are too long to be kept", why=why, hint=hint)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StoreError("record-not-text", f"the tokens of {profile.id} are not text", hint=hint) from None
    return Secret(text)


def decode_record(value: Secret, place: RecordPlace) -> Tokens:
    """The tokens in a record's text.

    Raises:
        StoreError: it is of a later version, or damaged.
    """
    try:
        record = json.loads(value.reveal())
    except (ValueError, RecursionError):
        raise _damaged(place, "not JSON") from None
    if not isinstance(record, dict):
        raise _damaged(place, "not a JSON object")
    version = record.get("v")
    if type(version) is int and version > RECORD_VERSION:
        raise StoreError(
            "record-newer",
            "these tokens were stored by a later version of this program",
            why=f"{place}: format {version}; this version knows {RECORD_VERSION}",
            hint="upgrade; nothing has been changed",
        )
    access, refresh, expires_at, generation = (record.get(key) for key in ("access", "refresh", "expiresAt", "generation"))
    if version != RECORD_VERSION or type(generation) is not int or not isinstance(access, str) or not access:
        raise _damaged(place, "`v`, `generation` or `access` is missing or wrong")
    if not isinstance(refresh, str | None) or type(expires_at) not in {int, type(None)}:
        raise _damaged(place, "`refresh` or `expiresAt` is wrong")
    try:
        renewal = renewal_from_json(record["renewal"]) if "renewal" in record else None
    except ValueError as error:
        raise _damaged(place, f"`renewal`: {error}") from None
    return Tokens(Secret(access), Secret(refresh) if refresh else None, expires_at, generation, renewal)


def _damaged(place: RecordPlace, why: str) -> StoreError:
    return StoreError("record-damaged", "the stored tokens are damaged", why=f"{place}: {why}")
