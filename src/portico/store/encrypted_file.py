"""The encrypted file store: records in files, for machines without a keyring. It is used only if the user chooses it.

Every file is JSON with the name of a record and its text, encrypted with AES-256-GCM. `store.json` has a random key, which
encrypts every record. This random key is encrypted with a key derived from the passphrase (scrypt, RFC 7914). So each process
derives a key only once, and a wrong passphrase is noticed before anything is written.

A record that is too long for the keyring is also in such a file, and its own random key is in the keyring. The Windows
Credential Locker accepts 1,280 UTF-16 units, less than one JWT. A record in several parts could be left half written; a small
key and a file that is replaced as a whole cannot.
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import json
import os
import stat
import threading
from typing import TYPE_CHECKING, Any, Final

from portico.paths import UnknownHome, expand_home
from portico.secret import SECRET_VARIABLES, Secret
from portico.store.errors import PassphraseNeeded, PassphraseWrong, RecordDamaged, RecordTooLong, StateNewer, StoreKeyLost
from portico.store.records import SERVICE
from portico.util.files import file_error, no_crash_point, read_file, read_private, remove_private, set_aside, write_private
from portico.util.lock import file_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from portico.errors import StoreError
    from portico.paths import Paths
    from portico.store.keyring import KeyringStore
    from portico.store.records import RecordMatch, StoreName
    from portico.util.files import CrashPoint

VERSION: Final = 1
KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class DecryptionError(ValueError):
    """The data is damaged or was encrypted with another key. GCM cannot distinguish the two."""


def new_key() -> bytes:
    """Return a random 256-bit key."""
    return os.urandom(KEY_BYTES)


def encrypt(key: bytes, plain: bytes, context: str) -> dict[str, str]:
    """Encrypt `plain`. Decryption needs the same key and the same `context`."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = os.urandom(_NONCE_BYTES)
    return {"nonce": to_base64(nonce), "data": to_base64(AESGCM(key).encrypt(nonce, plain, context.encode()))}


def decrypt(key: bytes, encrypted: object, context: str) -> bytes:
    """Decrypt the result of `encrypt`.

    Raises:
        DecryptionError: the data is damaged, or encrypted with another key or context.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not isinstance(encrypted, dict):
        raise DecryptionError("not an encrypted text")
    try:
        return AESGCM(key).decrypt(from_base64(encrypted.get("nonce")), from_base64(encrypted.get("data")), context.encode())
    except (InvalidTag, ValueError):
        raise DecryptionError("it cannot be decrypted") from None


def to_base64(data: bytes) -> str:
    """Return `data` as base64 text."""
    return base64.b64encode(data).decode()


def from_base64(text: object) -> bytes:
    """Return the bytes of base64 `text`.

    Raises:
        DecryptionError: `text` is not base64.
    """
    if not isinstance(text, str):
        raise DecryptionError("a base64 field is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DecryptionError("a base64 field is damaged") from None


def parse_encrypted(data: bytes, path: Path) -> dict[str, object]:
    """Return the JSON object in an encrypted file.

    Raises:
        DecryptionError: the file is damaged.
        StoreError: a later version wrote the file.
    """
    try:
        fields = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise DecryptionError("not JSON") from None
    version = fields.get("v") if isinstance(fields, dict) else None
    if type(version) is int and version > VERSION:
        raise StateNewer(
            f"{path} was written by a later version of Portico.",
            why=f"its format is {version}; this version knows {VERSION}",
            hint="Upgrade Portico. The file was not changed.",
        )
    if version != VERSION:
        raise DecryptionError("`v` is missing or wrong")
    return dict(fields)


class EncryptedRecords:
    """Encrypted records in a folder, with a file for each user. File names are hashes, because file systems may ignore case."""

    def __init__(self, folder: Path, suffix: str, *, crash_point: CrashPoint = no_crash_point) -> None:
        self._folder = folder
        self._suffix = suffix
        self._crash_point = crash_point

    def path(self, user: str) -> Path:
        """Return the path of the record of `user`, even if the file does not exist."""
        return self._folder / f"{hashlib.sha256(user.encode()).hexdigest()[:32]}.{self._suffix}"

    def exists(self, user: str) -> bool:
        """Whether the file of `user` exists, even if it is unreadable."""
        return os.path.lexists(self.path(user))

    def paths(self) -> Iterator[Path]:
        """Return the files of all records."""
        return self._folder.glob(f"*.{self._suffix}")

    def write(self, user: str, key: bytes, value: Secret) -> None:
        """Encrypt `value` and write it durably as the record of `user`.

        Raises:
            StoreError: the file cannot be written; the earlier record stays.
        """
        document = {"v": VERSION, "user": user, **encrypt(key, value.reveal().encode(), _record_context(user))}
        write_private(self.path(user), json.dumps(document).encode(), crash_point=self._crash_point)

    def read(self, user: str, key: bytes) -> Secret | None:
        """Return the record of `user`, or None if it does not exist. A damaged record is moved aside.

        Raises:
            StoreError: the record is damaged, cannot be read, or was written by a later version.
        """
        path = self.path(user)
        data = read_private(path)
        if data is None:
            return None
        try:
            return Secret(decrypt(key, parse_encrypted(data, path), _record_context(user)).decode())
        except ValueError as error:
            raise RecordDamaged(
                f"The token record {path} is damaged. It was moved to {set_aside(path).name}.",
                why=f"{user}: {error}",
            ) from None

    def delete(self, user: str) -> None:
        """Delete the record of `user`, and the temporary files of killed writes.

        Raises:
            StoreError: the record cannot be deleted.
        """
        remove_private(self.path(user))


def _record_context(user: str) -> str:
    return f"portico sealed record\0{VERSION}\0{SERVICE}\0{user}"


FILE_ENV, TEXT_ENV = SECRET_VARIABLES
_FILE_LIMIT: Final = 64 * 1024
_USABLE_FILE_HINT: Final = f"Set {FILE_ENV} to a file that you can read, with the passphrase as UTF-8 in its first line."


class PassphraseSource:
    """The passphrase: from the file in `PORTICO_PASSPHRASE_FILE`, from `PORTICO_PASSPHRASE`, or from a prompt.

    `prompt` gets the text of the prompt: once to open a store, twice to make one. It returns None if Portico cannot ask.
    After reading, `PORTICO_PASSPHRASE` is removed from the process's environment, so that no child process inherits it.
    Deriving a key takes 32 MiB and a tenth of a second; all stores of a run share the derived keys.
    """

    def __init__(self, env: Mapping[str, str] | None = None, prompt: Callable[[str], Secret | None] = lambda _: None) -> None:
        self._env = os.environ if env is None else env
        self._prompt = prompt
        self._prompted: Secret | None = None
        self._from_environment: Secret | None = None
        self._derived_keys: dict[str, tuple[Secret, bytes]] = {}
        self._deriving = threading.Lock()
        self._lock = threading.Lock()  # a second thread would not find the removed variable, or would prompt again

    def get(self, *, new: bool = False) -> Secret:
        """Return the passphrase. `new`: a new store will use it.

        Raises:
            StoreError: there is no passphrase, it is empty, its file cannot be read, or the two prompts differ.
        """
        with self._lock:
            return self._read(new=new)

    def derive_key(self, derive: Callable[[Secret], bytes], parameters: str, *, new: bool = False) -> bytes:
        """Return the key that `derive` makes from the passphrase with `parameters` (salt and cost).

        `new` means the same as for `get`.

        Raises:
            StoreError: as `get`.
        """
        with self._deriving:
            passphrase = self.get(new=new)
            cached = self._derived_keys.get(parameters)
            if cached is None or cached[0] != passphrase:
                cached = self._derived_keys[parameters] = passphrase, derive(passphrase)
            return cached[1]

    def _read(self, *, new: bool) -> Secret:
        path = self._env.get(FILE_ENV)
        if path:
            return _not_empty(_read_first_line(_passphrase_path(path, self._env)), f"The file in {FILE_ENV}")
        if self._from_environment is not None:
            return self._from_environment
        text = self._env.get(TEXT_ENV)
        if text is not None:
            return self._take_from_environment(text)
        if self._prompted is None or new:
            self._prompted = self._ask(new=new)
        return self._prompted

    def _take_from_environment(self, text: str) -> Secret:
        self._from_environment = _not_empty(text, TEXT_ENV)
        if self._env is os.environ:
            os.environ.pop(TEXT_ENV, None)  # another thread may have removed it just now
        return self._from_environment

    def _ask(self, *, new: bool) -> Secret:
        passphrase = self._prompt("New passphrase for the token store" if new else "Passphrase of the token store")
        if passphrase is None:
            raise PassphraseNeeded(
                "The encrypted file needs its passphrase.",
                why="none is set, and Portico cannot ask for it",
                hint=f"Set {FILE_ENV} to a file with the passphrase, or set {TEXT_ENV}.",
            )
        if new and passphrase and self._prompt("The same passphrase again") != passphrase:
            raise PassphraseWrong("The two passphrases differ.", hint="Run the command again.")
        return _not_empty(passphrase.reveal(), "The passphrase")


def _passphrase_path(text: str, env: Mapping[str, str]) -> Path:
    try:
        return expand_home(text, FILE_ENV, env)
    except UnknownHome as error:
        raise PassphraseNeeded(f"Could not find the file in {FILE_ENV}.", why=str(error), hint=error.hint) from None


def _read_first_line(path: Path) -> str:
    from portico.util.ownership import OwnershipCheck

    # Checks only the modes, because a secret mounted into a container has an owner from outside. The finding
    # `others-may-change` warns about the owner.
    exposure = OwnershipCheck(modes_only=True).exposure(path)
    if exposure is not None:
        message = f"Other users can change the passphrase in {path}."
        raise PassphraseNeeded(message, why=str(exposure), hint=exposure.hint)
    try:
        return read_file(path, _FILE_LIMIT, check=_check_not_writable).decode().split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        message = f"Could not read the passphrase in {path}."
        raise file_error(message, error, advice=_USABLE_FILE_HINT, kind=PassphraseNeeded) from error
    except UnicodeDecodeError:
        message = f"Could not read the passphrase in {path}."
        raise PassphraseNeeded(message, why="not UTF-8", hint=_USABLE_FILE_HINT) from None


def _check_not_writable(fd: int) -> None:
    # Read permissions are not checked, because in a container everyone can often read secrets.
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and os.name == "posix" and status.st_mode & 0o022:
        raise OSError(errno.EPERM, "other users may write to it")


def _not_empty(value: str, source: str) -> Secret:
    if not value:
        raise PassphraseNeeded(f"{source} is empty.", hint=f"Put a passphrase there, or unset {TEXT_ENV}.")
    return Secret(value)


# OWASP's figures for scrypt, in the variant that takes 32 MiB.
_COST: Final = {"n": 1 << 15, "r": 8, "p": 3}
_COST_LIMITS: Final = {"n": 1 << 20, "r": 32, "p": 16}
_SALT_BYTES: Final = 16
_KEY_FILE: Final = "store.json"


class EncryptedFileStore:
    """A folder of encrypted records, and the file with their key."""

    name: StoreName = "file"
    backend: str | None = None
    has_pending_call = False

    def __init__(self, paths: Paths, passphrase: PassphraseSource, *, crash_point: CrashPoint = no_crash_point) -> None:
        self._key_path = paths.encrypted_records / _KEY_FILE
        self._lock_path = paths.locks / "sealed.lock"
        self._passphrase = passphrase
        self._records = EncryptedRecords(paths.encrypted_records, "sealed", crash_point=crash_point)
        self._opened: tuple[bytes, bytes] | None = None

    def get(self, user: str, matches: RecordMatch | None = None) -> Secret | None:  # noqa: ARG002 - there is one copy
        """Return the record of `user`, or None if it does not exist.

        Raises:
            StoreError: the passphrase is missing or wrong, or the file is damaged or cannot be read.
        """
        if not self._records.exists(user):
            return None
        data = read_private(self._key_path)
        if data is None:
            raise StoreKeyLost(f"{self._key_path} is missing. Without it, the stored tokens cannot be decrypted.")
        return self._records.read(user, self._open(data))

    def set(self, user: str, value: Secret) -> None:
        """Write `value` as the record of `user`. Make the store first if it does not exist.

        Raises:
            StoreError: the passphrase is missing or wrong, or a file cannot be written.
            LockBusy: another process is making the store.
        """
        data = read_private(self._key_path)
        if data is None:
            with file_lock(self._lock_path, what="the encrypted file"):
                data = read_private(self._key_path) or self._make()
        self._records.write(user, self._open(data), value)

    def delete(self, user: str, *, keep: RecordMatch | None = None, ask: bool = True) -> None:  # noqa: ARG002 - it never asks
        """Delete the record of `user`, without a passphrase. With `keep`, do nothing: this store has only one copy.

        Raises:
            StoreError: the record cannot be deleted.
        """
        if keep is None:
            self._records.delete(user)

    def _make(self) -> bytes:
        key = new_key()
        kdf: dict[str, Any] = {"name": "scrypt", "salt": to_base64(new_key()[:_SALT_BYTES]), **_COST}
        derived_key = self._derive_key(kdf, new=True)  # if this fails, the old records stay, and a backup of their key opens them
        remove_private(self._key_path)  # left by a killed process
        for orphan in self._records.paths():  # their key is lost
            set_aside(orphan)
        data = json.dumps({"v": VERSION, "kdf": kdf, **encrypt(derived_key, key, _context(kdf))}).encode()
        write_private(self._key_path, data)
        self._opened = (data, key)
        return data

    def _open(self, data: bytes) -> bytes:
        if self._opened is not None and self._opened[0] == data:
            return self._opened[1]
        try:
            fields = parse_encrypted(data, self._key_path)
            kdf = _checked_kdf(fields.get("kdf"))
            from_base64(fields.get("data"))
        except DecryptionError as error:
            raise self._damaged(str(error)) from None
        try:
            key = decrypt(self._derive_key(kdf), fields, _context(kdf))
        except DecryptionError:
            raise PassphraseWrong(
                "The passphrase is wrong.",
                why=f"{self._key_path} was encrypted with another passphrase",
                hint="Use the passphrase that the encrypted file was made with. If it is lost, "
                f"move {self._key_path.parent} away and sign in again.",
            ) from None
        if len(key) != KEY_BYTES:
            raise self._damaged("the key in it has the wrong length")
        self._opened = (data, key)
        return key

    def _derive_key(self, kdf: dict[str, Any], *, new: bool = False) -> bytes:
        return self._passphrase.derive_key(lambda passphrase: _scrypt(passphrase, kdf), _context(kdf), new=new)

    def _damaged(self, why: str) -> StoreError:
        return StoreKeyLost(
            f"{self._key_path} is damaged. It was moved to {set_aside(self._key_path).name}.",
            why=why,
            hint="Put it back from a backup, or run the command again to make a new one.",
        )


def _checked_kdf(kdf: object) -> dict[str, Any]:
    if not isinstance(kdf, dict) or kdf.get("name") != "scrypt":
        raise DecryptionError("`kdf` is missing or wrong")
    for name, limit in _COST_LIMITS.items():  # otherwise a forged file could make scrypt use all memory
        value = kdf.get(name)
        if type(value) is not int or not 0 < value <= limit:
            raise DecryptionError(f"`kdf.{name}` is missing or wrong")
    if kdf["n"] & (kdf["n"] - 1) or kdf["n"] == 1:
        raise DecryptionError("`kdf.n` is not a power of two")
    from_base64(kdf.get("salt"))
    return dict(kdf)


def _scrypt(passphrase: Secret, params: dict[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    salt = from_base64(params["salt"])
    kdf = Scrypt(salt=salt, length=KEY_BYTES, n=params["n"], r=params["r"], p=params["p"])
    return kdf.derive(passphrase.reveal().encode())


def _context(kdf: dict[str, Any]) -> str:
    return f"portico sealed store\0{VERSION}\0{json.dumps(kdf, sort_keys=True)}"


# No record starts like this: they start with `{"v":`.
_POINTER: Final = '{"sealed":'


class LongRecordStore:
    """A keyring for records of any length. A record that is too long for it goes into an encrypted file, if `may_encrypt`."""

    name: StoreName = "keyring"

    def __init__(
        self, keyring: KeyringStore, folder: Path, *, may_encrypt: bool = True, crash_point: CrashPoint = no_crash_point
    ) -> None:
        self._keyring = keyring
        self._may_encrypt = may_encrypt
        self._records = EncryptedRecords(folder, "keyed", crash_point=crash_point)
        self._crash_point = crash_point

    @property
    def backend(self) -> str:
        """The keyring's class."""
        return self._keyring.backend

    @property
    def has_pending_call(self) -> bool:
        return self._keyring.has_pending_call

    def get(self, user: str, matches: RecordMatch | None = None) -> Secret | None:
        """Return the record, or None if it does not exist.

        If there are several copies, return the first that `matches`, else the first.

        Raises:
            StoreError: the keyring or the file failed, or the file is missing or damaged.
        """
        value = self._keyring.get(user, None if matches is None else lambda value: _is_pointer(value) or matches(value))
        if value is None or not _is_pointer(value):
            return value
        record = self._records.read(user, _key_in(value, user))
        if record is None:
            path = self._records.path(user)
            raise RecordDamaged(f"{path} is missing. The keyring has only its key.")
        return record

    def set(self, user: str, value: Secret) -> None:
        """Write `value` as the record of `user`.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: the keyring or the disk failed, or the record is too long and may not go into a file.
        """
        limit = self._keyring.limit
        length = len(value.reveal().encode("utf-16-le")) // 2
        if limit is None or length <= limit:
            self._keyring.set(user, value)
            return
        if not self._may_encrypt:
            raise RecordTooLong(
                f"The tokens are too long for the keyring {self.backend}.",
                why=f"{length:,} UTF-16 units, at most {limit:,} are allowed; with --store keyring, no file is written",
                hint="Leave out --store: the record is then encrypted in a file, and only its key is in the keyring.",
            )
        key = new_key()
        self._records.write(user, key, value)
        self._crash_point("encrypted")
        self._keyring.set(user, Secret(json.dumps({"sealed": 1, "key": to_base64(key)}, separators=(",", ":"))))

    def delete(self, user: str, *, keep: RecordMatch | None = None, ask: bool = True) -> None:
        """Delete the record of `user`, except copies for which `keep` is true.

        The key is deleted first: without it the file is unreadable.

        Raises:
            StoreUnknown: the keyring did not answer in time.
            StoreError: the record cannot be deleted.
        """
        self._keyring.delete(user, keep=None if keep is None else lambda value: _is_pointer(value) or keep(value), ask=ask)
        if keep is None:
            self._records.delete(user)


def _is_pointer(value: Secret) -> bool:
    return value.reveal().startswith(_POINTER)


def _key_in(value: Secret, user: str) -> bytes:
    try:
        pointer = json.loads(value.reveal())
        if isinstance(pointer, dict) and pointer.get("sealed") == 1:
            return from_base64(pointer.get("key"))
        raise DecryptionError("not a pointer to an encrypted record")
    except ValueError as error:
        raise RecordDamaged("The stored tokens are damaged.", why=f"{user}: {error}") from None
