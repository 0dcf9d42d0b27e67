"""Signing out: the provider is told first, then every copy on this machine goes, whatever the provider said.

Where a copy cannot be deleted, the entry stays as an unfinished sign-out, which no command uses and the next sign-out finishes.
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
# A refresh that could not be waited for may move the profile while its tokens are revoked.
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class SignedOut:
    """What became of one profile. `not_revoked` says why the provider has not revoked it, `left` what could not be deleted.

    `may_be_left` says why a refresh that is under way may still bring tokens. `is_key`: it held an API key, which nobody can
    revoke from here. `taken`: another command has signed in under its name meanwhile, and that account was left alone.
    """

    profile_id: str
    not_revoked: str | None
    left: tuple[str, ...]
    is_key: bool = False
    taken: bool = False
    may_be_left: str | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is stored now: the entry as it was after its tokens were read, and why they could not be."""

    profile: Profile | None
    tokens: Tokens | None = None
    why_not: str | None = None

    @property
    def generation(self) -> int | None:
        if self.tokens is not None:
            return self.tokens.generation
        return self.profile.generation if self.profile is not None else None


async def sign_out(app: App, profile_id: str, http: FormPoster, *, agreed: Profile | None) -> SignedOut:
    """Revoke a profile's tokens (RFC 7009, at most 10 s) and delete every copy of them, also where its entry is damaged.

    `agreed` is the entry of the account that is to be signed out, None if it is damaged: another one, signed in under that name
    since then, is not touched. A refresh under way is waited for, since what it brings is to be revoked as well; 10 s at most.
    Tokens that were refreshed while others were being revoked are revoked too. No lock is needed to revoke: whether one is busy
    or cannot be taken, what is stored is revoked.
    """
    is_key = isinstance(agreed, ApiKeyProfile)
    # Nobody refreshes a key.
    turn, may_be_left = (None, None) if is_key else await _turn_of_this_call(app, profile_id)
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
        # Reading may take as long as somebody unlocks the keyring: whose tokens these are is what the store says then.
        stored = app.token_store.read(profile_id)
        return _Stored(stored.profile, stored.tokens)
    except PorticoError as error:
        return _Stored(profile, None, f"its tokens cannot be read: {error.message}")


async def _revoked(app: App, stored: _Stored, http: FormPoster) -> str | None:
    """Tell the provider to revoke what is stored; None when it has, else why it has not."""
    if stored.profile is None or stored.tokens is None:
        return stored.why_not
    return await revoke_tokens(app, stored.profile, stored.tokens, http)


def _deleted(app: App, profile_id: str, generation: int | None) -> tuple[str, ...]:
    """Delete every copy; what could not be deleted, or why nothing could be. The entry then stays, as unfinished.

    Raises:
        GenerationChanged: the profile is no longer of `generation`.
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
    """Mark the entry, if it can be written, so that no command uses tokens that are revoked."""
    with contextlib.suppress(StoreError, LockBusy):
        app.token_store.update(
            profile_id,
            lambda profile: replace(profile, failure=_unfinished(app)) if profile.generation == generation else profile,
        )


def _unfinished(app: App) -> Failure:
    return Failure(app.clock.wall_ms(), SIGN_OUT_UNFINISHED, "Its tokens could not be deleted.", terminal=True)


async def _turn_of_this_call(app: App, profile_id: str) -> tuple[RefreshTurn | None, str | None]:
    """`_turn`, which a caller that is cancelled does not keep: its thread may get the turn after that."""
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
    """The turn with the refresh token; if it cannot be had, why a refresh may be under way all the same."""
    try:
        return app.token_store.begin_refresh(profile_id, wait_s=REFRESH_WITHIN_S), None
    except LockBusy as error:
        return (
            None,
            f"{error.message.rstrip('.')}; a refresh that it has under way may still bring tokens, which it revokes itself",
        )
    except StoreError as error:
        return None, f"{error}; a refresh that is under way may still bring tokens"


async def revoke_tokens(app: App, profile: Profile, tokens: Tokens, http: FormPoster) -> str | None:
    """Tell the provider to revoke `tokens`; None when it has, or where there is nothing to revoke, else why it has not."""
    if not isinstance(profile, OAuthProfile):
        return None  # it was not issued to this program: it is the user's to withdraw, on the provider's own page
    try:
        dialect = app.plugins.dialect(profile.dialect)
    except PorticoError as error:
        return str(error)
    return await revoke_at(profile.server(), dialect, tokens, http)


async def revoke_at(server: OAuthServer, dialect: TokenDialect, tokens: Tokens, http: FormPoster) -> str | None:
    """Tell `server` to revoke `tokens`, which need no profile; None when it has, else why it has not."""
    from portico.oauth.revocation import revoke

    try:
        await revoke(server, dialect, http, refresh=tokens.refresh, access=tokens.access, timeout_s=REVOKE_WITHIN_S)
    except PorticoError as error:
        return str(error)
    return None
