"""Refreshes a profile's tokens. Blocking: the broker runs this on its own thread, so that no caller can cancel it.

A refresh always takes these steps, in this order:

1. take the turn to refresh this profile, which only one owner has at a time;
2. read the stored tokens again, and decide: use newer tokens that another owner has stored, or continue;
3. write the journal entry: this refresh token is about to be sent;
4. send the refresh token, once;
5. validate the response;
6. store the new tokens, and remove the journal entry;
7. give the new access token to the callers.

A server that rotates refresh tokens accepts each token once; a second use revokes everything (RFC 9700 section 4.14). So a
token that another process may have sent is not sent, and a new token is not used before it is stored.

The exception is a lost response, because without a second try the user would have to sign in again. Many servers that rotate
tokens accept a second use within some seconds (Okta 0 to 60, Amazon Cognito 0 to 60, Auth0 configurable). So the first retry
follows at once, and later retries at growing intervals (`auth/journal.py`).
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from portico.auth import journal
from portico.auth.backoff import (
    RefreshInterrupted,
    answer_lost_error,
    answers_missing_error,
    as_transient,
    backoff_to_store,
    is_terminal,
    make_failure,
    sign_in_expired,
    stored_backoff,
)
from portico.auth.freshness import is_usable, moment
from portico.auth.journal import IMMEDIATE_SENDS
from portico.auth.tokens import PendingTokens, ProfileReplaced, Refreshed, check_same_account
from portico.errors import Denied, LockBusy, NetworkError, OAuthError, PorticoError, StoreError, TimedOut
from portico.net.errors import RedirectRefused, ReplyTooLong
from portico.oauth.dialects import make_request, read_reply
from portico.oauth.revocation import revoke_orphaned
from portico.oauth.token_errors import SUCCESSFUL, NoAnswer
from portico.oauth.token_response import check_fit, is_bearer
from portico.store.records import Renewal
from portico.store.token_store import GenerationChanged, ProfileTokens, Tokens
from portico.util.files import no_crash_point

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from portico.auth.tokens import TokenClock
    from portico.interfaces.authorization import FormRequest, HttpReply, TokenDialect, TokenSet
    from portico.interfaces.basics import Clock
    from portico.secret import Secret
    from portico.store.records import Failure, JournalEntry, Moment, OAuthProfile, Profile
    from portico.store.token_store import RefreshTurn, TokenStore
    from portico.util.files import CrashPoint

    class Send(Protocol):
        """The interface by which a refresh sends requests from its thread."""

        def claim(self) -> None:
            """Make the refresh uncancellable from now on. Raises `Abandoned` if every caller has left."""

        def post(self, request: FormRequest, *, relocated: Mapping[str, str], timeout_s: float) -> HttpReply:
            """Send the request once."""


POST_TIMEOUT_S: Final = 30.0
RETRY_TIMEOUT_S: Final = 10.0
# Errors that show that the server has received the request.
_UNUSABLE_REPLIES: Final = (RedirectRefused, ReplyTooLong)


class OtherAccount(OAuthError):
    """The response to a refresh has the tokens of another account."""

    id = "sign-in-ended"


@dataclass(slots=True)
class Exchange:
    """The exchange of one refresh token for a new token set.

    `entry` is the journal entry to keep if the exchange fails. `response_lost`: a response to this token was lost, in this
    exchange or an earlier one.
    """

    turn: RefreshTurn
    dialects: Callable[[str], TokenDialect]
    clock: Clock
    crash_point: CrashPoint
    profile_tokens: ProfileTokens
    refresh: Secret
    entry: JournalEntry | None = field(init=False)
    response_lost: bool = field(init=False)
    _earlier_entry: JournalEntry | None = field(init=False)

    def __post_init__(self) -> None:
        self.entry = self._earlier_entry = journal.find_entry(self.profile_tokens.profile, self.refresh)
        self.response_lost = self.entry is not None

    @property
    def may_have_spent(self) -> bool:
        """Whether this exchange has sent the token and the server may have accepted it."""
        return self.entry is not None and self.entry != self._earlier_entry

    def run(self, send: Send) -> tuple[TokenSet, int]:
        """Send the refresh token. Return the token set, and when it was requested (ms since the epoch).

        Raises:
            PorticoError: the server gave no token set.
        """
        profile = self.profile_tokens.account
        dialect = self.dialects(profile.dialect)
        request = make_request(
            profile.dialect, lambda: dialect.refresh_request(profile.server(), self.refresh), self.refresh, transient=True
        )
        send.claim()
        try:
            reply = self._post(request, send, POST_TIMEOUT_S)
        except NetworkError as error:
            if not _is_lost(error) or isinstance(error, RefreshInterrupted) or not self._may_repeat():
                raise
            reply = self._post(request, send, RETRY_TIMEOUT_S)
        self.crash_point("answered")
        entry_before, self.entry = self.entry, self.profile_tokens.profile.journal_entry
        try:
            access = self.profile_tokens.tokens.access
            token_set = read_reply(profile.dialect, reply, dialect.read_token_reply, access, self.refresh)
        except PorticoError as error:
            has_error_code = isinstance(error, OAuthError) and error.code is not None
            if reply.status not in SUCCESSFUL or has_error_code or isinstance(error, NoAnswer):
                self.entry = entry_before  # an OAuth error, or a page of another server: this send has not spent the token
            if isinstance(error, (Denied, TimedOut)):
                raise as_transient(error) from None
            raise
        self.crash_point("validated")
        return token_set, reply.sent_at_ms

    def _post(self, request: FormRequest, send: Send, timeout_s: float) -> HttpReply:
        self._write_journal()
        self.crash_point("journaled")
        try:
            return send.post(request, relocated=dict(self.profile_tokens.account.relocated), timeout_s=timeout_s)
        except NetworkError as error:
            if _is_lost(error):
                self.response_lost, self.entry = True, self.profile_tokens.profile.journal_entry
            raise

    def _may_repeat(self) -> bool:
        return self.entry is None or self.entry.sends < journal.IMMEDIATE_SENDS

    def _write_journal(self) -> None:
        """Write the journal entry durably.

        For tokens that are only in memory, this may fail: no other process has these tokens, and a store that rejects them may
        also reject the entry.
        """
        if self.profile_tokens.stored:
            self._write_entry()
            return
        with contextlib.suppress(StoreError, LockBusy):
            self._write_entry()

    def _write_entry(self) -> None:
        entry = journal.new_entry(self.profile_tokens.profile, self.refresh, self.clock.wall_ms())
        self.profile_tokens = replace(self.profile_tokens, profile=self.turn.note_sending(self.profile_tokens.profile, entry))


def _is_lost(error: NetworkError) -> bool:
    """Whether the server may have accepted the token although no response arrived."""
    return not error.unsent and not isinstance(error, _UNUSABLE_REPLIES)


_log: Final = logging.getLogger(__name__)


def is_another_account(profile: OAuthProfile, token_set: TokenSet) -> bool:
    """Whether the tokens belong to another account (OpenID Connect Core section 12.2); False if the server names no account."""
    return profile.subject is not None and token_set.subject not in {None, profile.subject}


def make_renewal(profile: OAuthProfile, token_set: TokenSet, requested_at: int, received: Moment | None) -> Renewal:
    """Return the changes of `token_set` in `profile`. It was requested at `requested_at` (ms since the epoch)."""
    refresh_expires_at = profile.refresh_expires_at if token_set.refresh is None else None
    return Renewal(
        replaces=profile.generation,
        refreshed_at=requested_at,
        refresh_expires_at=token_set.refresh_expires_at or refresh_expires_at,
        scope=token_set.scope or profile.scope,
        subject=token_set.subject or profile.subject,
        unread=token_set.unread,
        received=received,
    )


def log_scope_growth(before: OAuthProfile, after: OAuthProfile) -> None:
    """Log added scopes.

    They are not rejected, because the old refresh token is spent: without the new tokens the user would have to sign in again.

    RFC 6749 section 3.3 allows a server to grant another scope than requested, if the response names it.
    """
    added = set(after.scope.split()) - set(before.scope.split())
    if added and before.scope:
        _log.warning("%s: the scope has grown by %s", after.id, " ".join(sorted(added)))


REFRESH_STEPS: Final = ("locked", "decided", "journaled", "answered", "validated", "stored")
# The error code for a refresh token that was used before (RFC 6749 section 5.2).
_INVALID_GRANT: Final = "invalid_grant"


@dataclass(frozen=True, slots=True)
class RefreshCall:
    """A caller's request: a token of `profile` that is newer than `stale_generation` (None: any usable token).

    `needed`: the caller cannot use the stale token. `wait_s`: how long the caller waits while another process refreshes.
    """

    profile: OAuthProfile
    stale_generation: int | None
    needed: bool
    wait_s: float


@dataclass(frozen=True, slots=True)
class Refresher:
    """The parts of a refresh."""

    store: TokenStore
    dialects: Callable[[str], TokenDialect]
    clock: Clock
    token_clock: TokenClock
    pending: PendingTokens
    crash_point: CrashPoint = no_crash_point

    def refresh(self, call: RefreshCall, send: Send) -> Refreshed:
        """Return the token for `call`; refresh first if needed.

        Raises:
            LockBusy: another owner was refreshing for all of `wait_s` seconds.
            SignInNeeded: only a new sign-in can help.
            NetworkError: the server was not reached or did not answer as expected; trying again may help.
            StoreError: reading or storing failed, or another account was signed in (`generation-changed`).
        """
        turn = self._take_turn(call)
        if isinstance(turn, Refreshed):
            return turn
        try:
            self.crash_point("locked")
            return self._refresh_locked(call, turn, send)
        finally:
            self._end_turn(call.profile.id, turn)

    def _take_turn(self, call: RefreshCall) -> RefreshTurn | Refreshed:
        """Return the turn, or the tokens that another owner stored during the wait: all waiting callers can use these."""
        pending_turn = self.pending.turns.pop(call.profile.id, None)
        if pending_turn is not None:
            return pending_turn
        adopted: list[Refreshed] = []
        turn = self.store.begin_refresh(call.profile.id, wait_s=call.wait_s, unless=lambda: self._adopt_stored(call, adopted))
        return adopted[0] if turn is None else turn

    def _adopt_stored(self, call: RefreshCall, adopted: list[Refreshed]) -> bool:
        """Whether another owner has stored a token for `call`. If so, append it to `adopted`."""
        profile = self.store.get(call.profile.id)
        if profile is None or call.stale_generation is None or profile.generation == call.profile.generation:
            return False
        profile_tokens = self.pending.read(profile.id)
        if profile_tokens.tokens.generation == call.stale_generation or not self._is_usable(profile_tokens):
            return False
        check_same_account(call.profile, profile_tokens.profile)
        adopted.append(Refreshed(profile_tokens, posted=False))
        return True

    def _end_turn(self, profile_id: str, turn: RefreshTurn) -> None:
        if profile_id in self.pending.by_profile:
            self.pending.turns[profile_id] = turn
        else:
            turn.end()

    def _refresh_locked(self, call: RefreshCall, turn: RefreshTurn, send: Send) -> Refreshed:
        profile_tokens = self._store_pending(call.profile.id, send)
        usable = self._is_usable(profile_tokens)
        if profile_tokens.tokens.generation != call.stale_generation and usable:
            check_same_account(call.profile, profile_tokens.profile)
            return Refreshed(profile_tokens, posted=False)
        refresh = profile_tokens.tokens.refresh
        if refresh is None or profile_tokens.profile.has_ended:
            raise sign_in_expired(profile_tokens.profile)
        backoff = stored_backoff(profile_tokens.profile, self.clock.wall_ms())
        if backoff is not None:  # another owner's attempt failed while this one waited for the lock
            raise backoff.as_error()
        self.crash_point("decided")
        exchange = Exchange(turn, self.dialects, self.clock, self.crash_point, profile_tokens, refresh)
        try:
            tokens = self._exchange_tokens(exchange, send)
        except PorticoError as error:
            return self._handle_failure(exchange, error)
        self.pending.add(exchange.profile_tokens.profile, tokens)
        refreshed = self._store_new(exchange.profile_tokens.account, turn, send)
        log_scope_growth(exchange.profile_tokens.account, refreshed.profile_tokens.account)
        return refreshed

    def _exchange_tokens(self, exchange: Exchange, send: Send) -> Tokens:
        """Return the new tokens. Revoke them if they are of another account or another token type.

        An access token without a new refresh token is not revoked, because the server might also revoke the old refresh token,
        which is still valid (RFC 7009 section 2.1).
        """
        token_set, sent_at = exchange.run(send)
        profile = exchange.profile_tokens.account
        tokens = Tokens(token_set.access, token_set.refresh or exchange.refresh, token_set.expires_at)
        if is_another_account(profile, token_set):
            revoke_orphaned(profile, replace(tokens, refresh=token_set.refresh), self.dialects, send)
            message = f"The server sent tokens of another account to {profile.id}."
            raise OtherAccount(message, ends_grant=True)
        tokens = replace(tokens, renewal=make_renewal(profile, token_set, sent_at, moment(self.clock)))
        try:
            check_fit(token_set)
        except OAuthError as error:
            if token_set.refresh is not None and not is_bearer(token_set):
                revoke_orphaned(profile, tokens, self.dialects, send)
                error.ends_grant = True  # the revoked refresh token had replaced the token that was sent
            elif token_set.refresh is not None:
                self._save_refresh_token(exchange, tokens, send)
            raise
        return tokens

    def _save_refresh_token(self, exchange: Exchange, tokens: Tokens, send: Send) -> None:
        """Store a refresh token whose access token is unusable: the previous refresh token is spent."""
        previous = exchange.profile_tokens
        new_tokens = replace(tokens, access=previous.tokens.access, expires_at=previous.tokens.expires_at)
        self.pending.add(previous.profile, new_tokens)
        profile_tokens = self._store_pending(previous.profile.id, send)
        if profile_tokens.tokens.refresh != new_tokens.refresh:
            raise GenerationChanged(f"{previous.profile.id} was signed in again, or signed out.")
        if profile_tokens.stored:
            profile = replace(profile_tokens.profile, failure=previous.profile.failure)
            exchange.profile_tokens, exchange.entry = ProfileTokens(profile, profile_tokens.tokens), None

    def _store_new(self, profile: OAuthProfile, turn: RefreshTurn, send: Send) -> Refreshed:
        """Store the pending tokens. If this fails, serve them from memory and record the failure in the profile."""
        profile_tokens = self._store_pending(profile.id, send)
        self.token_clock.now(profile_tokens.profile)  # starts to measure the tokens' age, independent of the wall clock
        check_same_account(profile, profile_tokens.profile)
        if profile_tokens.stored:
            self.crash_point("stored")
        else:
            _record_failure(
                turn, profile, make_failure(self.pending.errors[profile.id], self.clock.wall_ms()), profile.journal_entry
            )
        return Refreshed(profile_tokens, posted=True)

    def _store_pending(self, profile_id: str, send: Send) -> ProfileTokens:
        """Try to store the pending tokens, if there are any. Return the tokens to use now."""
        try:
            return self.pending.try_store(profile_id) or self.pending.read(profile_id, to_refresh=True)
        except ProfileReplaced as replaced:
            send.claim()
            self._revoke_if_orphaned(replaced.profile_tokens, send)
            return self.pending.read(profile_id, to_refresh=True)

    def _revoke_if_orphaned(self, orphaned: ProfileTokens, send: Send) -> None:
        """Revoke tokens that arrived after their profile was signed out."""
        profile = self.store.get(orphaned.profile.id)
        if profile is None or profile.created_at != orphaned.profile.created_at:
            revoke_orphaned(orphaned.account, orphaned.tokens, self.dialects, send)

    def _handle_failure(self, exchange: Exchange, error: PorticoError) -> Refreshed:
        """Return the tokens that a new sign-in has stored during the refresh; else record the failure and raise it."""
        sent = exchange.profile_tokens
        terminal = is_terminal(error)
        if terminal or isinstance(error, GenerationChanged):
            fresh = self.pending.read(sent.profile.id, to_refresh=True)
            if fresh.tokens.generation != sent.tokens.generation and self._is_usable(fresh):
                check_same_account(sent.account, fresh.profile)
                return Refreshed(fresh, posted=terminal)
        if terminal:
            self.pending.forget(sent.profile.id)
            if exchange.response_lost and isinstance(error, OAuthError) and error.code == _INVALID_GRANT:
                error = answer_lost_error(error, exchange.entry)
        lost_entry = exchange.entry if exchange.may_have_spent and not isinstance(error, RefreshInterrupted) else None
        if (
            lost_entry is not None
            and lost_entry.sends >= IMMEDIATE_SENDS
            and isinstance(error, NetworkError)
            and not isinstance(error, OAuthError)
        ):
            error = answers_missing_error(error, lost_entry, sent.profile)
        now = self.clock.wall_ms()
        failure = make_failure(error, now, backoff_to_store(sent.profile, error, now, lost_entry=lost_entry))
        _record_failure(exchange.turn, sent.profile, failure, None if terminal else exchange.entry)
        if terminal:
            raise sign_in_expired(replace(sent.profile, failure=failure)) from error
        raise error

    def _is_usable(self, profile_tokens: ProfileTokens) -> bool:
        return is_usable(profile_tokens.tokens.expires_at, self.token_clock.now(profile_tokens.profile))


def _record_failure(turn: RefreshTurn, profile: Profile, failure: Failure, entry: JournalEntry | None) -> None:
    """Record a failed refresh in the profile. The failure is raised even if it cannot be recorded."""
    with contextlib.suppress(StoreError, LockBusy):
        turn.note_failure(profile, failure, entry)
