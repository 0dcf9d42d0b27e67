"""The credentials that readers of other tools' files return, and the checks that all readers share."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from portico.oauth.token_response import read_refresh_token, read_token
from portico.paths import UnknownHome, expand_home

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from portico.config.document import ConfigPath, Document
    from portico.interfaces.basics import JsonValue
    from portico.secret import Secret

# The years 2001 and 5138 in ms. A smaller number may be in seconds. Any other number is not an expiry time.
_EPOCH_MS: Final = 10**12
_LATEST_MS: Final = 10**14


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """An account in another tool's file: `location` is its position, `client_id` the public client that its tokens belong to.

    `entry_id` is the tool's own name for the entry, if the position may change. `copy_locations` are the positions of copies;
    they are removed too, so that the tool does not use them. `cell` is the database cell, None for a file. `expires_at` is in
    ms since the epoch (a past time: the access token has expired); None if missing or invalid. `region` is None if the file has
    no region. `api_url` is the URL of the tool's requests, and `portal_url` the URL of its sign-in, if the file has them.
    """

    location: ConfigPath
    client_id: str
    access: Secret
    refresh: Secret | None
    expires_at: int | None
    region: str | None = None
    api_url: str | None = None
    portal_url: str | None = None
    entry_id: str | None = None
    copy_locations: tuple[ConfigPath, ...] = ()
    cell: CellName | None = None

    def is_same_entry(self, other: FoundCredential) -> bool:
        """Whether both are the same entry, even with other tokens."""
        return (
            self.entry_id == other.entry_id
            if self.entry_id is not None
            else (self.cell, self.location) == (other.cell, other.location)
        )

    def has_same_tokens(self, other: FoundCredential) -> bool:
        return self.access == other.access and self.refresh == other.refresh

    def shares_token(self, other: FoundCredential) -> bool:
        """Whether both come from the same sign-in: they have the same access token or the same refresh token."""
        return self.access == other.access or (self.refresh is not None and self.refresh == other.refresh)


@dataclass(frozen=True, slots=True)
class CellName:
    """A database cell with a JSON text, in the row of `table` with key `key`."""

    table: CellTable
    key: str


@dataclass(frozen=True, slots=True)
class CellTable:
    """A table of JSON texts: its columns for key, text and time of change (ms), and the rows to read (empty: all)."""

    name: str
    key: str
    text: str
    changed: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Importer:
    """How to read one tool's credentials. `expected` describes the file's content; `default_paths` returns the files to read.

    `tables` are the tool's tables if it uses SQLite. A file is retired if a database with such a table exists, at the same path
    or in `databases(file)`. `repair_command` is the tool's command that moves a retired file's entries to the database.
    `entry_lock` is the file that the tool locks during a refresh of this credential in this database. `related_files` are files
    with more data about the first file's entries. `read` raises ValueError, naming a field, for an invalid credential. `lock`
    is how the tool locks its file: `folder` creates `<file>.lock`, `flock` locks `<stem>.lock`.
    """

    name: str
    label: str
    expected: str
    default_paths: Callable[[Mapping[str, str], Path], tuple[Path, ...]]
    read: Callable[[Document, Document | None], tuple[FoundCredential, ...]]
    related_files: Callable[[Path], tuple[Path, ...]] = field(default=lambda _path: ())
    lock: Literal["none", "folder", "flock"] = "none"
    tables: tuple[CellTable, ...] = ()
    repair_command: str = ""
    databases: Callable[[Path], tuple[Path, ...]] = field(default=lambda _path: ())
    entry_lock: Callable[[Path, str], Path | None] = field(default=lambda _path, _name: None)


def setting_path(name: str | None) -> Path | None:
    """Return the path in a setting, or None if it is empty.

    `~` and `~user` at its start are home folders. If the user is unknown, `~user` is the name of a folder, as in a shell.
    """
    if not name:
        return None
    try:
        return expand_home(name, "the setting")
    except UnknownHome:
        return Path(name)


def untrusted_reason(info: os.stat_result) -> str | None:
    """Return why a tool's file must not be opened or trusted, or None. For example, it may hang or belong to another user."""
    if not stat.S_ISREG(info.st_mode):
        return "is not a plain file"
    if os.name == "posix" and info.st_uid != os.geteuid():
        return "belongs to another user"
    return None


def read_object(value: JsonValue, name: str) -> dict[str, JsonValue]:
    """Return the object in member `name` of `value`, or {} if it is missing.

    Raises:
        ValueError: the member is not an object.
    """
    if not isinstance(value, dict):
        raise ValueError("the file is not one JSON object")  # noqa: TRY004 - every fault of a file raises the same error
    found = value.get(name)
    if found is not None and not isinstance(found, dict):
        raise ValueError(f"{name} is not an object")
    return found or {}


def read_text(fields: Mapping[str, JsonValue], name: str) -> str | None:
    """Return the text in member `name`, or None if it is missing, empty or not text. Then the tokens are still usable."""
    value = fields.get(name)
    return value if isinstance(value, str) and value and value.isprintable() else None


def read_tokens(fields: Mapping[str, JsonValue], access: str, refresh: str) -> tuple[Secret, Secret | None]:
    """Return the access token, and the refresh token if there is one.

    Raises:
        ValueError: the access token is missing, or a token is invalid.
    """
    token = read_token(fields, access)
    if token is None:
        raise ValueError(f"{access} is missing")
    return token, read_refresh_token(fields, refresh)


def read_expiry(fields: Mapping[str, JsonValue], field_name: str) -> int | None:
    """Return when the access token expires (ms since the epoch), from a number (ms since the epoch, or seconds) or ISO 8601.

    None if it is missing or invalid; the tokens are still usable.
    """
    value = fields.get(field_name)
    if isinstance(value, str):
        return _expiry_from_text(value.strip())
    return _expiry_from_number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _expiry_from_number(value: float) -> int | None:
    expires_at = value if value >= _EPOCH_MS else value * 1000
    return int(expires_at) if _EPOCH_MS <= expires_at < _LATEST_MS else None


def _expiry_from_text(value: str) -> int | None:
    with contextlib.suppress(ValueError):
        return _expiry_from_number(float(value))
    try:
        moment = datetime.fromisoformat(value)
        return _expiry_from_number(moment.timestamp() * 1000) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None
