"""What a reader of another tool's file hands on, and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from portico.oauth.token_response import read_token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from portico.config.document import ConfigPath, Document
    from portico.contracts import JsonValue
    from portico.secret import Secret

_EPOCH_MS: Final = 10**12
_LATEST_MS: Final = 10**14


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """One sign-in in another tool's file: `at` says where in it, `client_id` which public client it was granted to.

    `mark` is the tool's own name for the entry, where its place in the file may change. `copies` are other places in the file
    that belong to the same sign-in, which the tool would go on using.
    `expires_at` is wall ms, None where the file does not say; the past means that the access token has ended. `region` is None
    where the file names none; `api_url` is where the tool sends its requests, `portal_url` where it signs in, as far as it says.
    """

    at: ConfigPath
    client_id: str
    access: Secret
    refresh: Secret | None
    expires_at: int | None
    region: str | None = None
    api_url: str | None = None
    portal_url: str | None = None
    mark: str | None = None
    copies: tuple[ConfigPath, ...] = ()

    def is_entry(self, other: FoundCredential) -> bool:
        """Whether both are one entry of the tool's, whatever tokens it holds."""
        return self.mark == other.mark if self.mark is not None else self.at == other.at

    def is_same(self, other: FoundCredential) -> bool:
        """Whether both are one grant at one moment: the same tokens."""
        return self.access == other.access and self.refresh == other.refresh


@dataclass(frozen=True, slots=True)
class Importer:
    """One tool. `expected` says in words what its file holds; `places` are the files to look at, given environment and home.

    `beside` names a second file that says more about the first. `read` raises ValueError, naming a field, for a credential that
    is not as it must be. `lock` is how the tool itself guards its file: `folder` makes `<file>.lock`, `flock` locks
    `<stem>.lock`.
    """

    name: str
    label: str
    expected: str
    places: Callable[[Mapping[str, str], Path], tuple[Path, ...]]
    read: Callable[[Document, Document | None], tuple[FoundCredential, ...]]
    beside: Callable[[Path], tuple[Path, ...]] = field(default=lambda _path: ())
    lock: Literal["none", "folder", "flock"] = "none"


def section(value: JsonValue, name: str) -> dict[str, JsonValue]:
    """The object in member `name` of `value`; empty where there is none.

    Raises:
        ValueError: something else stands there.
    """
    if not isinstance(value, dict):
        raise ValueError("the file is not one JSON object")  # noqa: TRY004 - one error for every unusable file
    found = value.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")
    return found or {}


def text(fields: Mapping[str, JsonValue], name: str) -> str | None:
    """The text in member `name`; None where it is absent or empty.

    Raises:
        ValueError: something else stands there.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{name} is not text")
    return value


def tokens(fields: Mapping[str, JsonValue], access: str, refresh: str) -> tuple[Secret, Secret | None]:
    """The access token, and the refresh token where there is one.

    Raises:
        ValueError: the access token is missing, or one of them is not a token.
    """
    token = read_token(fields, access)
    if token is None:
        raise ValueError(f"{access} is missing")
    return token, read_token(fields, refresh)


def end_of(fields: Mapping[str, JsonValue], name: str) -> int | None:
    """When the access token ends, in wall ms: from a number (ms since the epoch, or seconds where it is too small) or ISO 8601.

    Raises:
        ValueError: it is neither.
    """
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        return _from_iso(value, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _LATEST_MS:
        raise ValueError(f"{name} is not a time")
    return int(value if value >= _EPOCH_MS else value * 1000)


def _from_iso(value: str, name: str) -> int:
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{name} is not a time") from None
    if at.tzinfo is None:
        raise ValueError(f"{name} is a time without its zone")
    return int(at.timestamp() * 1000)
