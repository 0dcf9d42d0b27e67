"""A request's row in the history: what it took and came to, and nothing of what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.gateway.keys import tool_of
from portico.models.usage import Usage
from portico.usage.entry import ANSWERED, CUT, LEFT, entry_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.gateway.outcome import End, Outcome
    from portico.usage.entry import Entry

_WORDS: Final[Mapping[End, str]] = {"answered": ANSWERED, "cut": CUT, "client-gone": LEFT}


def entry_for(outcome: Outcome) -> Entry | None:
    """The row; None for what is no use of a model: counting tokens, and requests that no candidate was left for."""
    if outcome.call.route.counts or not outcome.attempts:
        return None
    asked = [attempt for attempt in outcome.attempts if attempt.outcome != "passed over"] or [outcome.attempts[-1]]
    model, refusal = outcome.model or asked[-1].model, asked[-1].refusal
    return entry_of(
        model,
        outcome.usage or Usage(),
        at_ms=outcome.began_at,
        client=tool_of(outcome.call.client) or outcome.call.client,
        outcome=_WORDS.get(outcome.end) or (refusal.word if refusal is not None else "refused"),
        attempts=len(asked),
        api=outcome.call.route.api,
        first_byte_ms=outcome.first_byte_ms,
        latency_ms=outcome.whole_ms,
    )
