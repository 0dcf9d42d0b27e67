"""What a person is told where no model answered."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError, PorticoError, SignInNeeded, UsageError
from portico.models.failover import unanswered
from portico.models.reference import did_you_mean
from portico.models.refusal import MESSAGE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.models.callable import CallableModel
    from portico.models.failover import Attempt, Round
    from portico.models.refusal import Refusal

_OTHER_REGION = "An account of the other region is refused the same way: {prog} auth list --verbose shows the region. "


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
        return SignInNeeded("credential-refused", message, why=said, hint=_OTHER_REGION + _mend(model))
    if refusal.kind == "no-plan":
        link = f"Subscribe: {model.subscribe_url}" if model.subscribe_url is not None else None
        return NetworkError("no-plan", f"The account at {name} has no active plan.", why=said, hint=link)
    kind = "answer-unknown" if refusal.unknown else refusal.kind
    message, id, advice = _WORDS.get(kind, ("{name} refused the request.", "provider-refused", None))
    advice = _current(model) if kind == "plan-lacks-model" else advice
    return NetworkError(id, message.format(name=name, model=model.reference.model), why=said, hint=advice)


def all_failed(attempts: Sequence[Attempt], last: PorticoError) -> PorticoError:
    """The error where candidates were tried: the last one's, or that an answer is unknown, with what came of the others."""
    others = [attempt for attempt in attempts if attempt.outcome != "answered"]
    failed = [attempt for attempt in others if attempt.outcome == "failed"]
    unknown = unanswered(failed)
    if unknown is not None and unknown.refusal is not None and unknown is not failed[-1]:
        last = error_of(unknown.model, unknown.refusal)  # whatever came after it: the request must not be repeated
    if len(others) > 1:
        share = MESSAGE_LIMIT // len(others)
        told = "; ".join(f"{one.model.reference} ({one.model.source}): {_came_of(one, share)}" for one in others)
        last.why = f"none of {len(others)} answered: {told}"
    return last


def _came_of(attempt: Attempt, limit: int) -> str:
    """Why a candidate did not answer; of a provider's message so many characters."""
    if attempt.outcome == "failed" and attempt.refusal is not None:
        return attempt.refusal.text(limit)
    return attempt.why


def left_alone(way: Round) -> PorticoError:
    """The error where every candidate rests after earlier failures: why the first does, and when one is tried again."""
    first = way.attempts[0]
    assert first.refusal is not None  # noqa: S101 - nothing is passed over without one
    error = error_of(first.model, first.refusal)
    again = datetime.fromtimestamp((way.back_at or 0) / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    error.why = f"{error.why}; it was not asked again, and will be from {again}"
    return error


_WORDS: Final[dict[str, tuple[str, str, str | None]]] = {
    "rate-limit": ("{name} answers that the limit is reached.", "rate-limited", "Try again when it says so."),
    "plan-used-up": ("The plan at {name} is used up for now.", "plan-used-up", "Its windows: {prog} usage"),
    "plan-lacks-model": ("The plan at {name} does not include {model}.", "plan-lacks-model", None),
    "billing": ("{name} asks for payment first.", "billing", None),
    "server": ("{name} failed.", "provider-failed", "Try again in a moment."),
    "timeout": ("{name} did not answer in time.", "provider-failed", "Try again in a moment."),
    "unreachable": ("{name} cannot be reached.", "network", None),
    "answer-unknown": (
        "{name} may have answered the request, but its answer did not arrive.",
        "answer-unknown",
        "It was not sent again, because the provider may bill it. Check {prog} usage, then ask again.",
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


def _mend(model: CallableModel) -> str:
    if model.profile_id is None:
        return f"Check the key: it comes from {model.source}."
    return f"Sign in again: {{prog}} models auth login --provider {model.reference.provider}"
