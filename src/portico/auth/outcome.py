"""What a failed refresh means: whether trying again may help, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.auth.fence import told
from portico.errors import Denied, NetworkError, OAuthError, PorticoError, SignInNeeded, TimedOut
from portico.store.profiles import Failure
from portico.store.remedy import sign_in_again

if TYPE_CHECKING:
    from portico.store.profiles import Fence, Profile

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_SHORTEST_PAUSE_S: Final = 0.25
_LONGEST_ASKED_S: Final = 900.0
# A machine without a network looks for it this often, for the first minute; that reaches no server.
_LONGEST_OFFLINE_S: Final = 5.0
_OFFLINE_LOOKS: Final = 12
_RECENT_MS: Final = 5_000
# RFC 6749 section 5.2: the registration is at fault, and another sign-in would meet the same.
_REGISTRATION: Final = frozenset({"invalid_client", "unauthorized_client"})


def is_terminal(error: PorticoError) -> bool:
    """Whether the server has refused the refresh token, so that only signing in again can help."""
    if isinstance(error, OAuthError):
        return not error.transient
    return isinstance(error, (Denied, TimedOut))


def failure_of(error: PorticoError, now_ms: int) -> Failure:
    """`error` as the profile index keeps it."""
    code = error.code if isinstance(error, OAuthError) else None
    return Failure(at=now_ms, id=error.id, message=str(error), terminal=is_terminal(error), code=code)


def sign_in_expired(profile: Profile) -> SignInNeeded:
    """The error for a profile that can give no further token."""
    if profile.failure is not None and profile.failure.terminal:
        why = profile.failure.message
    else:
        why = "the access token has ended and there is no refresh token"
    if profile.failure is not None and profile.failure.code in _REGISTRATION:
        hint = (
            "the client id, or its registration, does not fit this server: mend it in the file that `{prog} config path` names, "
            f"then sign in again: {sign_in_again(profile)}"
        )
    else:
        hint = f"sign in again: {sign_in_again(profile)}"
    return SignInNeeded("sign-in-expired", f"the sign-in {profile.id} has ended", why=why, hint=hint)


def failed_recently(profile: Profile, now_ms: int) -> bool:
    """Whether a refresh, perhaps another process's, failed a moment ago."""
    return profile.failure is not None and 0 <= now_ms - profile.failure.at < _RECENT_MS


@dataclass(frozen=True, slots=True)
class Pause:
    """No further attempt of this process before `until_ms` (wall): exponential with full jitter, at most a minute.

    A server's Retry-After is kept, up to a quarter of an hour. While nothing can be sent at all, the first pauses are short:
    the network comes back seconds after a machine wakes, and a token that was lost on its way is taken again for seconds only.
    """

    error: PorticoError
    attempts: int
    until_ms: int
    began_ms: int

    @classmethod
    def after(cls, error: PorticoError, previous: Pause | None, now_ms: int) -> Pause:
        """The pause that follows `error`."""
        attempts = previous.attempts + 1 if previous is not None else 1
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(attempts, 10))
        if isinstance(error, NetworkError) and error.unsent and attempts <= _OFFLINE_LOOKS:
            longest = min(longest, _LONGEST_OFFLINE_S)
        seconds = max(_SHORTEST_PAUSE_S, random.uniform(0, longest))  # noqa: S311 - spreads retries; nothing to guess
        if isinstance(error, OAuthError) and error.retry_after is not None:
            seconds = max(seconds, min(error.retry_after, _LONGEST_ASKED_S))
        return cls(error, attempts, now_ms + round(seconds * 1000), now_ms)

    def holds(self, now_ms: int) -> bool:
        """Whether to wait still; not where the clock was set back meanwhile."""
        return self.began_ms <= now_ms < self.until_ms

    def as_error(self) -> PorticoError:
        """The error for a caller that comes during the pause."""
        return self.error.copy()


def answer_lost(error: OAuthError, fence: Fence | None) -> OAuthError:
    """What a refusal means of a token that had been sent before: the new tokens were lost on their way."""
    if error.code in _REGISTRATION:
        return error
    said = [told(fence)] if fence is not None else []
    return OAuthError(
        "refresh-answer-lost",
        "an answer with new tokens was lost on its way, and the server does not take the old token again",
        code=error.code,
        why="; ".join(said + ([error.why] if error.why else [])) or None,
        where=error.where,
        hint=error.hint,
    )


def answers_missing(profile: Profile, fence: Fence) -> NetworkError:
    """The error while a token is not sent once more, since that could end an access token which still serves."""
    return NetworkError(
        "refresh-answer-lost",
        f"the answers to {fence.sends} refreshes were lost; the sign-in may be over when the access token ends",
        why=told(fence),
        hint=f"sign in again before then: {sign_in_again(profile)}",
    )
