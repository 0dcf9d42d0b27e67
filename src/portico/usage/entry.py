"""One request as the usage history keeps it, and for how long it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from portico.models.protocols import list_price

if TYPE_CHECKING:
    from portico.models.loader import CallableModel
    from portico.models.protocols import Usage

# What came of a request that no provider has refused; else it is `portico.models.provider_errors.ProviderError.label`.
ANSWERED: Final = "answered"
CUT: Final = "cut"
LEFT: Final = "left"
_MAY_COST: Final = (ANSWERED, CUT, LEFT)


class Entry(NamedTuple):
    """One request, in the order of its row: who asked which model with whose credential, what it took, and what came of it.

    There is no field for what was asked or answered, and none for a credential: the history is kept for more than a year.

    Attributes:
        at_ms: when it began (wall ms).
        model: the reference of the model that answered, or of the last one that was asked where none did.
        credential: the id of the profile, or where the key stands, in words.
        client: who asked: `ask`, or the name of a gateway key.
        api: the protocol that was spoken (`portico.interfaces.plugins.ApiKind`).
        input_tokens, output_tokens, cache_read_tokens, cache_write_tokens: as the provider counts them; 0 where it does not tell.
        cost_usd: US dollars at the prices of that time; None where the prices, or the counts, are not known; 0 for a request that
            was refused, since it has used nothing.
        first_byte_ms: from the beginning to the first piece of the answer; None where none came.
        latency_ms: from the beginning to the end.
        outcome: `answered`; `cut`, where the answer broke off; `left`, where whoever asked went away; else why nobody answered,
            in the words of `portico.interfaces.plugins.ProviderErrorKind`, or the id of the error on this machine.
        attempts: how many candidates were asked.
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
    """How much is kept. Older rows are deleted about once in a thousand requests."""

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
    """The entry of a request that `model` was asked, at the prices that hold now."""
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
