"""The keys that clients show the gateway: one for each tool, made here, kept where the tokens are, and revocable by name.

They are kept in a token store of their own, as any token is. The index holds each key's SHA-256 and not the key: the
gateway needs no more to know one, and so never has to open a locked keyring for a request.
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
# Clients and secret scanners know keys by their beginning; some clients take none without "sk-".
_PREFIX: Final = "sk-portico-"
_BYTES: Final = 32
_OF_TOOL: Final = re.compile(r"exec-(.+)-\d+")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyPaths(Paths):
    """The places of the state folder, with the keys' index for its index."""

    @classmethod
    def of(cls, paths: Paths) -> KeyPaths:
        """Those of the state folder that has these."""
        return cls(paths.config, paths.state, paths.state_id)

    @property
    def index(self) -> Path:
        return self.state / "gateway-keys.json"


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without the key. `created_at` is wall ms."""

    name: str
    created_at: int
    sha256: str


class GatewayKeys:
    """Makes, shows and revokes keys. Blocking, as the store is, which is over the keys' index (`KeyPaths`)."""

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
        """A new key of this name, stored.

        Raises:
            UsageError: `usage`, `name-taken`.
            StoreError, LockBusy: it could not be stored.
        """
        if _NAME.fullmatch(name) is None:
            hint = "letters, digits and . _ -, up to 64; the name of the tool, say"
            raise UsageError(f"This is no name for a key: {name!r}", hint=hint)
        if self._store.get(_id(name)) is not None:
            raise _exists(name)
        try:
            return self._stored(name, None)
        except GenerationChanged:
            raise _exists(name) from None

    def rotate(self, name: str) -> Secret:
        """Another key in the place of the one of this name, which is refused from now on.

        Raises:
            UsageError: `unknown-name`.
            StoreError, LockBusy: it could not be stored; the old one stays.
        """
        return self._stored(name, self._found(name))

    def show(self, name: str) -> Secret:
        """The key of this name.

        Raises:
            UsageError: `unknown-name`.
            StoreError: it cannot be read.
        """
        profile = self._found(name)
        try:
            return self._store.read(profile.id).tokens.access
        except (StoreError, SignInNeeded) as error:  # a key needs no sign-in
            if error.hint is not None:
                again, anew = sign_in_again(profile), f"{{prog}} gateway key rotate {name}"
                error.hint = error.hint.replace(f"{again} --store file", f"{{prog}} config set auth.store file, then: {anew}")
                error.hint = error.hint.replace(f"sign in again: {again}", f"make another: {anew}")
            raise

    def revoke(self, name: str) -> tuple[str, ...]:
        """Refuse the key of this name from now on, and delete it; what could not be deleted.

        Raises:
            UsageError: `unknown-name`.
            StoreError, LockBusy: the index cannot be changed.
        """
        self._found(name)
        return self._store.delete(_id(name))

    def ensure_one(self) -> str | None:
        """Make the first key where there is none; its name if it was made.

        Raises:
            StoreError, LockBusy: it could not be stored.
        """
        if self._store.profiles():
            return None
        try:
            self._stored(DEFAULT, None)
        except GenerationChanged:
            return None  # another process has made it at the same time
        return DEFAULT

    def _found(self, name: str) -> GatewayKeyProfile:
        profile = self._store.get(_id(name))
        if not isinstance(profile, GatewayKeyProfile):
            names = [key.name for key in self.all()]
            hint = f"There is {', '.join(names)}." if names else f"Make one: {{prog}} gateway key add {name}"
            raise UnknownName(f"There is no gateway key {name}.", hint=hint)
        return profile

    def _stored(self, name: str, before: GatewayKeyProfile | None) -> Secret:
        """A new key in the place of `before` and of no other.

        Raises:
            GenerationChanged: another process has made, rotated or revoked the key meanwhile.
        """
        key = Secret(_PREFIX + secrets.token_urlsafe(_BYTES))
        new = GatewayKeyProfile(id=_id(name), name=name, created_at=self._clock.wall_ms())
        profile, expected = (new, ABSENT) if before is None else (before, before.generation)
        # The fingerprint goes with the pointer to the record, in one edit: the old key ends when the new one is there.
        profile = replace(profile, sha256=fingerprint(key))
        try:
            self._store.commit(profile, Tokens(key, None, None), expect_generation=expected, anew=True)
        except StoreError as error:
            error.hint = without_sign_in_hint(error.hint)
            raise
        return key


def known(profiles: Iterable[Profile]) -> tuple[KeyInfo, ...]:
    """The keys of an index that can be shown; one whose making was cut short is none."""
    keys = (one for one in profiles if isinstance(one, GatewayKeyProfile) and one.slot)
    return tuple(KeyInfo(one.name, one.created_at, one.sha256) for one in keys if one.sha256)


def owner(keys: Iterable[KeyInfo], shown: Iterable[str]) -> str | None:
    """Whose key is among those that a request shows; None where none is one. Every key is compared, whichever fits."""
    found = None
    for text in shown:
        digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        for key in keys:
            if hmac.compare_digest(digest, key.sha256):
                found = key.name
    return found


@lru_cache(maxsize=256)
def tool_of(name: str) -> str | None:
    """The tool that `exec` has made the key of this name for; None for a key that a person has made."""
    found = _OF_TOOL.fullmatch(name)
    return found[1] if found is not None else None


def name_for(tool: str, pid: int) -> str:
    """The name of a key for one run of a tool, for which process `pid` waits."""
    return f"exec-{_NOT_IN_NAMES.sub('-', tool)[:32] or 'tool'}-{pid}"


def _exists(name: str) -> UsageError:
    hint = f"{{prog}} gateway key rotate {name}, or choose another name"
    return NameTaken(f"There is a gateway key {name} already.", hint=hint)


def _id(name: str) -> str:
    return f"gateway:{name}"
