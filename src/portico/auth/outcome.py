"""What a failed refresh means: whether trying again may help, and what a person has to know."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from portico.auth.fence import told, wait_s
from portico.errors import NetworkError, OAuthError, PorticoError, SignInNeeded
from portico.store.profiles import Failure
from portico.store.remedy import new_tokens

if TYPE_CHECKING:
    from portico.auth.pause import Pause
    from portico.store.profiles import Fence, Profile

# RFC 6749 section 5.2: the registration is at fault, and another sign-in would meet the same.
_REGISTRATION: Final = frozenset({"invalid_client", "unauthorized_client"})


class RefreshInterrupted(NetworkError):
    """The program ends while a refresh is under way."""

    def __init__(self, *, unsent: bool = False) -> None:
        super().__init__("refresh-interrupted", "the refresh was interrupted", unsent=unsent, why="the program is ending")


def is_terminal(error: PorticoError) -> bool:
    """Whether only a new sign-in can help: the server has ended this one, or it gives tokens that are not this account's."""
    return isinstance(error, OAuthError) and error.ends_grant


def not_a_verdict(error: PorticoError) -> OAuthError:
    """What a person did on the provider's page, told of a refresh: that ends a sign-in in progress, and never a stored one."""
    return OAuthError(
        "oauth-error",
        "The server refused, with an error that does not belong to a refresh.",
        transient=True,
        why=error.why,
        where=error.where,
        hint="Try again in a moment.",
    )


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
            "the client id, or its registration, does not fit this server: correct it with {prog} config edit, "
            f"then sign in again: {new_tokens(profile)}"
        )
    else:
        hint = f"sign in again: {new_tokens(profile)}"
    return SignInNeeded("sign-in-expired", f"the sign-in {profile.id} has ended", why=why, hint=hint)


def answer_lost(error: OAuthError, fence: Fence | None) -> OAuthError:
    """What a refusal means of a token that had been sent before: the new tokens were lost on their way."""
    said = [told(fence)] if fence is not None else []
    return OAuthError(
        "refresh-answer-lost",
        "an answer with new tokens was lost on its way, and the server does not take the old token again",
        code=error.code,
        ends_grant=True,
        why="; ".join(said + ([error.why] if error.why else [])) or None,
        where=error.where,
        hint=error.hint,
    )


def answers_missing(error: NetworkError, fence: Fence, profile: Profile) -> NetworkError:
    """The error of a token that was sent more than once without an answer. It is sent again, ever more rarely."""
    return NetworkError(
        "refresh-answers-missing",
        f"the answers to {fence.sends} refreshes were lost",
        why="; ".join(part for part in (error.why, told(fence)) if part),
        where=error.where,
        hint=f"run the command again in {round((wait_s(fence) or 0.0) / 60)} min; if you cannot wait, sign in again: "
        f"{new_tokens(profile)}",
    )
