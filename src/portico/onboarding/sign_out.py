"""Signing out: the provider is told first, then every copy on this machine goes, whatever the provider said.

Where a copy cannot be deleted, the entry stays as an unfinished sign-out, which no command uses and the next sign-out finishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.auth.refresh_lock import refresh_lock
from portico.auth.uses import Uses
from portico.errors import LockBusy, PorticoError, StoreError
from portico.models.credentials import API_KEY
from portico.store.off_loop import off_loop
from portico.store.profile_record import SIGN_OUT_UNFINISHED, Failure

if TYPE_CHECKING:
    from portico.contracts import FormPoster, OAuthServer, TokenDialect
    from portico.onboarding.workbench import Workbench
    from portico.store.lock import FileLock
    from portico.store.profiles import IndexDraft, Profile
    from portico.store.vault import Tokens, Vault

REVOKE_WITHIN_S: Final = 10.0
REFRESH_WITHIN_S: Final = 10.0
_STILL_REFRESHING: Final = "a refresh that another process has under way may still bring tokens; that process revokes them"


@dataclass(frozen=True, slots=True)
class SignedOut:
    """What became of one profile. `not_revoked` says why the provider was not told, `left` what could not be deleted.

    `is_key`: it held an API key, which nobody can revoke from here.
    """

    profile_id: str
    not_revoked: str | None
    left: tuple[str, ...]
    is_key: bool = False


async def sign_out(bench: Workbench, profile_id: str, http: FormPoster) -> SignedOut:
    """Revoke a profile's tokens (RFC 7009, at most 10 s) and delete every copy of them, also where its entry is damaged.

    A refresh under way is waited for, since what it brings is to be revoked as well; 10 s at most.
    """
    vault = bench.vault()
    lock = refresh_lock(bench.paths, profile_id)
    try:
        not_alone = await off_loop(lambda: _why_not_alone(lock))
        is_key = await off_loop(lambda: _is_key(bench, profile_id))
        not_revoked = await _revoke_stored(bench, vault, profile_id, http)
        left = await off_loop(lambda: _deleted(bench, vault, profile_id))
    finally:
        lock.release()
    return SignedOut(profile_id, not_revoked or not_alone, left, is_key)


def _is_key(bench: Workbench, profile_id: str) -> bool:
    return any(profile.id == profile_id and profile.type == API_KEY for profile in bench.index.profiles())


def _deleted(bench: Workbench, vault: Vault, profile_id: str) -> tuple[str, ...]:
    """Delete every copy; what could not be deleted, or why nothing could be."""
    try:
        return _deleted_or_put_back(bench, vault, profile_id)
    except (StoreError, LockBusy) as error:
        return (str(error),)


def _deleted_or_put_back(bench: Workbench, vault: Vault, profile_id: str) -> tuple[str, ...]:
    """Delete every copy; what could not be deleted, whose entry is then put back as unfinished."""
    entry = next((profile for profile in bench.index.profiles() if profile.id == profile_id), None)
    left = vault.delete(profile_id)
    Uses(bench.paths, bench.clock).forget(profile_id)
    if not left or entry is None:
        return left
    failure = Failure(bench.clock.wall_ms(), SIGN_OUT_UNFINISHED, "Its tokens could not be deleted.", terminal=True)

    def put_back(draft: IndexDraft) -> None:
        if all(profile.id != profile_id for profile in draft.profiles):  # nobody has signed in anew meanwhile
            draft.put(replace(entry, failure=failure, fence=None))

    bench.index.edit(put_back)
    return left


def _why_not_alone(lock: FileLock) -> str | None:
    """None once the lock is taken, else why a refresh may be under way all the same."""
    try:
        lock.acquire(REFRESH_WITHIN_S)
    except LockBusy:
        return _STILL_REFRESHING
    except StoreError as error:
        return f"{error}; a refresh that is under way may still bring tokens"
    return None


async def _revoke_stored(bench: Workbench, vault: Vault, profile_id: str, http: FormPoster) -> str | None:
    try:
        tokens = await off_loop(lambda: vault.read(profile_id))
        profile = await off_loop(lambda: bench.index.get(profile_id))
    except PorticoError as error:
        return f"its tokens cannot be read: {error.message}"
    return None if profile is None else await revoke_tokens(bench, profile, tokens, http)


async def revoke_tokens(bench: Workbench, profile: Profile, tokens: Tokens, http: FormPoster) -> str | None:
    """Tell the provider to revoke `tokens`; None when it has, or where there is nothing to revoke, else why it has not."""
    if profile.type == API_KEY:
        return None  # it was not issued to this program: it is the user's to withdraw, on the provider's own page
    try:
        dialect = bench.plugins.dialect(profile.dialect)
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
