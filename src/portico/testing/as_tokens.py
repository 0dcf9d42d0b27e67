"""Tokens as a careful authorization server mints them: rotated at each refresh, a whole family revoked at the first reuse.

RFC 9700 section 4.14.2: a refresh token that comes back after it was replaced was stolen, or its owner refreshed twice; the
server cannot tell which, and ends the family.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from portico.clock import SystemClock
from portico.testing.canary import canary

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.interfaces.basics import Clock


class TokenRefused(Exception):
    """The token endpoint says no: `code` and `description` as RFC 6749 section 5.2 and RFC 8628 section 3.5 name them."""

    def __init__(self, code: str, description: str = "") -> None:
        super().__init__(f"{code}: {description}" if description else code)
        self.code = code
        self.description = description


def token_hash(token: str) -> str:
    """How a record of tokens names one without holding it: SHA-256, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(slots=True)
class Family:
    """Every token that came from one sign-in. `generation` counts the refreshes."""

    number: int
    client_id: str
    scope: str
    generation: int = 0
    revoked: bool = False
    reused: bool = False
    context: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh pair. `expires_at` is wall ms, `ttl_s` the access token's lifetime in seconds."""

    access: str
    refresh: str
    expires_at: int
    ttl_s: float
    family: Family


@dataclass(slots=True)
class PresentedTokens:
    """Every refresh token that reached the server, by hash, in order of arrival; also those whose request was then dropped."""

    hashes: list[str] = field(default_factory=list)

    def note(self, token: str) -> None:
        self.hashes.append(token_hash(token))

    @property
    def total(self) -> int:
        return len(self.hashes)

    @property
    def twice(self) -> list[str]:
        """The hashes of tokens that came more than once."""
        return [name for name, times in Counter(self.hashes).items() if times > 1]

    def times(self, token: str) -> int:
        """How often `token` came."""
        return self.hashes.count(token_hash(token))


class TokenMint:
    """Mints, rotates, checks and revokes tokens.

    Args:
        access_ttl_s: lifetime of access tokens, seconds; may be changed at any time for tokens to come.
        rotate: whether a refresh replaces the refresh token. Where it does not, nothing is reuse.
        make_access, make_refresh: the shape of a token; it must be fresh at each call.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        access_ttl_s: float = 3600.0,
        rotate: bool = True,
        make_access: Callable[[], str] = lambda: canary("at"),
        make_refresh: Callable[[], str] = lambda: canary("rt"),
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.access_ttl_s = access_ttl_s
        self.rotate_refresh = rotate
        self.families: list[Family] = []
        self._make_access = make_access
        self._make_refresh = make_refresh
        self._access: dict[str, Issued] = {}
        self._refresh: dict[str, Issued] = {}
        self._spent: dict[str, Family] = {}

    def start(self, client_id: str, scope: str = "", **context: str) -> Issued:
        """The first pair of a new family. `context` stays with the family."""
        family = Family(len(self.families) + 1, client_id, scope, context=context)
        self.families.append(family)
        return self._issue(family, self._make_refresh())

    def rotate(self, refresh: str, client_id: str) -> Issued:
        """The pair that replaces `refresh`.

        Raises:
            TokenRefused: invalid_grant: unknown, revoked, of another client, or used before, which ends its family.
        """
        spent = self._spent.get(refresh)
        if spent is not None:
            spent.revoked = spent.reused = True
            raise TokenRefused("invalid_grant", "this refresh token was used before")
        current = self._refresh.get(refresh)
        if current is None or current.family.revoked or current.family.client_id != client_id:
            raise TokenRefused("invalid_grant", "unknown or revoked refresh token")
        current.family.generation += 1
        if not self.rotate_refresh:
            return self._issue(current.family, refresh)
        self._spent[refresh] = current.family
        del self._refresh[refresh]
        return self._issue(current.family, self._make_refresh())

    def revoke(self, token: str) -> None:
        """RFC 7009: a refresh token takes its whole family with it, an access token only itself; unknown ones are no error."""
        if token in self._access:
            del self._access[token]
            return
        known = self._refresh.get(token)
        family = known.family if known is not None else self._spent.get(token)
        if family is not None:
            family.revoked = True

    def family_of(self, access: str) -> Family | None:
        """The family of an access token that is good now, None for any other."""
        issued = self._access.get(access)
        if issued is None or issued.family.revoked or issued.expires_at <= self.clock.wall_ms():
            return None
        return issued.family

    def is_current(self, refresh: str) -> bool:
        """Whether `refresh` would be taken now."""
        issued = self._refresh.get(refresh)
        return issued is not None and not issued.family.revoked

    @property
    def live_families(self) -> list[Family]:
        return [family for family in self.families if not family.revoked]

    def _issue(self, family: Family, refresh: str) -> Issued:
        expires_at = self.clock.wall_ms() + round(self.access_ttl_s * 1000)
        issued = Issued(self._make_access(), refresh, expires_at, self.access_ttl_s, family)
        self._access[issued.access] = issued
        self._refresh[refresh] = issued
        return issued
