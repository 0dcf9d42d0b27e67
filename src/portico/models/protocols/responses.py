"""OpenAI's Responses (https://platform.openai.com/docs/api-reference/responses): `response.completed` makes an answer whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.models.protocols.completions import data_url, versioned
from portico.models.protocols.question import Piece, Usage, count, failure_text, member
from portico.models.thinking import responses_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind
    from portico.models.protocols.question import Question

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
