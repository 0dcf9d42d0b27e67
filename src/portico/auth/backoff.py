"""Errors of a refresh, and how long Portico waits before it contacts the server again.

The backoff is exponential with full jitter, at most a minute. A server's Retry-After is obeyed, up to an hour. The profile
index stores the backoff, so every process waits. If a request could not be sent at all, the first backoffs are short and apply
only to this process. The reasons: a network returns seconds after a machine wakes, and after a lost response a server accepts
the old token only for seconds. `auth/journal.py` determines how long to wait after a lost response.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from portico.auth.journal import describe_entry, resend_wait_s
from portico.errors import NetworkError, OAuthError, PorticoError, SignInNeeded
from portico.net.errors import Unreachable
from portico.oauth.token_errors import ServerError
from portico.store.profiles import login_command
from portico.store.records import Failure

if TYPE_CHECKING:
    from portico.store.records import JournalEntry, Profile

# RFC 6749 section 5.2: the client's registration is wrong, so a new sign-in would fail too.
_REGISTRATION_ERRORS: Final = frozenset({"invalid_client", "unauthorized_client"})


class SignInExpired(SignInNeeded):
    """The profile must sign in again: no further access token is available."""

    id = "sign-in-expired"


class AnswerLost(OAuthError):
    """The response with the new tokens was lost, and the server no longer accepts the old tokens."""

    id = "sign-in-ended"


class AnswersMissing(NetworkError):
    """A refresh token was sent several times, and no response arrived."""

    id = "refresh-answers-missing"


class RefreshInterrupted(NetworkError):
    """The program ends during a refresh."""

    id = "refresh-answers-missing"

    def __init__(self, *, unsent: bool = False) -> None:
        super().__init__("The refresh was interrupted.", unsent=unsent, why="the program is ending")


def is_terminal(error: PorticoError) -> bool:
    """Whether only a new sign-in can help, because the server rejected the refresh token or sent another account's tokens."""
    return isinstance(error, OAuthError) and error.ends_grant


def as_transient(error: PorticoError) -> OAuthError:
    """Return `error` as transient. An error such as `access_denied` may end a sign-in in progress, but not a stored profile."""
    return ServerError(
        "The server rejected the refresh with an error that does not apply to refreshes.",
        transient=True,
        why=error.why,
        where=error.where,
        hint="Try again in a moment.",
    )


def make_failure(error: PorticoError, now_ms: int, backoff: Backoff | None = None) -> Failure:
    """Return `error` as the failure that the profile index stores, with its backoff if it has one."""
    code = error.code if isinstance(error, OAuthError) else None
    failure = Failure(at=now_ms, id=error.id, message=str(error), terminal=is_terminal(error), code=code)
    return failure if backoff is None else replace(failure, attempts=backoff.attempts, retry_at=backoff.until_ms)


def sign_in_expired(profile: Profile) -> SignInNeeded:
    """Return the error for a profile that must sign in again."""
    ended = profile.failure if profile.has_ended else None
    why = ended.message if ended is not None else "the access token has expired, and there is no refresh token"
    if profile.failure is not None and profile.failure.code in _REGISTRATION_ERRORS:
        hint = (
            "The client id or its registration is wrong for this server. Correct it with {prog} config edit, "
            f"then sign in again: {login_command(profile)}"
        )
    else:
        hint = f"Sign in again: {login_command(profile)}"
    return SignInExpired(f"{profile.id} must sign in again.", why=why, hint=hint)


def answer_lost_error(error: OAuthError, entry: JournalEntry | None) -> OAuthError:
    """Return the error for a rejected token that was also sent earlier: the response with the new tokens was lost."""
    reasons = [describe_entry(entry)] if entry is not None else []
    return AnswerLost(
        "The response with the new tokens was lost, and the server no longer accepts the old tokens.",
        code=error.code,
        ends_grant=True,
        why="; ".join(reasons + ([error.why] if error.why else [])) or None,
        where=error.where,
        hint=error.hint,
    )


def answers_missing_error(error: NetworkError, entry: JournalEntry, profile: Profile) -> NetworkError:
    """Return the error for a token that was sent several times without a response. It is sent again, at longer intervals."""
    return AnswersMissing(
        f"The responses to {entry.sends} refreshes were lost.",
        why="; ".join(part for part in (error.why, describe_entry(entry)) if part),
        where=error.where,
        hint=f"Run the command again in {round((resend_wait_s(entry) or 0.0) / 60)} min. If you cannot wait, sign in again: "
        f"{login_command(profile)}",
    )


_FIRST_BACKOFF_S: Final = 1.0
_MAX_BACKOFF_S: Final = 60.0
_MIN_BACKOFF_S: Final = 0.25
_MAX_RETRY_AFTER_S: Final = 3600.0
# Without a network, Portico tries this often in the first minute. No server receives these attempts.
_MAX_OFFLINE_BACKOFF_S: Final = 5.0
_OFFLINE_ATTEMPTS: Final = 12
_RECENT_MS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Backoff:
    """A time without attempts, until `until_ms` (wall clock). Callers get `error` during this time."""

    error: PorticoError
    attempts: int
    until_ms: int
    started_ms: int

    @classmethod
    def after(
        cls, error: PorticoError, previous: Backoff | None, now_ms: int, *, lost_entry: JournalEntry | None = None
    ) -> Backoff:
        """Return the backoff after `error`, never shorter than an active backoff.

        `lost_entry`: the journal entry of a token that may be spent.
        """
        attempts = previous.attempts + 1 if previous is not None else 1
        max_s = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** min(attempts, 12))
        if isinstance(error, NetworkError) and error.unsent and attempts <= _OFFLINE_ATTEMPTS:
            max_s = min(max_s, _MAX_OFFLINE_BACKOFF_S)
        seconds = max(_MIN_BACKOFF_S, random.uniform(0, max_s))  # noqa: S311 - spreads retries; nothing to guess
        if lost_entry is not None:
            seconds = resend_wait_s(lost_entry) or seconds
        if isinstance(error, OAuthError) and error.retry_after is not None:
            seconds = max(seconds, min(error.retry_after, _MAX_RETRY_AFTER_S))
        until_ms = now_ms + round(seconds * 1000)
        if previous is not None and previous.is_active(now_ms):
            until_ms = max(until_ms, previous.until_ms)
        return cls(error, attempts, until_ms, now_ms)

    def is_active(self, now_ms: int) -> bool:
        """Whether the backoff is still active. It ends if the wall clock is set back."""
        return self.started_ms <= now_ms < self.until_ms

    def as_error(self) -> PorticoError:
        """Return the error for a caller during the backoff."""
        return self.error.copy()


def stored_backoff(profile: Profile, now_ms: int) -> Backoff | None:
    """Return the active backoff in the profile's index entry, or None. Any process may have stored it."""
    for backoff in (_failure_backoff(profile, now_ms), _killed_send_backoff(profile)):
        if backoff is not None and backoff.is_active(now_ms):
            return backoff
    return None


def backoff_to_store(
    profile: Profile, error: PorticoError, now_ms: int, *, lost_entry: JournalEntry | None = None
) -> Backoff | None:
    """Return the backoff that applies to every process after `error`; None if the server did not get the request."""
    was_sent = isinstance(error, NetworkError) and not error.unsent
    return Backoff.after(error, _failure_backoff(profile, now_ms), now_ms, lost_entry=lost_entry) if was_sent else None


def failed_recently(profile: Profile, now_ms: int) -> bool:
    """Whether a refresh by any process failed a few seconds ago."""
    return profile.failure is not None and 0 <= now_ms - profile.failure.at < _RECENT_MS


def _killed_send_backoff(profile: Profile) -> Backoff | None:
    """Return the backoff after a send whose process died without recording a failure. Without it, each start would send again."""
    entry, failure = profile.journal_entry, profile.failure
    if entry is None or entry.generation != profile.generation or entry.sent_at is None:
        return None
    seconds = resend_wait_s(entry)
    if seconds is None or (failure is not None and failure.at >= entry.sent_at):
        return None
    error = answers_missing_error(Unreachable("No response arrived."), entry, profile)
    return Backoff(error, entry.sends, entry.sent_at + round(seconds * 1000), entry.sent_at)


def _failure_backoff(profile: Profile, now_ms: int) -> Backoff | None:
    failure = profile.failure
    if failure is None or failure.terminal or failure.retry_at is None:
        return None
    seconds_ago, seconds_left = (now_ms - failure.at) // 1000, -(-(failure.retry_at - now_ms) // 1000)
    error = OAuthError(
        failure.id,
        failure.message,
        code=failure.code,
        transient=True,
        retry_after=max(0.0, (failure.retry_at - now_ms) / 1000),
        hint=f"Tried {seconds_ago} s ago; run the command again in {seconds_left} s.",
    )
    return Backoff(error, failure.attempts, failure.retry_at, failure.at)
