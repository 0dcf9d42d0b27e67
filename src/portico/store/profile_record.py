"""What is known about a signed-in account, without any secret, and how it is written in the index."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from portico.errors import ENDS_A_GRANT

if TYPE_CHECKING:
    from portico.interfaces.authorization import OAuthServer
    from portico.interfaces.basics import JsonValue

StoreName = Literal["keyring", "file"]
Slot = Literal["a", "b"]
JsonObject = dict[str, "JsonValue"]

SIGN_OUT_UNFINISHED: Final = "sign-out-unfinished"
_NONE: Final = type(None)


@dataclass(frozen=True, slots=True)
class Failure:
    """The last refresh of a profile that failed: `at` in wall ms, `id` a PorticoError id, `code` the OAuth error (RFC 6749 5.2).

    `terminal` means that no further refresh can help: only signing in again can. `attempts` counts failures in a row, and no
    process is to ask the server again before `retry_at` (wall ms), None where it need not wait.
    """

    at: int
    id: str
    message: str
    terminal: bool
    code: str | None = None
    attempts: int = 1
    retry_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fence:
    """A refresh token that may be spent: the note of a refresh that was sent and whose outcome is not stored yet.

    `token` is the SHA-256 of the refresh token, in hex; `generation` that of the tokens it belongs to; `sends` how often it may
    have reached the server, first at `started_at` and last at `sent_at` (wall ms). `pid` and `boot_id` tell who sent it last.
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
    """One moment by both clocks: `wall_ms`, and `steady_ms` by the clock that nobody sets, in the run `boot` of the machine."""

    boot: str
    steady_ms: int
    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What a refresh brought besides tokens: it stands in their record too, for whoever has to finish that refresh.

    `replaces` is the generation that was refreshed; `refreshed_at` when that was asked for (wall ms); `got` and `unread` are as a
    profile's.
    """

    replaces: int
    refreshed_at: int
    refresh_expires_at: int | None = None
    scope: str = ""
    subject: str | None = None
    unread: tuple[str, ...] = ()
    got: Moment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One signed-in account. Times are wall ms.

    `subject` is the account's name at its issuer, None where that does not tell.
    `generation` changes with every token that is stored, and never comes back, not even by signing out and in again.
    `store`, `backend` and `slot` say where the tokens are; `backend` is the class of the keyring, None for the sealed file.
    `refresh_expires_at` is the end of the refresh token, None where the server does not tell, as most do not.
    `got` is when its tokens came, None where one of the clocks is not known. `unread` names the fields of the last token reply
    that could not be read, and that count as absent.
    `relocated` holds (old URL, new URL) pairs. `config_pending` marks a sign-in whose config edit has not been made yet,
    `default_pending` that this edit also changes the default model: to `default_model`, or else to the sign-in's own, and
    `use_pending` that it makes this the provider's account in use.
    """

    id: str
    provider: str
    plugin: str
    region: str
    issuer: str
    client_id: str
    dialect: str
    api_base: str
    token_endpoint: str
    created_at: int
    type: str = "oauth"
    revocation_endpoint: str | None = None
    scope: str = ""
    subject: str | None = None
    audience: str | None = None
    relocated: tuple[tuple[str, str], ...] = ()
    store: StoreName = "keyring"
    backend: str | None = None
    slot: Slot | None = None
    generation: int = 0
    expires_at: int | None = None
    refresh_expires_at: int | None = None
    refreshed_at: int | None = None
    has_refresh: bool = False
    unread: tuple[str, ...] = ()
    got: Moment | None = None
    failure: Failure | None = None
    fence: Fence | None = None
    config_pending: bool = False
    default_pending: bool = False
    default_model: str | None = None
    use_pending: bool = False

    @property
    def sign_out_unfinished(self) -> bool:
        """Whether it was signed out while its tokens could not be deleted: it is kept only so that this can be finished."""
        return self.failure is not None and self.failure.id == SIGN_OUT_UNFINISHED

    def renewed(self, renewal: Renewal) -> Profile:
        """The same profile after a refresh that succeeded."""
        return replace(
            self,
            refreshed_at=renewal.refreshed_at,
            refresh_expires_at=renewal.refresh_expires_at,
            scope=renewal.scope,
            subject=renewal.subject,
            unread=renewal.unread,
            got=renewal.got,
            failure=None,
            fence=None,
        )

    def server(self) -> OAuthServer:
        """The authorization server that issued the tokens, as a refresh and a revocation need it."""
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


@dataclass(frozen=True, slots=True)
class Leftover:
    """A token record that may exist, and that is rubbish unless its profile points at it."""

    profile: str
    store: StoreName
    backend: str | None
    slot: Slot


# field -> (key in the file, the exact types it may have there)
_PROFILE_KEYS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "provider": ("provider", (str,)),
    "plugin": ("plugin", (str,)),
    "region": ("region", (str,)),
    "issuer": ("issuer", (str,)),
    "client_id": ("clientId", (str,)),
    "dialect": ("dialect", (str,)),
    "api_base": ("apiBase", (str,)),
    "token_endpoint": ("tokenEndpoint", (str,)),
    "created_at": ("createdAt", (int,)),
    "type": ("type", (str,)),
    "revocation_endpoint": ("revocationEndpoint", (str, _NONE)),
    "scope": ("scope", (str,)),
    "subject": ("subject", (str, _NONE)),
    "audience": ("audience", (str, _NONE)),
    "store": ("store", (str,)),
    "backend": ("backend", (str, _NONE)),
    "slot": ("slot", (str, _NONE)),
    "generation": ("generation", (int,)),
    "expires_at": ("expiresAt", (int, _NONE)),
    "refresh_expires_at": ("refreshExpiresAt", (int, _NONE)),
    "refreshed_at": ("refreshedAt", (int, _NONE)),
    "has_refresh": ("hasRefresh", (bool,)),
    "unread": ("unreadFields", (list,)),
    "config_pending": ("configPending", (bool,)),
    "default_pending": ("defaultPending", (bool,)),
    "default_model": ("defaultModel", (str, _NONE)),
    "use_pending": ("usePending", (bool,)),
}
_FAILURE_KEYS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "at": ("at", (int,)),
    "id": ("id", (str,)),
    "message": ("message", (str,)),
    "terminal": ("terminal", (bool,)),
    "code": ("code", (str, _NONE)),
    "attempts": ("attempts", (int,)),
    "retry_at": ("retryAt", (int, _NONE)),
}
_FENCE_KEYS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "generation": ("generation", (int,)),
    "token": ("token", (str,)),
    "started_at": ("startedAt", (int,)),
    "sends": ("sends", (int,)),
    "pid": ("pid", (int,)),
    "boot_id": ("bootId", (str,)),
    "sent_at": ("sentAt", (int, _NONE)),
}
# Portico 0.2 ends a sign-in at the twelfth send, so it is not told of more than these.
_SENDS_TOLD: Final = 11
_ALL_SENDS: Final = "allSends"
# What Portico 0.2 took for the end of a sign-in without one of the words that end one.
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
_RENEWAL_KEYS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "replaces": ("replaces", (int,)),
    "refreshed_at": ("refreshedAt", (int,)),
    "refresh_expires_at": ("refreshExpiresAt", (int, _NONE)),
    "scope": ("scope", (str,)),
    "subject": ("subject", (str, _NONE)),
    "unread": ("unreadFields", (list,)),
}
_MOMENT_KEYS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "boot": ("boot", (str,)),
    "steady_ms": ("steadyMs", (int,)),
    "wall_ms": ("wallMs", (int,)),
}
_LEFTOVER_KEYS: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "profile": ("profile", (str,)),
    "store": ("store", (str,)),
    "backend": ("backend", (str, _NONE)),
    "slot": ("slot", (str,)),
}


def profile_to_json(profile: Profile, previous: JsonObject) -> JsonObject:
    """`profile` for the file, on top of what the file had: fields that this version does not know stay."""
    failure = None if profile.failure is None else _to_json(profile.failure, _FAILURE_KEYS)
    fence = None if profile.fence is None else _fence_to_json(profile.fence)
    relocated: JsonObject = dict(profile.relocated)
    parts = {"relocated": relocated or None, "failure": failure, "fence": fence, "got": _moment_to_json(profile.got)}
    known = {**_to_json(profile, _PROFILE_KEYS), **parts}
    return {name: value for name, value in {**previous, **known}.items() if value is not None}


def profile_from_json(id: str, value: JsonValue) -> Profile:
    """The profile that the file describes.

    Raises:
        ValueError: a field is missing or has the wrong type; the message names it.
    """
    entry = _object(value, "the profile")
    found = _from_json(Profile, entry, _PROFILE_KEYS)
    _check_place(found)
    relocated = _object(entry.get("relocated", {}), "relocated")
    if not all(type(target) is str for target in relocated.values()):
        raise ValueError("relocated")
    failure, fence = entry.get("failure"), entry.get("fence")
    return Profile(
        id=id,
        relocated=tuple((old, str(new)) for old, new in relocated.items()),
        failure=None if failure is None else _failure_from_json(_object(failure, "failure")),
        fence=None if fence is None else _fence_from_json(_object(fence, "fence")),
        got=_moment_from_json(entry.get("got")),
        **found,
    )


def _failure_from_json(entry: JsonObject) -> Failure:
    """A failure; one that Portico 0.2 took for an end, and that was no verdict of the server's, may be tried again."""
    failure = Failure(**_from_json(Failure, entry, _FAILURE_KEYS))
    may_pass = failure.id in _ENDED_BY_0_2 and failure.code not in ENDS_A_GRANT
    return replace(failure, terminal=False) if may_pass else failure


def _fence_to_json(fence: Fence) -> JsonObject:
    return {**_to_json(fence, _FENCE_KEYS), "sends": min(fence.sends, _SENDS_TOLD), _ALL_SENDS: fence.sends}


def _fence_from_json(entry: JsonObject) -> Fence:
    fence, counted = Fence(**_from_json(Fence, entry, _FENCE_KEYS)), entry.get(_ALL_SENDS)
    return fence if type(counted) is not int else replace(fence, sends=max(counted, fence.sends))


def leftover_to_json(leftover: Leftover) -> JsonObject:
    """`leftover` for the file."""
    return {name: value for name, value in _to_json(leftover, _LEFTOVER_KEYS).items() if value is not None}


def leftover_from_json(value: JsonValue) -> Leftover:
    """The leftover that the file describes.

    Raises:
        ValueError: a field is missing or has the wrong type; the message names it.
    """
    found = _from_json(Leftover, _object(value, "the leftover"), _LEFTOVER_KEYS)
    _check_place(found)
    return Leftover(**found)


def renewal_to_json(renewal: Renewal) -> JsonObject:
    """`renewal` for a record."""
    known = {**_to_json(renewal, _RENEWAL_KEYS), "got": _moment_to_json(renewal.got)}
    return {name: value for name, value in known.items() if value is not None}


def renewal_from_json(value: JsonValue) -> Renewal:
    """The renewal that a record describes.

    Raises:
        ValueError: a field is missing or has the wrong type; the message names it.
    """
    entry = _object(value, "the renewal")
    return Renewal(**_from_json(Renewal, entry, _RENEWAL_KEYS), got=_moment_from_json(entry.get("got")))


def _moment_to_json(moment: Moment | None) -> JsonObject | None:
    return None if moment is None else _to_json(moment, _MOMENT_KEYS)


def _moment_from_json(value: JsonValue) -> Moment | None:
    return None if value is None else Moment(**_from_json(Moment, _object(value, "got"), _MOMENT_KEYS))


def _to_json(
    record: Profile | Failure | Fence | Renewal | Leftover | Moment, keys: dict[str, tuple[str, tuple[type, ...]]]
) -> JsonObject:
    values = {key: getattr(record, name) for name, (key, _) in keys.items()}
    return {key: (list(value) or None) if isinstance(value, tuple) else value for key, value in values.items()}


def _from_json(kind: type, entry: JsonObject, keys: dict[str, tuple[str, tuple[type, ...]]]) -> dict[str, Any]:
    required = {field.name for field in fields(kind) if field.default is MISSING}
    found: dict[str, Any] = {}
    for name, (key, types) in keys.items():
        value = entry.get(key)
        if value is None and (name not in required or _NONE in types):
            if name in required:
                found[name] = None
            continue
        if type(value) not in types:  # exact: True is no generation
            raise ValueError(key)
        if isinstance(value, list):
            if not all(type(one) is str for one in value):
                raise ValueError(key)
            found[name] = tuple(value)
            continue
        found[name] = value
    return found


def _check_place(found: dict[str, Any]) -> None:
    if found.get("store", "keyring") not in {"keyring", "file"}:
        raise ValueError("store")
    if found.get("slot") not in {None, "a", "b"}:
        raise ValueError("slot")


def _object(value: JsonValue, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise ValueError(what)  # noqa: TRY004 - one kind of error for every way a file can be wrong
    return value
