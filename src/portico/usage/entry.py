"""The entry of one request in the usage history, and the retention of entries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from portico.models.protocols import list_price

if TYPE_CHECKING:
    from portico.models.loader import CallableModel
    from portico.models.protocols import Usage

# Outcomes of answered requests. The outcome of a failed request is `portico.models.provider_errors.ProviderError.label`.
ANSWERED: Final = "answered"
CUT: Final = "cut"
LEFT: Final = "left"
_MAY_COST: Final = (ANSWERED, CUT, LEFT)


class Entry(NamedTuple):
    """One request, in the order of its row.

    Entries stay for more than a year, so no field contains a credential, or text of the request or the answer.

    Attributes:
        at_ms: the start of the request (ms since the epoch).
        model: the reference of the model that answered, or of the last model that was tried.
        credential: the id of the profile, or the source of the key in words.
        client: `ask`, or the name of a gateway key.
        api: the protocol (`portico.interfaces.plugins.ApiKind`).
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens: the provider's counts; 0 if unknown.
        cost_usd: US dollars at the prices of the time; None if the prices or the counts are unknown; 0 for a rejected request.
        first_byte_ms: from the start to the first piece of the answer; None without an answer.
        latency_ms: from the start to the end.
        outcome: `answered`; `cut` if the answer broke off; `left` if the client disconnected. Without an answer, the reason: a
            `portico.interfaces.plugins.ProviderErrorKind`, or the id of the error on this machine.
        attempts: how many candidates were tried.
    """

    at_ms: int
    model: str
    credential: str
    client: str
    api: str
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float | None = None
    first_byte_ms: int | None = None
    latency_ms: int | None = None
    outcome: str = ANSWERED
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class Retention:
    """How many rows stay in the history, and for how long. Other rows are deleted about once in a thousand requests."""

    days: int = 400
    rows: int = 1_000_000


def entry_of(
    model: CallableModel,
    usage: Usage,
    *,
    at_ms: int,
    client: str,
    outcome: str,
    attempts: int,
    api: str | None = None,
    first_byte_ms: int | None = None,
    latency_ms: int | None = None,
) -> Entry:
    """Return the entry of a request to `model`, at the current prices."""
    return Entry(
        at_ms,
        str(model.reference),
        model.profile_id or model.source,
        client,
        api or model.api,
        *usage[:4],
        cost_usd=list_price(usage, model.spec.cost) if outcome in _MAY_COST else 0.0,
        first_byte_ms=first_byte_ms,
        latency_ms=latency_ms,
        outcome=outcome,
        attempts=attempts,
    )
