"""What a person is told where no model answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError, PorticoError, SignInNeeded, UsageError
from portico.models.reference import did_you_mean
from portico.models.refusal import MESSAGE_LIMIT
from portico.models.retry_time import moment

if TYPE_CHECKING:
    from portico.models.callable import CallableModel
    from portico.models.failover import Attempt, Failover
    from portico.models.refusal import Refusal

_OTHER_REGION: Final = "one of the provider's other region is refused the same way"
_NOT_FOUND: Final = 404
_WRONG_ADDRESS: Final = (
    "The provider serves nothing at this address. Compare baseUrl and api of the provider in your config: {prog} doctor"
)


def error_of(model: CallableModel, refusal: Refusal) -> PorticoError:
    """The error for one model's refusal."""
    name, said = model.reference.provider, _said(refusal)
    if refusal.kind == "unknown-model" and not model.listed:
        near = did_you_mean(model.near) or "{prog} models list --all"
        return UsageError("unknown-model", f"Unknown model: {model.reference}", why=f"{name} answers {said}", hint=near)
    if refusal.kind == "unknown-model":
        message = f"{name} does not serve {model.reference.model}."
        return UsageError("unknown-model", message, why=f"{name} answers {said}", hint=_current(model))
    if refusal.kind == "auth":
        message = f"{name} refuses the credential from {model.source}."
        return SignInNeeded("credential-refused", message, why=said, hint=_other_credential(model))
    if refusal.kind == "no-plan":
        link = f"Subscribe: {model.subscribe_url}" if model.subscribe_url is not None else None
        return NetworkError("no-plan", f"The account at {name} has no active plan.", why=said, hint=link)
    if refusal.kind == "invalid-request" and refusal.status == _NOT_FOUND:
        return NetworkError("provider-refused", f"{name} refused the request.", why=said, hint=_WRONG_ADDRESS)
    kind = "answer-unknown" if refusal.unknown else refusal.kind
    words = _WORDS.get(kind, _Words("{name} refused the request.", "provider-refused"))
    message = words.message.format(name=name, model=model.reference.model)
    return NetworkError(words.id, message, why=said, hint=_current(model) if kind == "plan-lacks-model" else words.hint)


def no_answer(failover: Failover) -> PorticoError:
    """The error if no candidate answers: why `failover.reason` did not, what came of the others, and when one is asked again."""
    reason = failover.reason
    assert reason is not None  # noqa: S101 - there is at least one candidate, and each that does not answer leaves a reason
    assert reason.refusal is not None  # noqa: S101 - only an answer has none
    error = reason.error.copy() if reason.error is not None else error_of(reason.model, reason.refusal)
    others = [attempt for attempt in failover.attempts if attempt.outcome != "answered"]
    again = moment(failover.back_at) if failover.back_at is not None else None
    if len(others) > 1:
        share = MESSAGE_LIMIT // len(others)
        told = "; ".join(f"{one.model.reference} ({one.model.source}): {_came_of(one, share)}" for one in others)
        error.why = f"none of {len(others)} answered: {told}"
    if failover.not_callable is not None:
        instead = f"asked in place of {failover.not_callable}, which cannot be called"
        error.why = f"{error.why}; {instead}" if error.why else instead
    if again is not None and all(attempt.outcome == "passed over" for attempt in others):
        what = "it was not asked again, and will be from" if len(others) == 1 else "the first of them is asked again from"
        error.why = f"{error.why}; {what} {again}"
    return error


def _came_of(attempt: Attempt, limit: int) -> str:
    """Why a candidate did not answer; of a provider's message so many characters."""
    if attempt.outcome == "failed" and attempt.refusal is not None:
        return attempt.refusal.text(limit)
    return attempt.why


@dataclass(frozen=True, slots=True)
class _Words:
    """What is said of one kind of refusal. `message` has places for the provider's `name` and the `model`."""

    message: str
    id: str
    hint: str | None = None


_WORDS: Final = {
    "rate-limit": _Words(
        "{name} answers that the limit is reached.",
        "rate-limited",
        hint="Wait a minute and ask again, or use another model: {prog} models list",
    ),
    "plan-used-up": _Words("The plan at {name} is used up for now.", "plan-used-up", hint="When its limits reset: {prog} usage"),
    "plan-lacks-model": _Words("The plan at {name} does not include {model}.", "plan-lacks-model"),
    "model-refused": _Words(
        "{name} refused the request for {model}.",
        "model-refused",
        hint="The provider's message says why. Other models: {prog} models list",
    ),
    "account-refused": _Words(
        "{name} refused this account.",
        "account-refused",
        hint="Look at the account on the provider's website, or use another: {prog} auth list",
    ),
    "billing": _Words(
        "{name} asks for payment first.",
        "billing",
        hint="Pay on the provider's website, or use another model: {prog} models list",
    ),
    "server": _Words("{name} failed.", "provider-failed", hint="Try again in a moment."),
    "timeout": _Words("{name} did not answer in time.", "provider-failed", hint="Try again in a moment."),
    "unreachable": _Words("{name} cannot be reached.", "network", hint="Check the connection: {prog} doctor"),
    "answer-unknown": _Words(
        "{name} may have answered the request, but its answer did not arrive.",
        "answer-unknown",
        hint="It was not sent again, because the provider may bill it twice. Send it again if that does not matter.",
    ),
}


def _said(refusal: Refusal) -> str:
    if refusal.status is None:
        return refusal.message
    return f"{refusal.status}: {refusal.message}" if refusal.message else f"HTTP {refusal.status}"


def _current(model: CallableModel) -> str:
    """The command that makes a model the default which the provider is known to serve."""
    if model.spec.successor is None:
        return "Choose another: {prog} models list --all"
    return f"Use a current model: {{prog}} models set {model.reference.provider}/{model.spec.successor}"


def _other_credential(model: CallableModel) -> str:
    if model.sign_in_again is None and model.has_regions:
        return f"Check {model.source} and its region: {_OTHER_REGION}."
    if model.sign_in_again is None:
        return f"Check {model.source}."
    if model.has_regions:
        return f"Sign in again, with the account's own region ({_OTHER_REGION}): {model.sign_in_again}"
    return f"Sign in again: {model.sign_in_again}"
