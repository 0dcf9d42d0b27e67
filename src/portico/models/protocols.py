"""The three protocols that models are called over: where a request goes, how one question is asked, how the answer is read.

Anthropic's Messages (https://docs.anthropic.com/en/api/messages-streaming), where only `message_stop` makes an answer whole, and
OpenAI's Chat Completions and Responses. Beside them what an answer has used, and what that costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol
from urllib.parse import urlsplit

from portico.models.thinking import completions_fields, family_of, messages_fields, responses_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.plugins import ApiKind, ModelCost

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


class Usage(NamedTuple):
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


API_VERSION: Final = "2023-06-01"
_ROOM_TO_ANSWER: Final = 1024


class Messages:
    """`ApiProtocol` for `anthropic-messages`."""

    api: ApiKind = "anthropic-messages"

    def url(self, base_url: str) -> str:
        base = base_url.rstrip("/")
        return f"{base}/messages" if base.endswith("/v1") else f"{base}/v1/messages"

    def headers(self) -> Mapping[str, str]:
        return {"anthropic-version": API_VERSION}

    def body(self, model_id: str, question: Question) -> dict[str, object]:
        content: object = question.text
        if question.images:
            content = [*map(_messages_image, question.images), {"type": "text", "text": question.text}]
        messages = [{"role": "user", "content": content}]
        thinking = messages_fields(question, model_id)
        budget = count(member(thinking, "thinking"), "budget_tokens")
        limit = max(question.max_tokens, budget + _ROOM_TO_ANSWER) if budget else question.max_tokens
        return {"model": model_id, "max_tokens": limit, "stream": True, "messages": messages, **thinking}

    def read(self, event: Mapping[str, object]) -> Piece:
        kind = event.get("type")
        if kind == "error":
            return Piece(error=failure_text(event))
        if kind == "message_start":
            return Piece(usage=_usage(member(member(event, "message"), "usage")))
        text = member(event, "delta").get("text")
        usage = _usage(member(event, "usage")) if kind == "message_delta" else None
        return Piece(text if isinstance(text, str) else "", usage, end=kind == "message_stop")

    def usage(self, answer: Mapping[str, object]) -> Usage | None:
        return _usage(member(answer, "usage"))


def _usage(counts: Mapping[str, object]) -> Usage | None:
    if not counts:
        return None
    cache_creation = member(counts, "cache_creation")
    hour, minutes = count(cache_creation, "ephemeral_1h_input_tokens"), count(cache_creation, "ephemeral_5m_input_tokens")
    cache_write = count(counts, "cache_creation_input_tokens") or hour + minutes
    cache_read = count(counts, "cache_read_input_tokens")
    return Usage(count(counts, "input_tokens"), count(counts, "output_tokens"), cache_read, cache_write, min(hour, cache_write))


def _messages_image(image: Image) -> dict[str, object]:
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


# The one event that is no JSON; read as this object, so that a protocol sees objects only.
STREAM_END: Final[Mapping[str, object]] = {"object": "[DONE]"}


class Completions:
    """`ApiProtocol` for `openai-completions`."""

    api: ApiKind = "openai-completions"

    def url(self, base_url: str) -> str:
        return f"{versioned(base_url)}/chat/completions"

    def headers(self) -> Mapping[str, str]:
        return {}

    def body(self, model_id: str, question: Question) -> dict[str, object]:
        content: object = question.text
        if question.images:
            content = [{"type": "text", "text": question.text}, *map(_completions_image, question.images)]
        family = family_of(model_id)
        limit = family.completion_limit if family is not None else "max_tokens"
        return {
            "model": model_id,
            limit: question.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [{"role": "user", "content": content}],
            **completions_fields(question, model_id),
        }

    def read(self, event: Mapping[str, object]) -> Piece:
        if event is STREAM_END:
            return Piece(end=True)
        if event.get("error") is not None:
            return Piece(error=failure_text(event))
        choices = event.get("choices")
        first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        text = member(first, "delta").get("content")
        return Piece(text if isinstance(text, str) else "", self.usage(event))

    def usage(self, answer: Mapping[str, object]) -> Usage | None:
        counts = member(answer, "usage")
        if not counts:
            return None
        cached = count(member(counts, "prompt_tokens_details"), "cached_tokens")
        return Usage(max(0, count(counts, "prompt_tokens") - cached), count(counts, "completion_tokens"), cached)


def versioned(base_url: str) -> str:
    """An API base as OpenAI's SDKs take it, with its version; one that is a bare origin gets it."""
    base = base_url.rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


def data_url(image: Image) -> str:
    """The picture as a `data:` URL."""
    return f"data:{image.media_type};base64,{image.data}"


def _completions_image(image: Image) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": data_url(image)}}


_ENDS: Final = frozenset({"response.completed", "response.incomplete"})


class Responses:
    """`ApiProtocol` for `openai-responses`."""

    api: ApiKind = "openai-responses"

    def url(self, base_url: str) -> str:
        return f"{versioned(base_url)}/responses"

    def headers(self) -> Mapping[str, str]:
        return {}

    def body(self, model_id: str, question: Question) -> dict[str, object]:
        input_items: object = question.text
        if question.images:
            pictures = [{"type": "input_image", "image_url": data_url(image)} for image in question.images]
            input_items = [{"role": "user", "content": [{"type": "input_text", "text": question.text}, *pictures]}]
        base_fields = {"model": model_id, "max_output_tokens": question.max_tokens, "stream": True, "input": input_items}
        return {**base_fields, **responses_fields(question, model_id)}

    def read(self, event: Mapping[str, object]) -> Piece:
        kind, response = event.get("type"), member(event, "response")
        if kind in {"error", "response.failed"}:
            return Piece(error=failure_text(response or event))
        delta = event.get("delta") if kind == "response.output_text.delta" else None
        return Piece(delta if isinstance(delta, str) else "", self.usage(response), end=kind in _ENDS)

    def usage(self, answer: Mapping[str, object]) -> Usage | None:
        counts = member(answer, "usage")
        if not counts:
            return None
        cached = count(member(counts, "input_tokens_details"), "cached_tokens")
        return Usage(max(0, count(counts, "input_tokens") - cached), count(counts, "output_tokens"), cached)


PROTOCOLS: Final[Mapping[ApiKind, ApiProtocol]] = {
    "anthropic-messages": Messages(),
    "openai-completions": Completions(),
    "openai-responses": Responses(),
}
