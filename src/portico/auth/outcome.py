"""What a failed refresh means: whether trying again may help, and what a person has to know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.auth.fence import ANSWERS_MISSING, told
from portico.errors import Denied, NetworkError, OAuthError, PorticoError, SignInNeeded, TimedOut
from portico.store.profiles import Failure
from portico.store.remedy import sign_in_again

if TYPE_CHECKING:
    from portico.auth.pause import Pause
    from portico.store.profiles import Fence, Profile

# RFC 6749 section 5.2: the registration is at fault, and another sign-in would meet the same.
_REGISTRATION: Final = frozenset({"invalid_client", "unauthorized_client"})


class NotAsked(NetworkError):
    """A refusal of ours: no server was asked, so it is no reason to leave one alone."""


def is_terminal(error: PorticoError) -> bool:
    """Whether the server has refused the refresh token, so that only signing in again can help."""
    if isinstance(error, OAuthError):
        return not error.transient
    return isinstance(error, (Denied, TimedOut))


def failure_of(error: PorticoError, now_ms: int, pause: Pause | None = None) -> Failure:
    """`error` as the profile index keeps it, with the pause that follows it where a server is to be left alone."""
    code = error.code if isinstance(error, OAuthError) else None
    failure = Failure(at=now_ms, id=error.id, message=str(error), terminal=is_terminal(error), code=code)
    return failure if pause is None else replace(failure, attempts=pause.attempts, retry_at=pause.until_ms)


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


def answer_lost(error: OAuthError, fence: Fence | None) -> OAuthError:
    """What a refusal means of a token that had been sent before: the new tokens were lost on their way."""
    said = [told(fence)] if fence is not None else []
    return OAuthError(
        "refresh-answer-lost",
        "an answer with new tokens was lost on its way, and the server does not take the old token again",
        code=error.code,
        why="; ".join(said + ([error.why] if error.why else [])) or None,
        where=error.where,
        hint=error.hint,
    )


def answers_missing(profile: Profile, fence: Fence, *, usable: bool) -> NotAsked:
    """The error while a token is not sent once more by a timer: whether it is spent shows when somebody needs the next one.

    `usable`: the access token still serves, and one more send could end it.
    """
    lost = f"the answers to {fence.sends} refreshes were lost"
    if usable:
        message, hint = f"{lost}; the sign-in may be over when the access token ends", "sign in again before then"
    else:
        message, hint = f"{lost}; the sign-in may be over", f"find out: {{prog}} auth token {profile.id}; or sign in again"
    return NotAsked(ANSWERS_MISSING, message, why=told(fence), hint=f"{hint}: {sign_in_again(profile)}")


def answers_given_up(fence: Fence) -> OAuthError:
    """The end of a sign-in whose every answer was lost: whoever sent it so often knows no more than that."""
    return OAuthError("refresh-answer-lost", f"the answers to {fence.sends} refreshes were lost", why=told(fence))
