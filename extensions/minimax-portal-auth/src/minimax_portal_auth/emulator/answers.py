"""The one deterministic answer of the emulated models, in the shapes of the three API families."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterator

Event = tuple[str | None, dict[str, object] | str]

_FIXED_ID: Final = "emulated"
_MOST_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says to a request. Token counts are words, so that a test can work them out by hand."""

    model: str
    words: tuple[str, ...]
    input_tokens: int
    cut: bool

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def output_tokens(self) -> int:
        return len(self.words)


def answer_to(body: dict[str, object]) -> Answer:
    """The answer to a request of any of the three shapes."""
    model, asked = str(body.get("model", "")), _asked(body)
    said = f"This is Portico's emulator, answering as {model}. You said: {asked}".split(" ")[:_MOST_WORDS]
    words = tuple(word if index == 0 else f" {word}" for index, word in enumerate(said))
    limit = next((value for name in ("max_tokens", "max_output_tokens") if isinstance(value := body.get(name), int)), None)
    cut = limit is not None and limit < len(words)
    return Answer(model, words[:limit] if cut else words, len(asked.split()), cut)


def _asked(body: dict[str, object]) -> str:
    """The text of the last message (or of `input`)."""
    turns = body.get("messages", body.get("input", ""))
    last = turns[-1] if isinstance(turns, list) and turns else turns
    content = last.get("content", "") if isinstance(last, dict) else last
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


# --- Anthropic ---------------------------------------------------------------------------------------------------------------


def anthropic_message(answer: Answer) -> dict[str, object]:
    """The whole message of Anthropic's Messages API."""
    return {
        "id": f"msg_{_FIXED_ID}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [{"type": "text", "text": answer.text}],
        "stop_reason": "max_tokens" if answer.cut else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
    }


def anthropic_events(answer: Answer) -> Iterator[Event]:
    """The events of a stream, in Anthropic's order (docs.anthropic.com, streaming messages)."""
    usage = {"input_tokens": answer.input_tokens, "output_tokens": 1}
    start = anthropic_message(answer) | {"content": [], "stop_reason": None, "usage": usage}
    text: dict[str, object] = {"type": "text", "text": ""}
    yield "message_start", {"type": "message_start", "message": start}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": text}
    yield "ping", {"type": "ping"}
    for word in answer.words:
        delta = {"type": "text_delta", "text": word}
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": "max_tokens" if answer.cut else "end_turn", "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": {"output_tokens": answer.output_tokens}}
    yield "message_stop", {"type": "message_stop"}


# --- OpenAI ------------------------------------------------------------------------------------------------------------------


def chat_completion(answer: Answer) -> dict[str, object]:
    """The whole completion of OpenAI's Chat Completions API."""
    message = {"role": "assistant", "content": answer.text}
    choice = {"index": 0, "message": message, "finish_reason": "length" if answer.cut else "stop"}
    head = {"id": f"chatcmpl-{_FIXED_ID}", "object": "chat.completion", "created": 0, "model": answer.model}
    return {**head, "choices": [choice], "usage": _chat_usage(answer)}


def chat_events(answer: Answer) -> Iterator[Event]:
    """The chunks of a streamed completion, the last one with the usage, then `[DONE]`."""
    head = {"id": f"chatcmpl-{_FIXED_ID}", "object": "chat.completion.chunk", "created": 0, "model": answer.model}
    for index, word in enumerate(answer.words):
        delta = {"content": word} if index else {"role": "assistant", "content": word}
        yield None, {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    last = {"index": 0, "delta": {}, "finish_reason": "length" if answer.cut else "stop"}
    yield None, {**head, "choices": [last], "usage": _chat_usage(answer)}
    yield None, "[DONE]"


def _chat_usage(answer: Answer) -> dict[str, int]:
    total = answer.input_tokens + answer.output_tokens
    return {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens, "total_tokens": total}


def response_object(answer: Answer, *, done: bool = True) -> dict[str, object]:
    """The response object of OpenAI's Responses API."""
    head = {"id": f"resp_{_FIXED_ID}", "object": "response", "created_at": 0, "model": answer.model}
    if not done:
        return {**head, "status": "in_progress", "output": []}
    usage = {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
    return {**head, "status": "incomplete" if answer.cut else "completed", "output": [_message(answer.text)], "usage": usage}


def response_events(answer: Answer) -> Iterator[Event]:
    """The events of a streamed response, in the order that OpenAI documents."""
    where: dict[str, object] = {"item_id": f"msg_{_FIXED_ID}", "output_index": 0, "content_index": 0}
    item, part = {"output_index": 0}, {"type": "output_text", "text": "", "annotations": []}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": response_object(answer, done=False)},
        {"type": "response.output_item.added", **item, "item": _message(None)},
        {"type": "response.content_part.added", **where, "part": part},
        *({"type": "response.output_text.delta", **where, "delta": word} for word in answer.words),
        {"type": "response.output_text.done", **where, "text": answer.text},
        {"type": "response.content_part.done", **where, "part": {**part, "text": answer.text}},
        {"type": "response.output_item.done", **item, "item": _message(answer.text)},
        {"type": "response.completed", "response": response_object(answer)},
    ]
    for number, event in enumerate(events):
        yield str(event["type"]), {**event, "sequence_number": number}


def _message(text: str | None) -> dict[str, object]:
    content = [] if text is None else [{"type": "output_text", "text": text, "annotations": []}]
    status = "in_progress" if text is None else "completed"
    return {"id": f"msg_{_FIXED_ID}", "type": "message", "role": "assistant", "status": status, "content": content}


def model_list(ids: list[str]) -> web.Response:
    """The list that `GET /v1/models` answers with."""
    return web.json_response({"object": "list", "data": [{"id": each, "object": "model", "owned_by": "minimax"} for each in ids]})


async def stream(request: web.Request, events: Iterator[Event]) -> web.StreamResponse:
    """Server-sent events, one write each, so that a client sees them come one by one."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        await response.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())
    await response.write_eof()
    return response
