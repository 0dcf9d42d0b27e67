"""What became of a request, and how the answer's own headers tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.gateway.forward import Call
    from portico.models.callable import CallableModel, Passed
    from portico.models.failover import Attempt
    from portico.models.usage import Usage

End = Literal["answered", "refused", "cut", "client-gone"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """For the log, the counters and the history. `began_at` is wall ms, the other times are spans in ms.

    `model` is the one that answered, None where none did; `usage` is None where the provider did not tell it; `why` says why the
    answer did not come whole.
    """

    call: Call
    end: End
    status: int
    attempts: Sequence[Attempt]
    began_at: int
    whole_ms: int
    first_byte_ms: int | None = None
    model: CallableModel | None = None
    usage: Usage | None = None
    why: str = ""


def headers_of(model: CallableModel | None, attempts: Sequence[Attempt], passed: Sequence[Passed]) -> dict[str, str]:
    """The headers that say which model answered, and what came of each other one, in the order of trying."""
    tries = [f"{one.model.reference}; {one.model.profile_id or 'key'}; {_word(one)}" for one in attempts]
    tries += [f"{one.reference}; {one.error.id}" for one in passed]
    answered = {} if model is None else {"x-portico-model": _plain(str(model.reference))}
    return {**answered, "x-portico-attempts": _plain(", ".join(tries))}


def _word(attempt: Attempt) -> str:
    if attempt.outcome == "answered" or attempt.refusal is None:
        return "answered"
    kind = attempt.refusal.word
    if attempt.outcome == "passed over":
        return f"{'skipped' if attempt.rest is None else 'resting'} after {kind}"
    return f"{kind} {attempt.refusal.status}" if attempt.refusal.status is not None else kind


def _plain(text: str) -> str:
    """Printable ASCII: what a header may hold (RFC 9110 section 5.5)."""
    return text if text.isascii() and text.isprintable() else "".join(each if " " <= each <= "~" else "?" for each in text)
