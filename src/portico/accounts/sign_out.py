"""Sign out: revoke the tokens at the provider, then delete every copy on this machine, even if the revocation failed.

If a copy cannot be deleted, the profile stays in the index, marked as not completely signed out. No command uses the profile,
and the next sign-out deletes the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from portico.auth.freshness import LastUses
from portico.errors import LockBusy, PorticoError, StoreError
from portico.store.records import SIGN_OUT_UNFINISHED, ApiKeyProfile, Failure, OAuthProfile
from portico.store.token_store import GenerationChanged
from portico.util.threads import off_loop, start_off_loop

if TYPE_CHECKING:
    from portico.app import App
    from portico.interfaces.authorization import FormPoster, OAuthServer, TokenDialect
    from portico.store.records import Profile
    from portico.store.token_store import RefreshTurn, Tokens

REVOKE_WITHIN_S: Final = 10.0
REFRESH_WITHIN_S: Final = 10.0
# How often to revoke and delete: a refresh that did not end in time can replace the tokens in between.
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class SignedOut:
    """The result for one profile.

    `not_revoked`: why the provider did not revoke the tokens. `left`: the copies that were not deleted. `may_be_left`: why a
    running refresh may still store tokens. `is_key`: the profile is an API key, which Portico cannot revoke. `taken`: another
    command has signed in under this name meanwhile, and the new account was left alone.
    """

    profile_id: str
    not_revoked: str | None
    left: tuple[str, ...]
    is_key: bool = False
    taken: bool = False
    may_be_left: str | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """The stored profile and its tokens, or why they could not be read."""

    profile: Profile | None
    tokens: Tokens | None = None
    why_not: str | None = None

    @property
    def generation(self) -> int | None:
        if self.tokens is not None:
            return self.tokens.generation
        return self.profile.generation if self.profile is not None else None


async def sign_out(app: App, profile_id: str, http: FormPoster, *, agreed: Profile | None) -> SignedOut:
    """Revoke a profile's tokens (RFC 7009, at most 10 s) and delete every copy, even if the profile's entry is damaged.

    `agreed` is the profile that the user agreed to sign out, None if its entry is damaged. If another account has been signed in
    under this name since then, that account is left alone. Waits at most 10 s for a running refresh, to revoke its new tokens as
    well. If tokens are refreshed during the revocation, the new tokens are revoked too. A busy lock does not prevent the
    revocation, because revoking needs no lock.
    """
    is_key = isinstance(agreed, ApiKeyProfile)
    # An API key is never refreshed.
    turn, may_be_left = (None, None) if is_key else await _take_turn(app, profile_id)
    try:
        not_revoked: str | None = None
        for left in reversed(range(_ROUNDS)):
            stored = await off_loop(partial(_stored, app, profile_id))
            if stored.profile is not None and agreed is not None and stored.profile.created_at != agreed.created_at:
                return SignedOut(profile_id, not_revoked, (), is_key, taken=True, may_be_left=may_be_left)
            if stored.profile is not None or stored.why_not is not None:
                not_revoked = await _revoked(app, stored, http)
            try:
                stuck = await off_loop(partial(_deleted, app, profile_id, stored.generation))
            except GenerationChanged as error:
                if not left:
                    return SignedOut(profile_id, not_revoked, (str(error),), is_key, may_be_left=may_be_left)
            else:
                return SignedOut(profile_id, not_revoked, stuck, is_key, may_be_left=may_be_left)
    finally:
        if turn is not None:
            turn.end()
    raise AssertionError("unreachable: the last round returned")


def _stored(app: App, profile_id: str) -> _Stored:
    profile = None
    try:
        profile = app.token_store.get(profile_id)
        if profile is None:
            return _Stored(None)
        # Reading may have to wait until the user unlocks the keyring. By then the profile may have changed.
        stored = app.token_store.read(profile_id)
        return _Stored(stored.profile, stored.tokens)
    except PorticoError as error:
        return _Stored(profile, None, f"could not read its tokens: {error.message}")


async def _revoked(app: App, stored: _Stored, http: FormPoster) -> str | None:
    """Revoke the stored tokens. Return None on success, else the reason."""
    if stored.profile is None or stored.tokens is None:
        return stored.why_not
    return await revoke_tokens(app, stored.profile, stored.tokens, http)


def _deleted(app: App, profile_id: str, generation: int | None) -> tuple[str, ...]:
    """Delete every copy. Return the copies that were not deleted, or the reason.

    Unless every copy was deleted, the profile stays, marked as not completely signed out.

    Raises:
        GenerationChanged: the profile no longer has `generation`.
    """
    try:
        left = app.token_store.delete(profile_id, expect_generation=generation, unfinished=_unfinished(app))
    except GenerationChanged:
        raise
    except (StoreError, LockBusy) as error:
        _note_unfinished(app, profile_id, generation)
        return (str(error),)
    LastUses(app.paths, app.clock).forget(profile_id)
    return left


def _note_unfinished(app: App, profile_id: str, generation: int | None) -> None:
    """Mark the profile, if it can be written, so that no command uses the revoked tokens."""
    with contextlib.suppress(StoreError, LockBusy):
        app.token_store.update(
            profile_id,
            lambda profile: replace(profile, failure=_unfinished(app)) if profile.generation == generation else profile,
        )


def _unfinished(app: App) -> Failure:
    return Failure(app.clock.wall_ms(), SIGN_OUT_UNFINISHED, "Could not delete its tokens.", terminal=True)


async def _take_turn(app: App, profile_id: str) -> tuple[RefreshTurn | None, str | None]:
    """Call `_turn` on a thread. If the caller is cancelled, release the refresh lock that the thread may still acquire."""
    pending_turn = start_off_loop(partial(_turn, app, profile_id))
    try:
        return await asyncio.shield(pending_turn)
    except asyncio.CancelledError:
        pending_turn.add_done_callback(_end_turn)
        raise


def _end_turn(pending_turn: asyncio.Future[tuple[RefreshTurn | None, str | None]]) -> None:
    turn, _ = pending_turn.result()
    if turn is not None:
        turn.end()


def _turn(app: App, profile_id: str) -> tuple[RefreshTurn | None, str | None]:
    """Acquire the profile's refresh lock, so that no other process refreshes the profile.

    If that fails, return why a refresh may still be running.
    """
    try:
        return app.token_store.begin_refresh(profile_id, wait_s=REFRESH_WITHIN_S), None
    except LockBusy as error:
        return (
            None,
            f"{error.message.rstrip('.')}; if a running refresh still gets new tokens, it revokes them",
        )
    except StoreError as error:
        return None, f"{error}; a running refresh may still get new tokens"


async def revoke_tokens(app: App, profile: Profile, tokens: Tokens, http: FormPoster) -> str | None:
    """Revoke `tokens` at the provider. Return None on success and for an API key, else the reason."""
    if not isinstance(profile, OAuthProfile):
        return None  # only the user can delete an API key, on the provider's page
    try:
        dialect = app.plugins.dialect(profile.dialect)
    except PorticoError as error:
        return str(error)
    return await revoke_at(profile.server(), dialect, tokens, http)


async def revoke_at(server: OAuthServer, dialect: TokenDialect, tokens: Tokens, http: FormPoster) -> str | None:
    """Revoke `tokens` at `server`. Return None on success, else the reason."""
    from portico.oauth.revocation import revoke

    try:
        await revoke(server, dialect, http, refresh=tokens.refresh, access=tokens.access, timeout_s=REVOKE_WITHIN_S)
    except PorticoError as error:
        return str(error)
    return None
