"""A profile's two records: its index entry, without secrets, and its token record in the token store.

This module also converts both records to and from JSON, and declares the interface of a store (`RecordStore`).
"""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

from portico.errors import ENDS_A_GRANT, REPORT_TO_AUTHOR, StoreError
from portico.secret import Secret
from portico.store.errors import RecordDamaged, RecordNotText, RecordTooLong, StateNewer

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import Field

    from _typeshed import DataclassInstance

    from portico.interfaces.authorization import OAuthServer
    from portico.interfaces.basics import JsonValue

    RecordMatch = Callable[[Secret], bool]

StoreName = Literal["keyring", "file"]
Slot = Literal["a", "b"]
ProfileType = Literal["oauth", "api_key", "gateway_key"]
JsonObject = dict[str, "JsonValue"]

SIGN_OUT_UNFINISHED: Final = "sign-out-unfinished"
# A field's key in a file is its name in camel case, except for these. Keys are written in the order of the fields.
_UNREAD: Final = {"key": "unreadFields"}
_JOURNAL_ENTRY: Final = {"key": "fence"}
_RECEIVED: Final = {"key": "got"}


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failed refresh of a profile.

    `at` is its time (ms since the epoch), `id` is the id of the PorticoError, `code` is the OAuth error code (RFC 6749 section
    5.2).

    `terminal`: only a new sign-in can help. `attempts` counts failures in a row. No process contacts the server again before
    `retry_at` (ms since the epoch; None: at any time).
    """

    at: int
    id: str
    message: str
    terminal: bool
    code: str | None = None
    attempts: int = 1
    retry_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A refresh whose request was sent and whose outcome is not stored yet. Its refresh token may be spent.

    `token` is the SHA-256 of the refresh token in hex, and `generation` is the generation of its token set. The token was sent
    `sends` times, first at `started_at` and last at `sent_at` (ms since the epoch). Process `pid` of boot `boot_id` sent it
    last.
    """

    generation: int
    token: str
    started_at: int
    sends: int
    pid: int
    boot_id: str = ""
    sent_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment by two clocks: the wall clock and the steady clock.

    The steady clock counts from the machine's `boot` and cannot be set.
    """

    boot: str
    steady_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """The changes of a refresh in the profile, besides the tokens.

    The token record has a copy, so that any process can finish the refresh.

    `replaces` is the generation that was refreshed; `refreshed_at` is when the refresh was requested (ms since the epoch).
    `received` and `unread` are the fields of `Profile`.
    """

    replaces: int
    refreshed_at: int
    refresh_expires_at: int | None = None
    scope: str = ""
    subject: str | None = None
    unread: tuple[str, ...] = field(default=(), metadata=_UNREAD)
    received: Moment | None = field(default=None, metadata=_RECEIVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A stored credential without its secrets: an `OAuthProfile`, `ApiKeyProfile` or `GatewayKeyProfile`.

    Times are in ms since the epoch.

    `plugin` is the plugin that the provider needs. `api_base` is the URL that gets the credential.
    `generation` changes with every stored token set and never repeats, not even after signing out and in again.
    `store`, `backend` and `slot` are the place of the tokens. `backend` is the keyring's class; None for the encrypted file.
    `refresh_expires_at` is when the refresh token expires. Most servers do not state this; then it is None.
    `received` is when the tokens arrived; None if one of the clocks is unknown.
    `unread` names the unreadable fields of the last token response; they are treated as absent.
    `config_pending`: the config edit of this sign-in has not been made yet.
    `default_pending`: this edit also sets the default model, to `default_model` or else to the model of this sign-in.
    `use_pending`: this edit also makes the profile the provider's account in use.
    """

    id: str = field(metadata={"stored": False})
    provider: str
    plugin: str = ""
    region: str = ""
    api_base: str = ""
    created_at: int
    type: ProfileType
    store: StoreName = "keyring"
    backend: str | None = None
    slot: Slot | None = None
    generation: int = 0
    expires_at: int | None = None
    refresh_expires_at: int | None = None
    refreshed_at: int | None = None
    has_refresh: bool = False
    unread: tuple[str, ...] = field(default=(), metadata=_UNREAD)
    config_pending: bool = False
    default_pending: bool = False
    default_model: str | None = None
    use_pending: bool = False
    failure: Failure | None = None
    journal_entry: JournalEntry | None = field(default=None, metadata=_JOURNAL_ENTRY)
    received: Moment | None = field(default=None, metadata=_RECEIVED)

    @property
    def has_ended(self) -> bool:
        """Whether the last refresh failed, and only a new sign-in can help."""
        return self.failure is not None and self.failure.terminal

    @property
    def sign_out_unfinished(self) -> bool:
        """Whether the profile was signed out, but its tokens could not be deleted yet."""
        return self.failure is not None and self.failure.id == SIGN_OUT_UNFINISHED


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthProfile(Profile):
    """A signed-in account. An authorization server issues, refreshes and revokes its tokens.

    `subject` is the account's name at the issuer; None if the issuer does not send a name. `relocated` holds (old URL, new URL)
    pairs.
    """

    type: ProfileType = field(default="oauth", init=False)
    issuer: str
    client_id: str
    dialect: str
    token_endpoint: str
    revocation_endpoint: str | None = None
    scope: str = ""
    subject: str | None = None
    audience: str | None = None
    relocated: tuple[tuple[str, str], ...] = ()

    def renewed(self, renewal: Renewal) -> OAuthProfile:
        """Return the profile after a successful refresh."""
        return replace(
            self,
            refreshed_at=renewal.refreshed_at,
            refresh_expires_at=renewal.refresh_expires_at,
            scope=renewal.scope,
            subject=renewal.subject,
            unread=renewal.unread,
            received=renewal.received,
            failure=None,
            journal_entry=None,
        )

    def server(self) -> OAuthServer:
        """Return the authorization server that issued the tokens."""
        from portico.interfaces.authorization import OAuthServer

        return OAuthServer(
            issuer=self.issuer,
            client_id=self.client_id,
            token_endpoint=self.token_endpoint,
            scope=self.scope,
            revocation_endpoint=self.revocation_endpoint,
            dialect=self.dialect,
            audience=self.audience,
            relocated=dict(self.relocated),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyProfile(Profile):
    """A provider's API key. It is used until you replace it."""

    type: ProfileType = field(default="api_key", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayKeyProfile(Profile):
    """A gateway key: its name, and the SHA-256 of the key in hex."""

    provider: str = field(default="gateway", init=False)
    type: ProfileType = field(default="gateway_key", init=False)
    name: str = field(metadata={"key": "clientId"})
    sha256: str | None = field(default=None, metadata={"key": "subject"})


@dataclass(frozen=True, slots=True)
class Leftover:
    """A token record that may exist. It can be deleted unless its profile points at it."""

    profile: str
    store: StoreName
    backend: str | None
    slot: Slot


# Portico 0.2 ends a sign-in at the twelfth send, so Portico never writes a larger number into the field that version 0.2 reads.
_MAX_SENDS_WRITTEN: Final = 11
_ALL_SENDS: Final = "allSends"
# Ids that Portico 0.2 stored as terminal without an error code that ends a sign-in. Today no terminal error has one of these
# ids.
_ENDED_BY_0_2: Final = frozenset(
    {
        "access-denied",
        "code-expired",
        "invalid-request",
        "minimax-refused",
        "oauth-error",
        "refresh-answer-lost",
        "reply-incomplete",
        "reply-invalid",
        "scope-missing",
        "sign-in-failed",
        "unknown-status",
        "unsupported-response-type",
        "unsupported-token-type",
    }
)
# The values that a file may hold in a text field of these types.
_ALLOWED_TEXTS: Final = {"StoreName": frozenset({"keyring", "file"}), "Slot": frozenset({"a", "b"})}
_KINDS: Final[dict[str, type[Profile]]] = {"oauth": OAuthProfile, "api_key": ApiKeyProfile, "gateway_key": GatewayKeyProfile}
# Earlier versions expect these fields in every entry, even in that of a key, and write them in this order.
_ALWAYS_WRITTEN: Final[JsonObject] = {
    "provider": None,
    "plugin": "",
    "region": "",
    "issuer": "",
    "clientId": "",
    "dialect": "",
    "apiBase": "",
    "tokenEndpoint": "",
    "createdAt": None,
    "type": None,
    "revocationEndpoint": None,
    "scope": "",
    "subject": None,
    "audience": None,
}
_WRITTEN_LAST: Final = ("relocated", "failure", "fence", "got")
_TEXTS: Final = "tuple[str, ...]"
_PAIRS: Final = "tuple[tuple[str, str], ...]"


class _Column(NamedTuple):
    """A field in a file: `kind` is its annotation without `None`, `types` the exact types that its value may have."""

    name: str
    key: str
    kind: str
    types: tuple[type, ...]
    required: bool
    is_read: bool


def profile_to_json(profile: Profile, previous: JsonObject) -> JsonObject:
    """Return the file's entry of `profile`. Unknown fields of `previous` stay."""
    fields = {**_ALWAYS_WRITTEN, **_to_json(profile)}
    last = {name: fields.pop(name, None) for name in _WRITTEN_LAST}
    return _drop_none({**previous, **fields, **last})


def profile_from_json(id: str, value: JsonValue) -> Profile:
    """Return the profile that a file's entry describes.

    Raises:
        ValueError: a field is missing or has the wrong type; the message names it.
    """
    name = _require_object(value, "the profile").get("type")
    kind = OAuthProfile if name is None else _KINDS.get(str(name))
    if kind is None:
        raise ValueError("type")
    return kind(id=id, **_from_json(kind, value, "the profile"))


def leftover_to_json(leftover: Leftover) -> JsonObject:
    """Return the file's entry of `leftover`."""
    return _drop_none(_to_json(leftover))


def leftover_from_json(value: JsonValue) -> Leftover:
    """Return the leftover that a file's entry describes.

    Raises:
        ValueError: a field is missing or has the wrong type; the message names it.
    """
    return Leftover(**_from_json(Leftover, value, "the leftover"))


def _failure_from_json(value: JsonValue) -> Failure:
    """Read a failure.

    If Portico 0.2 stored it as terminal, but the server had not rejected the token, a refresh may be tried again.
    """
    failure = Failure(**_from_json(Failure, value, "failure"))
    is_transient = failure.id in _ENDED_BY_0_2 and failure.code not in ENDS_A_GRANT
    return replace(failure, terminal=False) if is_transient else failure


def _entry_to_json(entry: JournalEntry) -> JsonObject:
    return {**_to_json(entry), "sends": min(entry.sends, _MAX_SENDS_WRITTEN), _ALL_SENDS: entry.sends}


def _entry_from_json(value: JsonValue) -> JournalEntry:
    entry = JournalEntry(**_from_json(JournalEntry, value, "fence"))
    all_sends = _require_object(value, "fence").get(_ALL_SENDS)
    return entry if type(all_sends) is not int else replace(entry, sends=max(all_sends, entry.sends))


def _moment_from_json(value: JsonValue) -> Moment:
    return Moment(**_from_json(Moment, value, "got"))


@cache
def _columns(record: type) -> tuple[_Column, ...]:
    """Return the columns for the fields of a dataclass of this module."""
    return tuple(_column(field) for field in fields(record) if field.metadata.get("stored", True))


def _column(field: Field[Any]) -> _Column:
    kind, optional = field.type.removesuffix(" | None"), field.type.endswith(" | None")  # annotations are strings here
    first, *other_words = field.name.split("_")
    key = field.metadata.get("key", first + "".join(word.title() for word in other_words))
    value: type = {"int": int, "bool": bool, _TEXTS: list, _PAIRS: dict}.get(kind, dict if kind in _OBJECTS else str)
    return _Column(field.name, key, kind, (value, type(None)) if optional else (value,), field.default is MISSING, field.init)


def _to_json(record: DataclassInstance) -> JsonObject:
    return {column.key: _value_to_json(column.kind, getattr(record, column.name)) for column in _columns(type(record))}


def _value_to_json(kind: str, value: Any) -> JsonValue:
    if kind == _PAIRS:
        return dict(value) or None
    if kind == _TEXTS:
        return list(value) or None
    return _OBJECTS[kind][0](value) if kind in _OBJECTS and value is not None else value


def _from_json(record: type, value: JsonValue, what: str) -> dict[str, Any]:
    entry = _require_object(value, what)
    fields: dict[str, Any] = {}
    for name, key, kind, types, required, is_read in _columns(record):
        value = entry.get(key)
        if not is_read:
            continue
        if value is None and (not required or type(None) in types):
            if required:
                fields[name] = None
            continue
        # The types are exact: `True` is not an int.
        if type(value) not in types or (kind in _ALLOWED_TEXTS and value not in _ALLOWED_TEXTS[kind]):
            raise ValueError(key)
        fields[name] = _value_from_json(kind, key, value)
    return fields


def _value_from_json(kind: str, key: str, value: Any) -> object:
    if kind in _OBJECTS:
        return _OBJECTS[kind][1](value)
    if kind not in {_TEXTS, _PAIRS}:
        return value
    if not all(type(each) is str for each in (value if kind == _TEXTS else value.values())):
        raise ValueError(key)
    return tuple(value if kind == _TEXTS else value.items())


def _drop_none(entry: JsonObject) -> JsonObject:
    return {key: value for key, value in entry.items() if value is not None}


def _require_object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError(what)  # noqa: TRY004 - every fault of a file raises the same error
    return value


# How the fields that are objects are written and read.
_OBJECTS: Final[dict[str, tuple[Callable[[Any], JsonObject], Callable[[JsonValue], object]]]] = {
    "Failure": (_to_json, _failure_from_json),
    "JournalEntry": (_entry_to_json, _entry_from_json),
    "Moment": (_to_json, _moment_from_json),
}


SERVICE: Final = "portico"
RECORD_VERSION: Final = 1
RECORD_LIMIT: Final = 256 * 1024
# The generation of a profile that does not exist. Real generations start at 1.
ABSENT: Final = 0
# The longest profile id, in characters. The id is part of the names of the profile's records.
MAX_ID_LENGTH: Final = 200


class GenerationChanged(StoreError):
    """The profile has changed since it was read: other tokens were stored, or you signed out or in."""

    id = "generation-changed"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A profile's token set.

    `expires_at` is in ms since the epoch; None if the server sent no lifetime. `renewal` describes the refresh that brought the
    tokens; None for the tokens of a sign-in.
    """

    access: Secret
    refresh: Secret | None
    expires_at: int | None
    generation: int = 0
    renewal: Renewal | None = None


@dataclass(frozen=True, slots=True)
class RecordLocation:
    """The place of a record. `service` and `user` are the keyring's terms, and also determine the name of the file."""

    store: StoreName
    backend: str | None
    service: str
    user: str

    def __str__(self) -> str:
        return f"{self.service} / {self.user} in {self.backend or 'the encrypted file'}"


class RecordStore(Protocol):
    """A store of records by user. Every method raises `StoreError`, and `StoreUnknown` for a write that timed out."""

    name: StoreName

    @property
    def backend(self) -> str | None:
        """The keyring's class, None for the encrypted file."""

    @property
    def has_pending_call(self) -> bool:
        """Whether a call that timed out is still running in this process."""

    def get(self, user: str, matches: RecordMatch | None = None) -> Secret | None:
        """Return the record, or None if it does not exist.

        If there are several copies, return the first that `matches`, else the first.
        """

    def set(self, user: str, value: Secret) -> None: ...

    def delete(self, user: str, *, keep: RecordMatch | None = None, ask: bool = True) -> None:
        """Delete every copy of the record for which `keep` is false. With `ask` False, no window is opened.

        Raises:
            KeyringNotOpen: no copy was found, but a closed database may have one.
        """


def fingerprint(token: Secret) -> str:
    """Return the SHA-256 of `token` in hex. An index without secrets identifies a token by this value."""
    import hashlib

    return hashlib.sha256(token.reveal().encode()).hexdigest()


def record_user(profile_id: str, slot: str, state_id: str) -> str:
    """Return the user of a record. Each state folder except the default folder has its own users."""
    return f"{profile_id}#{slot}@{state_id}" if state_id else f"{profile_id}#{slot}"


def encode_record(profile: Profile, tokens: Tokens) -> Secret:
    """Return the text of a record.

    Raises:
        StoreError: the record is longer than any store accepts, or is not text.
    """
    refresh = None if tokens.refresh is None else tokens.refresh.reveal()
    profile_fields = profile_to_json(profile, {})
    record = {
        "v": RECORD_VERSION,
        **{key: profile_fields[key] for key in ("generation", "type", "provider")},
        "access": tokens.access.reveal(),
        "refresh": refresh,
        "expiresAt": tokens.expires_at,
        **{key: profile_fields[key] for key in ("region", "apiBase", "clientId")},
        **({} if tokens.renewal is None else {"renewal": _drop_none(_to_json(tokens.renewal))}),
    }
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    if len(text) > RECORD_LIMIT:
        why = f"{len(text):,} characters, at most {RECORD_LIMIT:,} are allowed"
        raise RecordTooLong(f"The tokens of {profile.id} are too long to store.", why=why, hint=REPORT_TO_AUTHOR)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecordNotText(f"The tokens of {profile.id} are not text.", hint=REPORT_TO_AUTHOR) from None
    return Secret(text)


def decode_record(value: Secret, location: RecordLocation) -> Tokens:
    """Return the tokens in the text of a record.

    Raises:
        StoreError: a later version wrote the record, or it is damaged.
    """
    try:
        record = json.loads(value.reveal())
    except (ValueError, RecursionError):
        raise _damaged(location, "not JSON") from None
    if not isinstance(record, dict):
        raise _damaged(location, "not a JSON object")
    version = record.get("v")
    if type(version) is int and version > RECORD_VERSION:
        raise StateNewer(
            "The tokens were stored by a later version of Portico.",
            why=f"{location}: format {version}; this version knows {RECORD_VERSION}",
            hint="Upgrade Portico. Nothing was changed.",
        )
    access, refresh, expires_at, generation = (record.get(key) for key in ("access", "refresh", "expiresAt", "generation"))
    if version != RECORD_VERSION or type(generation) is not int or not isinstance(access, str) or not access:
        raise _damaged(location, "`v`, `generation` or `access` is missing or wrong")
    if not isinstance(refresh, str | None) or type(expires_at) not in {int, type(None)}:
        raise _damaged(location, "`refresh` or `expiresAt` is wrong")
    try:
        renewal = Renewal(**_from_json(Renewal, record["renewal"], "the renewal")) if "renewal" in record else None
    except ValueError as error:
        raise _damaged(location, f"`renewal`: {error}") from None
    return Tokens(Secret(access), Secret(refresh) if refresh else None, expires_at, generation, renewal)


def _damaged(location: RecordLocation, why: str) -> StoreError:
    return RecordDamaged("The stored tokens are damaged.", why=f"{location}: {why}")
