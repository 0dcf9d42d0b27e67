"""Anthropic's Messages (https://docs.anthropic.com/en/api/messages-streaming): only `message_stop` makes an answer whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.models.protocols.question import Piece, Usage, count, failure_text, member
from portico.models.thinking import messages_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind
    from portico.models.protocols.question import Image, Question

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
            content = [*map(_image, question.images), {"type": "text", "text": question.text}]
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


def _image(image: Image) -> dict[str, object]:
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}
