"""One question, whatever protocol it is asked over, the pieces that its answer comes in, and what that has used and costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind, ModelCost

Effort = Literal["low", "medium", "high", "xhigh", "max"]
Thinking = Literal["on", "off"]


@dataclass(frozen=True, slots=True)
class Image:
    """A picture: its media type (`image/png`) and its bytes in base64."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. `max_tokens` bounds the answer.

    `effort` None leaves it to the model how much it thinks, `thinking` None whether. Which of them a model takes, and in which
    form, `portico.models.thinking` knows.
    """

    text: str
    max_tokens: int
    images: tuple[Image, ...] = ()
    effort: Effort | None = None
    thinking: Thinking | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event of a stream says. `end`: the answer is whole; `error`: the provider's message if it broke off."""

    text: str = ""
    usage: Usage | None = None
    end: bool = False
    error: str | None = None


class ApiProtocol(Protocol):
    """How one API is spoken. Pure: no I/O, no state."""

    api: ApiKind

    def url(self, base_url: str) -> str:
        """Where questions go under an API base, with or without its version."""
        ...

    def headers(self) -> Mapping[str, str]:
        """What every request carries besides its credential."""
        ...

    def body(self, model_id: str, question: Question) -> dict[str, object]:
        """The request for a streamed answer."""
        ...

    def read(self, event: Mapping[str, object]) -> Piece:
        """What an event of the stream says; an event that is none of this protocol says nothing."""
        ...

    def usage(self, answer: Mapping[str, object]) -> Usage | None:
        """What a whole, unstreamed answer has used; None where it does not tell."""
        ...


def failure_text(event: Mapping[str, object]) -> str:
    """The provider's own words in an event that tells of a failure."""
    error = event.get("error")
    message = error.get("message") if isinstance(error, dict) else event.get("message")
    return message if isinstance(message, str) and message else "the provider gave no reason"


_MILLION: Final = 1_000_000
_HOUR_CACHE_FACTOR: Final = 2
_MAX_COUNT: Final = 10**12


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer; `input` leaves out what was read from or written to a cache, which has prices of its own.

    `cache_write_1h` is the part of `cache_write` that the cache keeps for an hour.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0

    @property
    def total_input(self) -> int:
        """The whole prompt, by whose size some prices go: cached tokens are input too."""
        return self.input + self.cache_read + self.cache_write

    def updated(self, newer: Usage) -> Usage:
        """What is known once `newer` has come as well: streams give the counts piece by piece, each as a total."""
        return Usage(
            newer.input or self.input,
            newer.output or self.output,
            newer.cache_read or self.cache_read,
            newer.cache_write or self.cache_write,
            newer.cache_write_1h or self.cache_write_1h,
        )


def list_price(usage: Usage, cost: ModelCost | None) -> float | None:
    """US dollars for `usage`; None where the prices are not known, or the provider has not told the counts."""
    return cost_of(usage, cost) if cost is not None and usage.output else None


def cost_of(usage: Usage, cost: ModelCost) -> float:
    """US dollars for `usage` at the prices of `cost`.

    The highest tier below the whole prompt counts, for everything in the request: reads and writes of the cache are part of the
    prompt's size, as BerriAI/litellm#30207 and junhoyeo/tokscale#862 have found. What Anthropic's cache keeps for an hour costs
    twice the input (https://platform.claude.com/docs/en/build-with-claude/prompt-caching); where writes are free, that is too.
    """
    reached_tiers = (tier for tier in cost.tiers if usage.total_input > tier.input_above)
    prices = max(reached_tiers, key=lambda tier: tier.input_above, default=cost)
    hour_cache_price = prices.input * _HOUR_CACHE_FACTOR if prices.cache_write else 0.0
    return (
        usage.input * prices.input
        + usage.output * prices.output
        + usage.cache_read * prices.cache_read
        + (usage.cache_write - usage.cache_write_1h) * prices.cache_write
        + usage.cache_write_1h * hour_cache_price
    ) / _MILLION


def count(fields: Mapping[str, object], name: str) -> int:
    """The count in member `name`; 0 where it is absent, or no count."""
    value = fields.get(name)
    return value if type(value) is int and 0 <= value < _MAX_COUNT else 0  # no `bool`, which is an `int` too


def member(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    """The object in member `name`, empty where there is none."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
