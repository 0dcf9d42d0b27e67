"""The three protocols of model APIs: URLs, request bodies and the reading of answers; also the token usage and its cost.

They are Anthropic's Messages (https://docs.anthropic.com/en/api/messages-streaming), and OpenAI's Chat Completions and
Responses. In Anthropic's protocol only `message_stop` completes an answer.
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
    """An image: its media type (`image/png`) and its bytes in base64."""

    media_type: str
    data: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question to a model.

    `max_tokens` limits the answer. If `effort` is None, the model decides how much it thinks. If `thinking` is None, the model
    decides whether it thinks. `portico.models.thinking` defines which values a model accepts.
    """

    text: str
    max_tokens: int
    images: tuple[Image, ...] = ()
    effort: Effort | None = None
    thinking: Thinking | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """The content of one event of a stream. `end`: the answer is complete. `error`: the provider's message about a failure."""

    text: str = ""
    usage: Usage | None = None
    end: bool = False
    error: str | None = None


class ApiProtocol(Protocol):
    """One protocol of model APIs. Pure: no I/O, no state."""

    api: ApiKind

    def url(self, base_url: str) -> str:
        """Return the URL to send questions to. `base_url` may end with the API's version (`/v1`) or not."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Return the headers of every request, without the credential."""
        ...

    def body(self, model_id: str, question: Question) -> dict[str, object]:
        """Return the request body for a streamed answer."""
        ...

    def read(self, event: Mapping[str, object]) -> Piece:
        """Read an event of the stream. For an unknown event, return an empty piece."""
        ...

    def usage(self, answer: Mapping[str, object]) -> Usage | None:
        """Return the usage in an answer that is not streamed; None if the answer has no usage."""
        ...


def failure_text(event: Mapping[str, object]) -> str:
    """Return the provider's message in an event about a failure."""
    error = event.get("error")
    message = error.get("message") if isinstance(error, dict) else event.get("message")
    return message if isinstance(message, str) and message else "the provider gave no reason"


_MILLION: Final = 1_000_000
_HOUR_CACHE_FACTOR: Final = 2
_MAX_COUNT: Final = 10**12


class Usage(NamedTuple):
    """The token counts of one answer.

    `input` does not include tokens that were read from a cache or written to it; these have other prices.

    `cache_write_1h` is the part of `cache_write` that stays in the cache for an hour.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0

    @property
    def total_input(self) -> int:
        """The size of the whole prompt, including cached tokens. Some prices depend on this size."""
        return self.input + self.cache_read + self.cache_write

    def updated(self, newer: Usage) -> Usage:
        """Return these counts, replaced by those of `newer` that are not 0. Each event of a stream has totals."""
        return Usage(
            newer.input or self.input,
            newer.output or self.output,
            newer.cache_read or self.cache_read,
            newer.cache_write or self.cache_write,
            newer.cache_write_1h or self.cache_write_1h,
        )


def list_price(usage: Usage, cost: ModelCost | None) -> float | None:
    """Return US dollars for `usage` at the prices of `cost`; None if the prices or the counts are unknown.

    The highest tier below the size of the prompt applies to the whole request. Reads and writes of the cache are part of the
    prompt (BerriAI/litellm#30207, junhoyeo/tokscale#862). A token that Anthropic's cache keeps for an hour costs twice the
    input price (https://platform.claude.com/docs/en/build-with-claude/prompt-caching), or nothing if cache writes are free.
    """
    if cost is None or not usage.output:
        return None
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
    """Return the count in member `name`; 0 if absent or invalid."""
    value = fields.get(name)
    return value if type(value) is int and 0 <= value < _MAX_COUNT else 0  # `type`, because a `bool` is an `int` too


def member(fields: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object in member `name`; empty if absent or not an object."""
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


# Replaces the only event that is not JSON, so that protocols read only objects.
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
    """Return an API base with its version, as OpenAI's SDKs expect. If the base has no path, add the version."""
    base = base_url.rstrip("/")
    return base if urlsplit(base).path else f"{base}/v1"


def data_url(image: Image) -> str:
    """Return the image as a `data:` URL."""
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
