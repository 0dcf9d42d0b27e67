"""One refresh, from the lock to the store. Blocking: the broker runs it on a thread of its own, where no caller can cancel it.

The order is the whole point: lock, read again, decide, write the journal entry, send, validate, store, and only then hand out.
Rotating servers take a refresh token once and revoke everything at its second use (RFC 9700 section 4.14), so no process sends
one that another process may have sent, and no reply is used before it is stored. The one exception is a lost answer, whose
token is sent again a few times (`auth/journal.py`): the profile is lost otherwise. Servers that rotate refresh tokens forgive a
second use for some seconds (Okta 0 to 60, Amazon Cognito 0 to 60, Auth0 as set), so the first time is at once.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.auth import journal as fences
from portico.auth.backoff import (
    RefreshInterrupted,
    answer_lost,
    answers_missing,
    as_transient,
    backoff_to_note,
    failure_of,
    is_terminal,
    noted_backoff,
    sign_in_expired,
)
from portico.auth.freshness import is_usable, moment
from portico.auth.journal import AT_ONCE, PendingTokens, ProfileReplaced
from portico.auth.tokens import Refreshed, check_same_account
from portico.errors import Denied, LockBusy, NetworkError, OAuthError, PorticoError, StoreError, TimedOut
from portico.oauth.dialects import make_request, read_reply
from portico.oauth.revocation import revoke_orphaned
from portico.oauth.token_errors import NoAnswer
from portico.oauth.token_response import SUCCESSFUL, check_fit, is_bearer
from portico.store.records import Renewal
from portico.store.token_store import GenerationChanged, ProfileTokens, Tokens
from portico.util.files import no_crash_point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from portico.auth.tokens import Ages
    from portico.interfaces.authorization import FormRequest, HttpReply, TokenDialect, TokenGrant
    from portico.interfaces.basics import Clock
    from portico.secret import Secret
    from portico.store.records import Failure, JournalEntry, Moment, OAuthProfile, Profile
    from portico.store.token_store import RefreshTurn, TokenStore
    from portico.util.files import CrashPoint

    class Send(Protocol):
        """The way from a refresh's thread to the server."""

        def claim(self) -> None:
            """From now on no caller can stop the refresh; raises `Abandoned` where nobody wants it any more."""
            ...

        def post(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float) -> HttpReply:
            """Send a request once."""
            ...


POST_TIMEOUT_S: Final = 30.0
RETRY_TIMEOUT_S: Final = 10.0
# The server has answered; only its answer is of no use.
_ANSWERED: Final = frozenset({"redirect-refused", "reply-too-long"})


@dataclass(slots=True)
class Exchange:
    """`fence` is what the journal is to say of the token if this fails; `lost` whether an answer to it was ever lost."""

    turn: RefreshTurn
    dialects: Callable[[str], TokenDialect]
    clock: Clock
    crash_point: CrashPoint
    held: ProfileTokens
    refresh: Secret
    fence: JournalEntry | None = field(init=False)
    lost: bool = field(init=False)
    _earlier: JournalEntry | None = field(init=False)

    def __post_init__(self) -> None:
        self.fence = self._earlier = fences.entry_of(self.held.profile, self.refresh)
        self.lost = self.fence is not None

    @property
    def may_have_spent(self) -> bool:
        """Whether this exchange has sent the token and cannot say that the server refused it."""
        return self.fence is not None and self.fence != self._earlier

    def run(self, send: Send) -> tuple[TokenGrant, int]:
        """The grant, and when it was asked for (wall ms).

        Raises:
            PorticoError: there is none.
        """
        profile = self.held.account
        dialect = self.dialects(profile.dialect)
        request = make_request(
            profile.dialect, lambda: dialect.refresh_request(profile.server(), self.refresh), self.refresh, again=True
        )
        send.claim()
        try:
            reply = self._sent(request, send, POST_TIMEOUT_S)
        except NetworkError as error:
            if not _is_lost(error) or isinstance(error, RefreshInterrupted) or not self._may_repeat():
                raise
            reply = self._sent(request, send, RETRY_TIMEOUT_S)
        self.crash_point("answered")
        before, self.fence = self.fence, self.held.profile.journal_entry
        try:
            access = self.held.tokens.access
            grant = read_reply(profile.dialect, reply, dialect.read_token_reply, access, self.refresh)
        except PorticoError as error:
            named = isinstance(error, OAuthError) and error.code is not None
            if reply.status not in SUCCESSFUL or named or isinstance(error, NoAnswer):
                self.fence = before  # a failure by name, or a page of somebody else's, has spent nothing
            if isinstance(error, (Denied, TimedOut)):
                raise as_transient(error) from None
            raise
        self.crash_point("validated")
        return grant, reply.sent_at_ms

    def _sent(self, request: FormRequest, send: Send, timeout_s: float) -> HttpReply:
        self._raise_fence()
        self.crash_point("fenced")
        try:
            return send.post(request, relocated=dict(self.held.account.relocated), timeout_s=timeout_s)
        except NetworkError as error:
            if _is_lost(error):
                self.lost, self.fence = True, self.held.profile.journal_entry
            raise

    def _may_repeat(self) -> bool:
        return self.fence is None or self.fence.sends < fences.AT_ONCE

    def _raise_fence(self) -> None:
        """Note durably that the token is being sent.

        For tokens in memory only as well as can be: nobody else has them, and what keeps them there may keep the note out too.
        """
        if self.held.stored:
            self._note_sending()
            return
        with contextlib.suppress(StoreError, LockBusy):
            self._note_sending()

    def _note_sending(self) -> None:
        entry = fences.new_entry(self.held.profile, self.refresh, self.clock.wall_ms())
        self.held = replace(self.held, profile=self.turn.note_sending(self.held.profile, entry))


def _is_lost(error: NetworkError) -> bool:
    """Whether the server may have taken the token all the same."""
    return not error.unsent and error.id not in _ANSWERED


_log: Final = logging.getLogger(__name__)


def is_another_account(profile: OAuthProfile, grant: TokenGrant) -> bool:
    """Whether the tokens are for somebody else (OpenID Connect Core section 12.2); False where the server does not tell."""
    return profile.subject is not None and grant.subject not in {None, profile.subject}


def renewal_of(profile: OAuthProfile, grant: TokenGrant, asked_at: int, got: Moment | None) -> Renewal:
    """What `grant`, asked for at `asked_at` (wall ms) and here since `got`, brings to `profile` besides tokens."""
    kept = profile.refresh_expires_at if grant.refresh is None else None
    return Renewal(
        replaces=profile.generation,
        refreshed_at=asked_at,
        refresh_expires_at=grant.refresh_expires_at or kept,
        scope=grant.scope or profile.scope,
        subject=grant.subject or profile.subject,
        unread=grant.unread,
        received=got,
    )


def tell_if_scope_grew(before: OAuthProfile, after: OAuthProfile) -> None:
    """Log it, once the tokens are stored: refusing them would have ended the sign-in, since those before them are spent.

    RFC 6749 section 3.3 lets a server grant another scope than was asked for, if it says so.
    """
    more = set(after.scope.split()) - set(before.scope.split())
    if more and before.scope:
        _log.warning("%s: the scope has grown by %s", after.id, " ".join(sorted(more)))


REFRESH_STEPS: Final = ("locked", "decided", "fenced", "answered", "validated", "stored")
# What a server says of a token that was used before (RFC 6749 section 5.2).
_SPENT: Final = "invalid_grant"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller wants: a token of `profile` newer than `stale_generation`, or any that is good where that is None.

    `needed` says that the caller cannot do with the stale one; `wait_s` how long it waits while another process refreshes.
    """

    profile: OAuthProfile
    stale_generation: int | None
    needed: bool
    wait_s: float


@dataclass(frozen=True, slots=True)
class Transactions:
    """The parts of a refresh."""

    store: TokenStore
    dialects: Callable[[str], TokenDialect]
    clock: Clock
    ages: Ages
    unstored: PendingTokens
    crash_point: CrashPoint = no_crash_point

    def held(self, profile_id: str, *, to_refresh: bool = False) -> ProfileTokens:
        """The profile and its tokens; with `to_refresh` surely the newest.

        Raises:
            SignInNeeded: `not-signed-in`.
            StoreError: the store failed.
            LockBusy: `to_refresh`, and another process is storing newer ones.
        """
        return self.unstored.get(profile_id) or self.store.read(profile_id, to_refresh=to_refresh)

    def refresh(self, wish: Wish, send: Send) -> Refreshed:
        """What `wish` asks for.

        Raises:
            LockBusy: somebody else was refreshing for all of `wait_s` seconds.
            SignInNeeded: only a person can help.
            NetworkError: the server could not be asked, or did not answer well; trying again may help.
            StoreError: reading or storing failed, or the sign-in is another's now (`account-changed`).
        """
        turn = self._turn(wish)
        if isinstance(turn, Refreshed):
            return turn
        try:
            self.crash_point("locked")
            return self._refresh_alone(wish, turn, send)
        finally:
            self._end(wish.profile.id, turn)

    def _turn(self, wish: Wish) -> RefreshTurn | Refreshed:
        """The turn, or what another owner has stored while it was waited for: that can be had by all at once."""
        kept = self.unstored.turns.pop(wish.profile.id, None)
        if kept is not None:
            return kept
        adopted: list[Refreshed] = []
        turn = self.store.begin_refresh(wish.profile.id, wait_s=wish.wait_s, unless=lambda: self._adopts(wish, adopted))
        return adopted[0] if turn is None else turn

    def _adopts(self, wish: Wish, adopted: list[Refreshed]) -> bool:
        """Whether another owner has stored what `wish` asks for, which is then put into `adopted`."""
        profile = self.store.get(wish.profile.id)
        if profile is None or wish.stale_generation is None or profile.generation == wish.profile.generation:
            return False
        held = self.held(profile.id)
        if held.tokens.generation == wish.stale_generation or not self._usable(held):
            return False
        check_same_account(wish.profile, held.profile)
        adopted.append(Refreshed(held, posted=False))
        return True

    def _end(self, profile_id: str, turn: RefreshTurn) -> None:
        if profile_id in self.unstored.waiting:
            self.unstored.turns[profile_id] = turn
        else:
            turn.end()

    def _refresh_alone(self, wish: Wish, turn: RefreshTurn, send: Send) -> Refreshed:
        held = self._settled(wish.profile.id, send)
        usable = self._usable(held)
        if held.tokens.generation != wish.stale_generation and usable:
            check_same_account(wish.profile, held.profile)
            return Refreshed(held, posted=False)
        refresh = held.tokens.refresh
        if refresh is None or (held.profile.failure is not None and held.profile.failure.terminal):
            raise sign_in_expired(held.profile)
        pause = noted_backoff(held.profile, self.clock.wall_ms())
        if pause is not None:  # somebody's attempt has failed while this one waited for the lock
            raise pause.as_error()
        self.crash_point("decided")
        exchange = Exchange(turn, self.dialects, self.clock, self.crash_point, held, refresh)
        try:
            tokens = self._exchanged(exchange, send)
        except PorticoError as error:
            return self._failed(exchange, error)
        self.unstored.add(exchange.held.profile, tokens)
        refreshed = self._stored(exchange.held.account, turn, send)
        tell_if_scope_grew(exchange.held.account, refreshed.held.account)
        return refreshed

    def _exchanged(self, exchange: Exchange, send: Send) -> Tokens:
        """The new tokens; those of another account are revoked, and those of another type.

        Not an access token alone: a server may revoke the refresh token with it (RFC 7009 section 2.1), which is good still.
        """
        grant, sent_at = exchange.run(send)
        profile = exchange.held.account
        tokens = Tokens(grant.access, grant.refresh or exchange.refresh, grant.expires_at)
        if is_another_account(profile, grant):
            revoke_orphaned(profile, replace(tokens, refresh=grant.refresh), self.dialects, send)
            message = f"the server answered {profile.id} with the tokens of another account"
            raise OAuthError("other-account", message, ends_grant=True)
        tokens = replace(tokens, renewal=renewal_of(profile, grant, sent_at, moment(self.clock)))
        try:
            check_fit(grant)
        except OAuthError as error:
            if grant.refresh is not None and not is_bearer(grant):
                revoke_orphaned(profile, tokens, self.dialects, send)
                error.ends_grant = True  # it was in the place of the one that was sent
            elif grant.refresh is not None:
                self._keep_refresh(exchange, tokens, send)
            raise
        return tokens

    def _keep_refresh(self, exchange: Exchange, tokens: Tokens, send: Send) -> None:
        """Store a refresh token that came without an access token of use: the one before it is spent."""
        before = exchange.held
        kept = replace(tokens, access=before.tokens.access, expires_at=before.tokens.expires_at)
        self.unstored.add(before.profile, kept)
        held = self._settled(before.profile.id, send)
        if held.tokens.refresh != kept.refresh:
            raise GenerationChanged("generation-changed", f"{before.profile.id} was signed in anew, or signed out")
        if held.stored:
            profile = replace(held.profile, failure=before.profile.failure)
            exchange.held, exchange.fence = ProfileTokens(profile, held.tokens), None

    def _stored(self, profile: OAuthProfile, turn: RefreshTurn, send: Send) -> Refreshed:
        """Store what has just been given, or serve it from memory and say so wherever that can be said."""
        held = self._settled(profile.id, send)
        self.ages.now(held.profile)  # from here on its age is known, whatever is done to the wall clock
        check_same_account(profile, held.profile)
        if held.stored:
            self.crash_point("stored")
        else:
            _note(turn, profile, failure_of(self.unstored.failed[profile.id], self.clock.wall_ms()), profile.journal_entry)
        return Refreshed(held, posted=True)

    def _settled(self, profile_id: str, send: Send) -> ProfileTokens:
        """The tokens as they are, after trying to store those that are in memory only: the ones before them are spent."""
        try:
            return self.unstored.try_store(profile_id) or self.held(profile_id, to_refresh=True)
        except ProfileReplaced as overtaken:
            send.claim()
            self._revoke_if_orphaned(overtaken.held, send)
            return self.held(profile_id, to_refresh=True)

    def _revoke_if_orphaned(self, late: ProfileTokens, send: Send) -> None:
        """Revoke tokens that came after their profile was signed out, of which the sign-out did not know."""
        profile = self.store.get(late.profile.id)
        if profile is None or profile.created_at != late.profile.created_at:
            revoke_orphaned(late.account, late.tokens, self.dialects, send)

    def _failed(self, exchange: Exchange, error: PorticoError) -> Refreshed:
        """Adopt what a new sign-in has stored meanwhile; else note the failure and raise it."""
        asked = exchange.held
        terminal = is_terminal(error)
        if terminal or isinstance(error, GenerationChanged):
            fresh = self.held(asked.profile.id, to_refresh=True)
            if fresh.tokens.generation != asked.tokens.generation and self._usable(fresh):
                check_same_account(asked.account, fresh.profile)
                return Refreshed(fresh, posted=terminal)
        if terminal:
            self.unstored.forget(asked.profile.id)
            if exchange.lost and isinstance(error, OAuthError) and error.code == _SPENT:
                error = answer_lost(error, exchange.fence)
        lost = exchange.fence if exchange.may_have_spent and not isinstance(error, RefreshInterrupted) else None
        if lost is not None and lost.sends >= AT_ONCE and isinstance(error, NetworkError) and not isinstance(error, OAuthError):
            error = answers_missing(error, lost, asked.profile)
        now = self.clock.wall_ms()
        failure = failure_of(error, now, backoff_to_note(asked.profile, error, now, lost=lost))
        _note(exchange.turn, asked.profile, failure, None if terminal else exchange.fence)
        if terminal:
            raise sign_in_expired(replace(asked.profile, failure=failure)) from error
        raise error

    def _usable(self, held: ProfileTokens) -> bool:
        return is_usable(held.tokens.expires_at, self.ages.now(held.profile))


def _note(turn: RefreshTurn, profile: Profile, failure: Failure, entry: JournalEntry | None) -> None:
    """Note a failure of the refresh of `profile`'s tokens: it matters more than that it could not be written down."""
    with contextlib.suppress(StoreError, LockBusy):
        turn.note_failure(profile, failure, entry)
