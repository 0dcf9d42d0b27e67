"""Gateway keys: make, show, rotate and revoke them.

Each tool has its own key, which can be revoked by name. The keys are in the token store. Their index is a separate file with
the SHA-256 of each key. The gateway checks a request's key by this index, so it never has to open a locked keyring for a
request.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from portico.errors import NameTaken, SignInNeeded, StoreError, UnknownName, UsageError
from portico.paths import Paths
from portico.secret import Secret
from portico.store.profiles import sign_in_again, without_sign_in_hint
from portico.store.records import GatewayKeyProfile, Profile, fingerprint
from portico.store.token_store import ABSENT, GenerationChanged, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from portico.interfaces.basics import Clock
    from portico.store.token_store import TokenStore

DEFAULT: Final = "default"
# Clients and secret scanners recognise keys by their prefix. Some clients accept only keys that begin with "sk-".
_PREFIX: Final = "sk-portico-"
_BYTES: Final = 32
_OF_TOOL: Final = re.compile(r"exec-(.+)-\d+")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyPaths(Paths):
    """The paths of the state folder, with the index of the keys as `index`."""

    @classmethod
    def of(cls, paths: Paths) -> KeyPaths:
        """The `KeyPaths` of the same state folder."""
        return cls(paths.config, paths.state, paths.state_id)

    @property
    def index(self) -> Path:
        return self.state / "gateway-keys.json"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """The name and times of a key, without the key itself. `created_at` is in ms since the epoch."""

    name: str
    created_at: int
    sha256: str


class GatewayKeys:
    """Makes, shows and revokes keys. Blocking. `store` uses the index of the keys (`KeyPaths`)."""

    def __init__(self, store: TokenStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def all(self) -> tuple[KeyInfo, ...]:
        """Every key, the oldest first.

        Raises:
            StoreError: the index cannot be read.
        """
        return tuple(sorted(known(self._store.profiles()), key=lambda key: key.created_at))

    def add(self, name: str) -> Secret:
        """Make and store a key with this name.

        Raises:
            UsageError: `usage`, `name-taken`.
            StoreError, LockBusy: it could not be stored.
        """
        if _NAME.fullmatch(name) is None:
            hint = "use up to 64 letters, digits and . _ -, for example the name of the tool"
            raise UsageError(f"This is not a valid name for a gateway key: {name!r}", hint=hint)
        if self._store.get(_id(name)) is not None:
            raise _exists(name)
        try:
            return self._store_new(name, None)
        except GenerationChanged:
            raise _exists(name) from None

    def rotate(self, name: str) -> Secret:
        """Replace the key with this name by a new one. The old key is rejected from now on.

        Raises:
            UsageError: `unknown-name`.
            StoreError, LockBusy: the new key could not be stored; the old key stays valid.
        """
        return self._store_new(name, self._get(name))

    def show(self, name: str) -> Secret:
        """The key with this name.

        Raises:
            UsageError: `unknown-name`.
            StoreError: it cannot be read.
        """
        profile = self._get(name)
        try:
            return self._store.read(profile.id).tokens.access
        except (StoreError, SignInNeeded) as error:  # a key needs no sign-in
            if error.hint is not None:
                sign_in, rotate = sign_in_again(profile), f"{{prog}} gateway key rotate {name}"
                error.hint = error.hint.replace(f"{sign_in} --store file", f"{{prog}} config set auth.store file, then: {rotate}")
                for old, new in (("Sign in again", "Make another"), ("sign in again", "make another")):
                    error.hint = error.hint.replace(f"{old}: {sign_in}", f"{new}: {rotate}")
            raise

    def revoke(self, name: str) -> tuple[str, ...]:
        """Reject the key with this name from now on, and delete it. Returns what could not be deleted.

        Raises:
            UsageError: `unknown-name`.
            StoreError, LockBusy: the index cannot be changed.
        """
        self._get(name)
        return self._store.delete(_id(name))

    def ensure_one(self) -> str | None:
        """Make the first key if there is no key yet. Return its name, or None if there was a key.

        Raises:
            StoreError, LockBusy: it could not be stored.
        """
        if self._store.profiles():
            return None
        try:
            self._store_new(DEFAULT, None)
        except GenerationChanged:
            return None  # another process made a key at the same time
        return DEFAULT

    def _get(self, name: str) -> GatewayKeyProfile:
        profile = self._store.get(_id(name))
        if not isinstance(profile, GatewayKeyProfile):
            names = [key.name for key in self.all()]
            hint = f"There is {', '.join(names)}." if names else f"Make one: {{prog}} gateway key add {name}"
            raise UnknownName(f"There is no gateway key {name}.", hint=hint)
        return profile

    def _store_new(self, name: str, before: GatewayKeyProfile | None) -> Secret:
        """Make and store a key that replaces `before`, or is the first with its name if `before` is None.

        Raises:
            GenerationChanged: another process has changed the key since `before` was read.
        """
        key = Secret(_PREFIX + secrets.token_urlsafe(_BYTES))
        new = GatewayKeyProfile(id=_id(name), name=name, created_at=self._clock.wall_ms())
        profile, expected = (new, ABSENT) if before is None else (before, before.generation)
        # One edit of the index sets fingerprint and pointer, so the old key becomes invalid exactly when the new key is stored.
        profile = replace(profile, sha256=fingerprint(key))
        try:
            self._store.commit(profile, Tokens(key, None, None), expect_generation=expected, may_move=True)
        except StoreError as error:
            error.hint = without_sign_in_hint(error.hint)
            raise
        return key


def known(profiles: Iterable[Profile]) -> tuple[KeyInfo, ...]:
    """The valid keys of an index. A key whose creation was interrupted is left out."""
    keys = (profile for profile in profiles if isinstance(profile, GatewayKeyProfile) and profile.slot)
    return tuple(KeyInfo(key.name, key.created_at, key.sha256) for key in keys if key.sha256)


def owner(keys: Iterable[KeyInfo], shown: Iterable[str]) -> str | None:
    """The name of the key that a request carries, or None. Always compares every valid key (constant time)."""
    name = None
    for text in shown:
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        for key in keys:
            if hmac.compare_digest(digest, key.sha256):
                name = key.name
    return name


@lru_cache(maxsize=256)
def tool_of(name: str) -> str | None:
    """The tool for which `exec` made the key with this name; None for a key that a person made."""
    match = _OF_TOOL.fullmatch(name)
    return match[1] if match is not None else None


def name_for(tool: str, pid: int) -> str:
    """The name of the key for one run of a tool that process `pid` started."""
    return f"exec-{_NOT_IN_NAMES.sub('-', tool)[:32] or 'tool'}-{pid}"


def _exists(name: str) -> UsageError:
    hint = f"{{prog}} gateway key rotate {name}, or choose another name"
    return NameTaken(f"There is a gateway key {name} already.", hint=hint)


def _id(name: str) -> str:
    return f"gateway:{name}"
