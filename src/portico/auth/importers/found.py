"""What a reader of another tool's file hands on, and the checks that all of them share."""

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

# 2001 and 5138: a smaller number is seconds, and what is neither is no time of a token.
_EPOCH_MS: Final = 10**12
_LATEST_MS: Final = 10**14


@dataclass(frozen=True, slots=True)
class FoundCredential:
    """One sign-in in another tool's file: `location` says where in it, `client_id` which public client it was granted to.

    `entry_id` is the tool's own name for the entry, where its place in the file may change. `copy_locations` are other places in
    the file that belong to the same sign-in, which the tool would go on using. `cell` is the cell of a database that holds it,
    None for one in a file.
    `expires_at` is wall ms, None where the file does not say, or says something that is no time; the past means that the access
    token has ended. `region` is None where the file names none; `api_url` is where the tool sends its requests, `portal_url`
    where it signs in, as far as it says.
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
        """Whether both are one entry of the tool's, whatever tokens it holds."""
        return (
            self.entry_id == other.entry_id
            if self.entry_id is not None
            else (self.cell, self.location) == (other.cell, other.location)
        )

    def has_same_tokens(self, other: FoundCredential) -> bool:
        """Whether both are one grant at one moment: the same tokens."""
        return self.access == other.access and self.refresh == other.refresh

    def shares_token(self, other: FoundCredential) -> bool:
        """Whether both come from one sign-in: the same access token, or the same refresh token."""
        return self.access == other.access or (self.refresh is not None and self.refresh == other.refresh)


@dataclass(frozen=True, slots=True)
class CellName:
    """A cell of a database that holds one JSON text: the row of `table` whose key is `key`."""

    table: CellTable
    key: str


@dataclass(frozen=True, slots=True)
class CellTable:
    """A table of JSON texts: its columns for key, text and time of the last change (wall ms), and the rows to read; none: all."""

    name: str
    key: str
    text: str
    changed: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Importer:
    """One tool. `expected` says in words what its file holds; `default_paths` are the files to look at, by environment and home.

    `tables` are where the tool keeps its entries in an SQLite database, if it has one. A file is retired as soon as one of these,
    or of `databases(file)`, is a database with such a table. `entry_lock` is the file that the tool locks while it refreshes the
    credential of this name in this database. `repair_command` is the tool's command that moves a retired file's entries.
    `related_files` names a second file that says more about the first. `read` raises ValueError, naming a field, for a credential
    that is not as it must be. `lock` is how the tool itself guards its file: `folder` makes `<file>.lock`, `flock` locks
    `<stem>.lock`.
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
    """The file or folder that a setting names, `~` and `~user` at its start being home folders; None where it names none.

    A user whom this machine does not know has no home: `~user` is then the name of a folder, as for a shell.
    """
    if not name:
        return None
    try:
        return expand_home(name, "the setting")
    except UnknownHome:
        return Path(name)


def untrusted_reason(info: os.stat_result) -> str | None:
    """Why a file of another tool's is not to be opened or believed: it can hang, or a stranger wrote it; None where it may be."""
    if not stat.S_ISREG(info.st_mode):
        return "is not a plain file"
    if os.name == "posix" and info.st_uid != os.geteuid():
        return "belongs to another user"
    return None


def read_object(value: JsonValue, name: str) -> dict[str, JsonValue]:
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


def read_text(fields: Mapping[str, JsonValue], name: str) -> str | None:
    """The text in member `name`; None where it is absent, empty or something else, which says nothing of the tokens beside it."""
    value = fields.get(name)
    return value if isinstance(value, str) and value and value.isprintable() else None


def read_tokens(fields: Mapping[str, JsonValue], access: str, refresh: str) -> tuple[Secret, Secret | None]:
    """The access token, and the refresh token where there is one.

    Raises:
        ValueError: the access token is missing, or one of them is not a token.
    """
    token = read_token(fields, access)
    if token is None:
        raise ValueError(f"{access} is missing")
    return token, read_refresh_token(fields, refresh)


def read_expiry(fields: Mapping[str, JsonValue], field_name: str) -> int | None:
    """When the access token ends, in wall ms: from a number (ms since the epoch, or seconds where it is too small) or ISO 8601.

    None where nothing stands there, or something that is no such time: the tokens beside it are good all the same, and their end
    is then unknown.
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
