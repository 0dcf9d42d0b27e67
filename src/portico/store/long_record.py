"""Records too long for their keyring: sealed in a file, with a random key of their own in the keyring.

The Windows Credential Locker takes 1,280 UTF-16 units, less than one JWT. A record cut into parts could tear; one small key, and
one file that is replaced whole, cannot.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from portico.errors import StoreError
from portico.secret import Secret
from portico.store.atomic import no_step
from portico.store.sealing import SealedRecords, SealError, from_base64, new_key, to_base64

if TYPE_CHECKING:
    from pathlib import Path

    from portico.store.atomic import OnStep
    from portico.store.keyring_store import KeyringStore
    from portico.store.profile_record import StoreName
    from portico.store.records import Fits

# A record begins with `{"v":`, so this cannot be one.
_POINTER: Final = '{"sealed":'


class LongRecordStore:
    """A keyring that takes records of any length. `may_seal` False: one that is too long is refused, and no file is written."""

    name: StoreName = "keyring"

    def __init__(self, keyring: KeyringStore, folder: Path, *, may_seal: bool = True, on_step: OnStep = no_step) -> None:
        self._keyring = keyring
        self._may_seal = may_seal
        self._sealed = SealedRecords(folder, "keyed", on_step=on_step)
        self._on_step = on_step

    @property
    def backend(self) -> str:
        """The keyring's class."""
        return self._keyring.backend

    @property
    def unsettled(self) -> bool:
        """Whether a call that timed out is still going on."""
        return self._keyring.unsettled

    def get(self, user: str, fits: Fits | None = None) -> Secret | None:
        """The record of `user`, None only where there is none. Of several copies the first that `fits`, else the first.

        Raises:
            StoreError: the keyring or the file failed, or the file is missing or damaged.
        """
        value = self._keyring.get(user, None if fits is None else lambda value: _is_pointer(value) or fits(value))
        if value is None or not _is_pointer(value):
            return value
        record = self._sealed.read(user, _key_in(value, user))
        if record is None:
            path = self._sealed.path(user)
            raise StoreError("record-damaged", f"{path} is gone: the keyring holds only its key")
        return record

    def set(self, user: str, value: Secret) -> None:
        """Keep `value` as the record of `user`.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: the keyring or the disk failed, or the record is too long and may not be sealed.
        """
        limit = self._keyring.limit
        units = len(value.reveal().encode("utf-16-le")) // 2
        if limit is None or units <= limit:
            self._keyring.set(user, value)
            return
        if not self._may_seal:
            raise StoreError(
                "record-too-long",
                f"the tokens are too long for {self.backend}",
                why=f"{units:,} UTF-16 units, and {limit:,} is the most; --store keyring asks that no file be written",
                hint="leave --store out: the record is then sealed in a file, and only its key is in the keyring",
            )
        key = new_key()
        self._sealed.write(user, key, value)
        self._on_step("sealed")
        self._keyring.set(user, Secret(json.dumps({"sealed": 1, "key": to_base64(key)}, separators=(",", ":"))))

    def delete(self, user: str, *, keep: Fits | None = None, ask: bool = True) -> None:
        """Remove the record of `user`: the key first, since what it sealed is then lost already. What `keep` wants stays.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: something is there and stays.
        """
        self._keyring.delete(user, keep=None if keep is None else lambda value: _is_pointer(value) or keep(value), ask=ask)
        if keep is None:
            self._sealed.delete(user)


def _is_pointer(value: Secret) -> bool:
    return value.reveal().startswith(_POINTER)


def _key_in(value: Secret, user: str) -> bytes:
    try:
        pointer = json.loads(value.reveal())
        if isinstance(pointer, dict) and pointer.get("sealed") == 1:
            return from_base64(pointer.get("key"))
        raise SealError("not a pointer to a sealed record")
    except ValueError as error:
        raise StoreError("record-damaged", "the stored tokens are damaged", why=f"{user}: {error}") from None
