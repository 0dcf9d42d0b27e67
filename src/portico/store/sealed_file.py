"""Records in files sealed with a passphrase: for machines without a keyring, and only when chosen.

`store.json` holds a random key, sealed with a key made from the passphrase (scrypt, RFC 7914); each record is sealed with that
random key. So the passphrase is stretched once in a process, and a wrong one is known before anything is written.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from portico.errors import StoreError
from portico.store.atomic import no_step, read_private, remove_private, set_aside, write_private
from portico.store.lock import file_lock
from portico.store.sealing import (
    KEY_BYTES,
    VERSION,
    SealedRecords,
    SealError,
    from_base64,
    new_key,
    parse_sealed,
    seal,
    to_base64,
    unseal,
)

if TYPE_CHECKING:
    from portico.paths import Paths
    from portico.secret import Secret
    from portico.store.atomic import OnStep
    from portico.store.passphrase import PassphraseSource
    from portico.store.profile_record import StoreName
    from portico.store.records import Fits

# OWASP's figures for scrypt, in the variant that takes 32 MiB.
_COST: Final = {"n": 1 << 15, "r": 8, "p": 3}
_COST_LIMITS: Final = {"n": 1 << 20, "r": 32, "p": 16}
_SALT_BYTES: Final = 16
_KEY_FILE: Final = "store.json"


class SealedFileStore:
    """One folder of sealed records and the key to them."""

    name: StoreName = "file"
    backend: str | None = None
    unsettled = False

    def __init__(self, paths: Paths, passphrase: PassphraseSource, *, on_step: OnStep = no_step) -> None:
        self._key_path = paths.sealed / _KEY_FILE
        self._lock_path = paths.locks / "sealed.lock"
        self._passphrase = passphrase
        self._records = SealedRecords(paths.sealed, "sealed", on_step=on_step)
        self._opened: tuple[bytes, bytes] | None = None

    def get(self, user: str, fits: Fits | None = None) -> Secret | None:  # noqa: ARG002 - there is one copy
        """The record of `user`, None only where there is none.

        Raises:
            StoreError: no passphrase or a wrong one, or the file is damaged or cannot be read.
        """
        if not self._records.exists(user):
            return None
        data = read_private(self._key_path)
        if data is None:
            raise StoreError("sealed-key-missing", f"{self._key_path} is gone: without it no sealed record opens")
        return self._records.read(user, self._open(data))

    def set(self, user: str, value: Secret) -> None:
        """Seal `value` as the record of `user`; makes the store where there is none.

        Raises:
            StoreError: no passphrase or a wrong one, or the disk failed.
            LockBusy: another process is making the store.
        """
        data = read_private(self._key_path)
        if data is None:
            with file_lock(self._lock_path, what="the sealed file store"):
                data = read_private(self._key_path) or self._make()
        self._records.write(user, self._open(data), value)

    def delete(self, user: str, *, keep: Fits | None = None, ask: bool = True) -> None:  # noqa: ARG002 - it asks nobody
        """Remove the record of `user`; with `keep` nothing, since there is one copy. Takes no passphrase.

        Raises:
            StoreError: it is there and stays.
        """
        if keep is None:
            self._records.delete(user)

    def _make(self) -> bytes:
        key = new_key()
        stretched: dict[str, Any] = {"name": "scrypt", "salt": to_base64(new_key()[:_SALT_BYTES]), **_COST}
        derived = self._stretched(stretched, new=True)  # without one, the records wait for their key's backup
        remove_private(self._key_path)  # what a killed process has left of it
        for orphan in self._records.all():  # sealed with a key that is gone
            set_aside(orphan)
        data = json.dumps({"v": VERSION, "kdf": stretched, **seal(derived, key, _context(stretched))}).encode()
        write_private(self._key_path, data)
        self._opened = (data, key)
        return data

    def _open(self, data: bytes) -> bytes:
        if self._opened is not None and self._opened[0] == data:
            return self._opened[1]
        try:
            document = parse_sealed(data, self._key_path)
            stretched = _checked(document.get("kdf"))
            from_base64(document.get("data"))
        except SealError as error:
            raise self._damaged(str(error)) from None
        try:
            key = unseal(self._stretched(stretched), document, _context(stretched))
        except SealError:
            raise StoreError(
                "passphrase-wrong",
                "the passphrase does not open the sealed file store",
                why=f"{self._key_path} was sealed with another one",
                hint="give the passphrase that the store was made with; if it is lost, "
                f"move {self._key_path.parent} away and sign in again",
            ) from None
        if len(key) != KEY_BYTES:
            raise self._damaged("the key in it has the wrong length")
        self._opened = (data, key)
        return key

    def _stretched(self, how: dict[str, Any], *, new: bool = False) -> bytes:
        return self._passphrase.stretched(lambda passphrase: _stretch(passphrase, how), _context(how), new=new)

    def _damaged(self, why: str) -> StoreError:
        return StoreError(
            "sealed-key-damaged",
            f"{self._key_path} is damaged; it is kept as {set_aside(self._key_path).name}",
            why=why,
            hint="put it back from a backup, or run the command again: a new one is made",
        )


def _checked(stretched: object) -> dict[str, Any]:
    if not isinstance(stretched, dict) or stretched.get("name") != "scrypt":
        raise SealError("`kdf` is missing or wrong")
    for name, most in _COST_LIMITS.items():  # a planted file could otherwise ask for all memory there is
        value = stretched.get(name)
        if type(value) is not int or not 0 < value <= most:
            raise SealError(f"`kdf.{name}` is missing or wrong")
    if stretched["n"] & (stretched["n"] - 1) or stretched["n"] == 1:
        raise SealError("`kdf.n` is no power of two")
    from_base64(stretched.get("salt"))
    return dict(stretched)


def _stretch(passphrase: Secret, stretched: dict[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    salt = from_base64(stretched["salt"])
    kdf = Scrypt(salt=salt, length=KEY_BYTES, n=stretched["n"], r=stretched["r"], p=stretched["p"])
    return kdf.derive(passphrase.reveal().encode())


def _context(stretched: dict[str, Any]) -> str:
    return f"portico sealed store\0{VERSION}\0{json.dumps(stretched, sort_keys=True)}"
