"""What an answer has used, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.contracts import ModelCost

_MILLION: Final = 1_000_000
_MOST: Final = 10**12


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer; `input` leaves out what was read from or written to a cache, which has prices of its own."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    def updated(self, later: Usage) -> Usage:
        """What is known after `later` was told as well: streams tell the counts piece by piece, each as a total."""
        return Usage(
            later.input or self.input,
            later.output or self.output,
            later.cache_read or self.cache_read,
            later.cache_write or self.cache_write,
        )


def list_price(usage: Usage, cost: ModelCost | None) -> float | None:
    """US dollars for `usage`; None where the prices are not known, or the provider has not told the counts."""
    return cost_of(usage, cost) if cost is not None and usage.output else None


def cost_of(usage: Usage, cost: ModelCost) -> float:
    """US dollars for `usage` at the prices of `cost`."""
    return (
        usage.input * cost.input
        + usage.output * cost.output
        + usage.cache_read * cost.cache_read
        + usage.cache_write * cost.cache_write
    ) / _MILLION


def count(fields: Mapping[str, object], name: str) -> int:
    """The count in member `name`; 0 where it is absent, or no count."""
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else 0


def member(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    """The object in member `name`, empty where there is none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
