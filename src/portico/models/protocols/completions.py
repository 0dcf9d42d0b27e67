"""OpenAI's Chat Completions (https://platform.openai.com/docs/api-reference/chat): `data: [DONE]` makes an answer whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from portico.models.protocols.question import Piece, Usage, count, failure_text, member
from portico.models.thinking import completions_fields, family_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind
    from portico.models.protocols.question import Image, Question

# The one event that is no JSON; read as this object, so that a protocol sees objects only.
DONE: Final[Mapping[str, object]] = {"object": "[DONE]"}


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
            content = [{"type": "text", "text": question.text}, *map(_image, question.images)]
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
        if event is DONE:
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


def _image(image: Image) -> dict[str, object]:
    return {"type": "image_url", "image_url": {"url": data_url(image)}}
