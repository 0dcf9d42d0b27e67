"""The emulated models' deterministic answers, in the formats of the three APIs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from minimax_portal_auth.emulator.conversation import read_conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minimax_portal_auth.emulator.conversation import ToolCall

Event = tuple[str | None, dict[str, object] | str]

_FIXED_ID: Final = "emulated"
_ITEM_ID: Final = f"msg_{_FIXED_ID}"
_MAX_WORDS: Final = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer: `words`, or a `call` of one of the client's tools.

    A word counts as one token, so that a test can predict the counts; a call counts as one token.
    """

    model: str
    words: tuple[str, ...]
    input_tokens: int
    cut: bool
    call: ToolCall | None = None

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def output_tokens(self) -> int:
        return len(self.words) if self.call is None else 1

    def ends_with(self, *, cut: str, call: str, whole: str) -> str:
        """Choose the protocol's stop reason for this answer."""
        return call if self.call is not None else cut if self.cut else whole


def answer_to(body: dict[str, object]) -> Answer:
    """The answer to a request of any of the three APIs."""
    model, last_turn = str(body.get("model", "")), read_conversation(body)
    input_tokens = len(last_turn.text.split())
    if last_turn.call is not None:
        return Answer(model, (), input_tokens, cut=False, call=last_turn.call)
    reply = f"The tool returned: {' '.join(last_turn.results)}" if last_turn.results else f"You said: {last_turn.text}"
    text_words = f"This is Portico's emulator, answering as {model}. {reply}".split(" ")[:_MAX_WORDS]
    words = tuple(word if index == 0 else f" {word}" for index, word in enumerate(text_words))
    limit = next((value for name in ("max_tokens", "max_output_tokens") if isinstance(value := body.get(name), int)), None)
    cut = limit is not None and limit < len(words)
    return Answer(model, words[:limit] if cut else words, input_tokens, cut)


# --- Anthropic ---------------------------------------------------------------------------------------------------------------


def anthropic_message(answer: Answer) -> dict[str, object]:
    """A message of Anthropic's Messages API."""
    return {
        "id": f"msg_{_FIXED_ID}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [_block(answer)],
        "stop_reason": _stop_reason(answer),
        "stop_sequence": None,
        "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
    }


def anthropic_events(answer: Answer) -> Iterator[Event]:
    """The events of a stream, in Anthropic's order (docs.anthropic.com, streaming messages)."""
    usage = {"input_tokens": answer.input_tokens, "output_tokens": 1}
    start = anthropic_message(answer) | {"content": [], "stop_reason": None, "usage": usage}
    empty: dict[str, object] = {"text": ""} if answer.call is None else {"input": {}}
    deltas: list[dict[str, object]] = [{"type": "text_delta", "text": word} for word in answer.words]
    if answer.call is not None:
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in _split_in_two(answer.call.arguments)]
    yield "message_start", {"type": "message_start", "message": start}
    yield "content_block_start", {"type": "content_block_start", "index": 0, "content_block": _block(answer) | empty}
    yield "ping", {"type": "ping"}
    for delta in deltas:
        yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    yield "message_delta", {"type": "message_delta", "delta": end, "usage": {"output_tokens": answer.output_tokens}}
    yield "message_stop", {"type": "message_stop"}


def _block(answer: Answer) -> dict[str, object]:
    if answer.call is None:
        return {"type": "text", "text": answer.text}
    return {"type": "tool_use", "id": answer.call.id, "name": answer.call.name, "input": answer.call.input}


def _stop_reason(answer: Answer) -> str:
    return answer.ends_with(cut="max_tokens", call="tool_use", whole="end_turn")


def _split_in_two(text: str) -> tuple[str, str]:
    """Split a call's arguments for streaming; neither part is valid JSON."""
    return text[: len(text) // 2], text[len(text) // 2 :]


# --- OpenAI ------------------------------------------------------------------------------------------------------------------


def chat_completion(answer: Answer) -> dict[str, object]:
    """A completion of OpenAI's Chat Completions API."""
    message: dict[str, object] = {"role": "assistant", "content": answer.text}
    if answer.call is not None:
        message = {"role": "assistant", "content": None, "tool_calls": [_chat_call(answer.call)]}
    choice = {"index": 0, "message": message, "finish_reason": _finish_reason(answer)}
    head = {"id": f"chatcmpl-{_FIXED_ID}", "object": "chat.completion", "created": 0, "model": answer.model}
    return {**head, "choices": [choice], "usage": _chat_usage(answer)}


def chat_events(answer: Answer) -> Iterator[Event]:
    """The chunks of a streamed completion. The last chunk has the usage; the end marker follows."""
    head = {"id": f"chatcmpl-{_FIXED_ID}", "object": "chat.completion.chunk", "created": 0, "model": answer.model}
    deltas: list[dict[str, object]] = [{"content": word} for word in answer.words]
    if answer.call is not None:
        call_start = {"index": 0, **_chat_call(answer.call), "function": {"name": answer.call.name, "arguments": ""}}
        deltas = [{"content": None, "tool_calls": [call_start]}]
        for part in _split_in_two(answer.call.arguments):
            deltas.append({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
    for index, delta in enumerate(deltas):
        chunk_delta = delta if index else {"role": "assistant", **delta}
        yield None, {**head, "choices": [{"index": 0, "delta": chunk_delta, "finish_reason": None}]}
    last = {"index": 0, "delta": {}, "finish_reason": _finish_reason(answer)}
    yield None, {**head, "choices": [last], "usage": _chat_usage(answer)}
    yield None, "[DONE]"


def _chat_call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _finish_reason(answer: Answer) -> str:
    return answer.ends_with(cut="length", call="tool_calls", whole="stop")


def _chat_usage(answer: Answer) -> dict[str, int]:
    total = answer.input_tokens + answer.output_tokens
    return {"prompt_tokens": answer.input_tokens, "completion_tokens": answer.output_tokens, "total_tokens": total}


def response_object(answer: Answer, *, finished: bool = True) -> dict[str, object]:
    """The response object of OpenAI's Responses API."""
    head = {"id": f"resp_{_FIXED_ID}", "object": "response", "created_at": 0, "model": answer.model}
    if not finished:
        return {**head, "status": "in_progress", "output": []}
    usage = {
        "input_tokens": answer.input_tokens,
        "output_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }
    return {**head, "status": "incomplete" if answer.cut else "completed", "output": [_output(answer)], "usage": usage}


def response_events(answer: Answer) -> Iterator[Event]:
    """The events of a streamed response, in the order that OpenAI documents."""
    item = {"output_index": 0}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": response_object(answer, finished=False)},
        {"type": "response.output_item.added", **item, "item": _output(answer, finished=False)},
        *(_text_events(answer.words, answer.text) if answer.call is None else _call_events(answer.call)),
        {"type": "response.output_item.done", **item, "item": _output(answer)},
        {"type": "response.completed", "response": response_object(answer)},
    ]
    for number, event in enumerate(events):
        yield str(event["type"]), {**event, "sequence_number": number}


def _text_events(words: tuple[str, ...], text: str) -> Iterator[dict[str, object]]:
    item_position: dict[str, object] = {"item_id": _ITEM_ID, "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "", "annotations": []}
    yield {"type": "response.content_part.added", **item_position, "part": part}
    yield from ({"type": "response.output_text.delta", **item_position, "delta": word} for word in words)
    yield {"type": "response.output_text.done", **item_position, "text": text}
    yield {"type": "response.content_part.done", **item_position, "part": {**part, "text": text}}


def _call_events(call: ToolCall) -> Iterator[dict[str, object]]:
    item_position: dict[str, object] = {"item_id": _ITEM_ID, "output_index": 0}
    yield from (
        {"type": "response.function_call_arguments.delta", **item_position, "delta": part}
        for part in _split_in_two(call.arguments)
    )
    yield {"type": "response.function_call_arguments.done", **item_position, "name": call.name, "arguments": call.arguments}


def _output(answer: Answer, *, finished: bool = True) -> dict[str, object]:
    """The output item of a response; empty if not `finished`."""
    item: dict[str, object] = {"id": _ITEM_ID, "status": "completed" if finished else "in_progress"}
    if answer.call is not None:
        arguments = answer.call.arguments if finished else ""
        return {**item, "type": "function_call", "call_id": answer.call.id, "name": answer.call.name, "arguments": arguments}
    content = [{"type": "output_text", "text": answer.text, "annotations": []}] if finished else []
    return {**item, "type": "message", "role": "assistant", "content": content}


def model_list(ids: list[str]) -> web.Response:
    """The reply of `GET /v1/models`."""
    return web.json_response({"object": "list", "data": [{"id": each, "object": "model", "owned_by": "minimax"} for each in ids]})


async def respond(
    request: web.Request,
    body: dict[str, object],
    build_body: Callable[[Answer], dict[str, object]],
    build_events: Callable[[Answer], Iterator[Event]],
) -> web.StreamResponse:
    """Send the answer to a request, as a stream if `body` asks for one."""
    answer = answer_to(body)
    if body.get("stream") is True:
        return await _stream(request, build_events(answer))
    return web.json_response(build_body(answer))


async def _stream(request: web.Request, events: Iterator[Event]) -> web.StreamResponse:
    """Send server-sent events with one write for each, so that the client receives them one by one."""
    headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for name, data in events:
        text = data if isinstance(data, str) else json.dumps(data)
        await response.write((f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode())
    await response.write_eof()
    return response
