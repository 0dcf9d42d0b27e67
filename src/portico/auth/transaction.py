"""One refresh, from the lock to the store. Blocking: the broker runs it on a thread of its own, where no caller can cancel it.

The order is the whole point: lock, read again, decide, send once, validate, store, and only then hand out. Rotating servers take
a refresh token once and revoke everything at its second use (RFC 9700 section 4.14), so nobody sends one that another process may
have sent, and nobody uses a reply before it is stored.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Literal, Protocol

from portico.auth.dialect_calls import asked
from portico.auth.freshness import is_usable, issued_at, refresh_due
from portico.auth.outcome import failure_of, is_terminal, sign_in_expired, with_failure
from portico.auth.refresh_lock import refresh_lock
from portico.errors import LockBusy, NotRevoked, PorticoError, StoreError, StoreUnknown
from portico.store.records import Tokens
from portico.store.steps import no_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from portico.contracts import Clock, FormRequest, HttpReply, TokenDialect
    from portico.paths import Paths
    from portico.secret import Secret
    from portico.store.profiles import Profile, ProfileIndex
    from portico.store.steps import OnStep
    from portico.store.vault import Vault

REFRESH_STEPS: Final = ("locked", "decided", "answered", "validated", "stored")
_TRIES: Final = 3
_log = logging.getLogger(__name__)

TokenHint = Literal["refresh_token", "access_token"]


class Send(Protocol):
    """Sends a request once, from this thread; raises `Abandoned` where nobody wants its answer any more."""

    def __call__(self, request: FormRequest, *, relocated: Mapping[str, str]) -> HttpReply: ...


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a user of tokens gets: never a refresh token. `expires_at` is wall ms, None where the server gave no lifetime."""

    token: Secret
    generation: int
    expires_at: int | None
    profile_id: str


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A usable token, and whether it was asked for now (or else adopted from whoever did)."""

    access: AccessToken
    posted: bool


@dataclass(frozen=True, slots=True)
class Held:
    """A profile and its tokens, of the same generation."""

    profile: Profile
    tokens: Tokens

    @property
    def access(self) -> AccessToken:
        return AccessToken(self.tokens.access, self.tokens.generation, self.tokens.expires_at, self.profile.id)

    def usable(self, now_ms: int) -> bool:
        return is_usable(self.tokens.expires_at, now_ms)

    def due(self, now_ms: int) -> bool:
        return refresh_due(self.tokens.expires_at, issued_at(self.profile), now_ms)


@dataclass(frozen=True, slots=True)
class Transactions:
    """The parts of a refresh. `unstored` keeps what a server gave and no store would take, to be stored before anything else."""

    vault: Vault
    index: ProfileIndex
    dialects: Callable[[str], TokenDialect]
    clock: Clock
    paths: Paths
    on_step: OnStep = no_step
    unstored: dict[str, tuple[Profile, Tokens]] = field(default_factory=dict)

    def held(self, profile_id: str) -> Held:
        """The profile and its tokens as they are now.

        Raises:
            SignInNeeded: `not-signed-in`.
            StoreError: the index or the store failed.
        """
        for _ in range(_TRIES):
            profile = self.index.get(profile_id)
            tokens = self.vault.read(profile_id)
            if profile is not None and profile.generation == tokens.generation:
                return Held(profile, tokens)
        raise StoreError("generation-changed", f"the tokens of {profile_id} keep changing", hint="try again")

    def refresh(self, profile_id: str, stale_generation: int, send: Send, *, wait_s: float) -> Refreshed:
        """A usable token of a generation other than the stale one.

        Raises:
            LockBusy: somebody else was refreshing for all of `wait_s` seconds.
            SignInNeeded: only a person can help.
            NetworkError: the server could not be asked, or did not answer well; trying again may help.
            StoreError: reading or storing failed.
        """
        lock = refresh_lock(self.paths, profile_id)
        lock.acquire(wait_s)
        try:
            self.on_step("locked")
            return self._refresh_alone(profile_id, stale_generation, send)
        finally:
            lock.release()

    def _refresh_alone(self, profile_id: str, stale_generation: int, send: Send) -> Refreshed:
        held = self._with_unstored(profile_id, send)
        if held.tokens.generation != stale_generation and held.usable(self.clock.wall_ms()):
            return Refreshed(held.access, posted=False)
        if held.tokens.refresh is None or (held.profile.failure is not None and held.profile.failure.terminal):
            raise sign_in_expired(held.profile)
        self.on_step("decided")
        # A fence belongs here: a durable note of the token about to be sent, for whoever comes after a crash.
        return self._exchange(held, held.tokens.refresh, send)

    def _exchange(self, held: Held, refresh: Secret, send: Send) -> Refreshed:
        profile = held.profile
        try:
            dialect = self.dialects(profile.dialect)
            request = asked(profile.dialect, lambda: dialect.refresh_request(profile.server(), refresh))
            reply = send(request, relocated=dict(profile.relocated))
            self.on_step("answered")
            grant = asked(profile.dialect, lambda: dialect.read_token_reply(reply))
            self.on_step("validated")
            tokens = Tokens(grant.access, grant.refresh or refresh, grant.expires_at)
            self.unstored[profile.id] = (replace(profile, refreshed_at=reply.sent_at_ms, failure=None), tokens)
            stored = self._with_unstored(profile.id, send)
        except PorticoError as error:
            return self._failed(held, error)
        self.on_step("stored")
        return Refreshed(stored.access, posted=True)

    def _failed(self, held: Held, error: PorticoError) -> Refreshed:
        """Adopt what a new sign-in has stored meanwhile; else note the failure and raise it."""
        now = self.clock.wall_ms()
        if is_terminal(error):
            fresh = self.held(held.profile.id)
            if fresh.tokens.generation != held.tokens.generation and fresh.usable(now):
                return Refreshed(fresh.access, posted=True)
        failure = failure_of(error, now)
        # The failure itself matters more than that it could not be written down.
        with contextlib.suppress(StoreError, LockBusy):
            self.index.update(held.profile.id, lambda profile: with_failure(profile, failure, held.profile.generation))
        if failure.terminal:
            raise sign_in_expired(replace(held.profile, failure=failure)) from error
        raise error

    def _with_unstored(self, profile_id: str, send: Send) -> Held:
        """The tokens as they are, after storing those that are still in memory only: the ones before them are spent."""
        waiting = self.unstored.get(profile_id)
        if waiting is None:
            return self.held(profile_id)
        profile, tokens = waiting
        try:
            stored = self._commit(profile, tokens)
        except StoreError as error:
            if error.id != "generation-changed":
                raise
            self._drop(profile, tokens, send)  # a new sign-in, or a sign-out, came first and wins
            return self.held(profile_id)
        self.unstored.pop(profile_id, None)
        return Held(stored, replace(tokens, generation=stored.generation))

    def _drop(self, profile: Profile, tokens: Tokens, send: Send) -> None:
        """Forget tokens that came too late, and revoke them if their sign-in has ended: whoever ended it did not know of them."""
        current = self.index.get(profile.id)
        if current is None or current.created_at != profile.created_at:
            for token, hint in _pair(tokens):
                try:
                    self._revoke(profile, token, hint, send)
                except PorticoError as error:
                    _log.warning("%s: a token that came after its sign-in had ended is not revoked: %s", profile.id, error)
        self.unstored.pop(profile.id, None)

    def _revoke(self, profile: Profile, token: Secret, hint: TokenHint, send: Send) -> None:
        server = profile.server()
        if server.revocation_endpoint is None:
            raise NotRevoked("revocation-not-offered", "The provider has no known way of revoking tokens.")
        dialect = self.dialects(profile.dialect)
        request = asked(profile.dialect, lambda: dialect.revoke_request(server, token, hint))
        status = send(request, relocated=dict(profile.relocated)).status
        if status != HTTPStatus.OK:
            raise NotRevoked("not-revoked", "The provider would not revoke it.", why=f"HTTP {status}")

    def _commit(self, profile: Profile, tokens: Tokens) -> Profile:
        """Store, and try again at once where it failed plainly: these may be the only copy."""
        for left in reversed(range(_TRIES)):
            try:
                return self.vault.commit(profile, tokens, expect_generation=profile.generation)
            except StoreError as error:
                if not left or isinstance(error, StoreUnknown) or error.id == "generation-changed":
                    raise
        raise AssertionError("unreachable: the last try returned or raised")


def _pair(tokens: Tokens) -> Iterator[tuple[Secret, TokenHint]]:
    if tokens.refresh is not None:
        yield tokens.refresh, "refresh_token"
    yield tokens.access, "access_token"
