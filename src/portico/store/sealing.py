"""AES-256-GCM around one text, as a small JSON file that says which record it is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from typing import TYPE_CHECKING, Final

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.atomic import no_step, read_private, remove_private, set_aside, write_private
from portico.store.records import SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portico.store.atomic import OnStep

VERSION: Final = 1
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class SealError(ValueError):
    """What was to be opened is damaged, or the key is not its key: GCM cannot tell the two apart."""


def new_key() -> bytes:
    """A fresh 256-bit key."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, plain: bytes, context: str) -> dict[str, str]:
    """`plain` sealed; it opens with the same key and the same `context` only."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return {"nonce": to_base64(nonce), "data": to_base64(AESGCM(key).encrypt(nonce, plain, context.encode()))}


def unseal(key: bytes, box: object, context: str) -> bytes:
    """What `seal` was given.

    Raises:
        SealError: the box is damaged, or not sealed with this key and context.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not isinstance(box, dict):
        raise SealError("not a sealed box")
    try:
        return AESGCM(key).decrypt(from_base64(box.get("nonce")), from_base64(box.get("data")), context.encode())
    except (InvalidTag, ValueError):
        raise SealError("it does not open") from None


def to_base64(data: bytes) -> str:
    """`data` as base64 text."""
    return base64.b64encode(data).decode()


def from_base64(text: object) -> bytes:
    """The bytes behind base64 `text`.

    Raises:
        SealError: it is no such text.
    """
    if not isinstance(text, str):
        raise SealError("a base64 field is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SealError("a base64 field is damaged") from None


def parse_sealed(data: bytes, path: Path) -> dict[str, object]:
    """The JSON of a sealed file.

    Raises:
        SealError: it is none.
        StoreError: it is of a later version.
    """
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise SealError("not JSON") from None
    version = document.get("v") if isinstance(document, dict) else None
    if type(version) is int and version > VERSION:
        raise StoreError(
            "record-newer",
            f"{path} was written by a later version of this program",
            why=f"its format is {version}; this version knows {VERSION}",
            hint="upgrade; the file has not been touched",
        )
    if version != VERSION:
        raise SealError("`v` is missing or wrong")
    return dict(document)


class SealedRecords:
    """Sealed records in a folder, one file for each user. Its name is a hash: users differ in case, and file systems may not."""

    def __init__(self, folder: Path, suffix: str, *, on_step: OnStep = no_step) -> None:
        self._folder = folder
        self._suffix = suffix
        self._on_step = on_step

    def path(self, user: str) -> Path:
        """Where the record of `user` is, if there is one."""
        return self._folder / f"{hashlib.sha256(user.encode()).hexdigest()[:32]}.{self._suffix}"

    def exists(self, user: str) -> bool:
        """Whether there is a file for `user`. One that cannot be looked at counts: opening it will say why."""
        return os.path.lexists(self.path(user))

    def all(self) -> Iterator[Path]:
        """Every record's file."""
        yield from self._folder.glob(f"*.{self._suffix}")

    def write(self, user: str, key: bytes, value: Secret) -> None:
        """Seal `value` as the record of `user`, durably.

        Raises:
            StoreError: it cannot be written; the one before stays.
        """
        document = {"v": VERSION, "user": user, **seal(key, value.reveal().encode(), _context(user))}
        write_private(self.path(user), json.dumps(document).encode(), on_step=self._on_step)

    def read(self, user: str, key: bytes) -> Secret | None:
        """The record of `user`, None where there is none. A damaged one is set aside.

        Raises:
            StoreError: it is damaged, of a later version, or cannot be read.
        """
        path = self.path(user)
        data = read_private(path)
        if data is None:
            return None
        try:
            return Secret(unseal(key, parse_sealed(data, path), _context(user)).decode())
        except ValueError as error:
            raise StoreError(
                "record-damaged",
                f"the sealed record {path} is damaged; it is kept as {set_aside(path).name}",
                why=f"{user}: {error}",
            ) from None

    def delete(self, user: str) -> None:
        """Remove the record of `user`, and what killed writes have left of it.

        Raises:
            StoreError: it is there and stays.
        """
        remove_private(self.path(user))


def _context(user: str) -> str:
    return f"portico sealed record\0{VERSION}\0{SERVICE}\0{user}"
