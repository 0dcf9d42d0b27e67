"""Read the last turn of a conversation in any of the three APIs: the text, a requested tool call, the results of tools.

If the text is `Call the tool NAME with {JSON}` and the request offers this tool, the emulator calls the tool. So a client can
test its own tools.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Item = dict[str, object]

_CALL: Final = re.compile(r"Call the tool (\S+) with (?=\{)")
_RESULT_TYPES: Final = frozenset({"tool_result", "function_call_output", "custom_tool_call_output"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of one of the client's tools. `arguments` is a JSON object as text; `id` is unique in a conversation."""

    id: str
    name: str
    arguments: str

    @property
    def input(self) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.arguments)
        return parsed


@dataclass(frozen=True, slots=True)
class LastTurn:
    """The end of a conversation: the last message, the tools' results since the model's last message, and the requested call."""

    text: str
    results: tuple[str, ...] = ()
    call: ToolCall | None = None


def read_conversation(body: dict[str, object]) -> LastTurn:
    """Read the last turn of a request."""
    conversation = body.get("messages", body.get("input", ""))
    items = (
        [item for item in conversation if isinstance(item, dict)]
        if isinstance(conversation, list)
        else [{"content": conversation}]
    )
    turn = _last_turn(items)
    results = tuple(_text(result) for result in _results(turn))
    text = _text(items[-1]) if items else ""
    return LastTurn(text, results, None if results else _call(turn, _tools(body), f"call_{len(items)}"))


def _last_turn(items: Sequence[Item]) -> list[Item]:
    """The items after the model's last message or call."""
    model_items = [index for index, item in enumerate(items) if item.get("role") == "assistant" or _is_call(item)]
    return list(items[model_items[-1] + 1 :] if model_items else items)


def _is_call(item: Item) -> bool:
    return str(item.get("type", "")).endswith("_call")


def _results(turn: Sequence[Item]) -> Iterator[Item]:
    for item in turn:
        if item.get("role") == "tool" or item.get("type") in _RESULT_TYPES:
            yield item
        elif isinstance(parts := item.get("content"), list):
            yield from (part for part in parts if isinstance(part, dict) and part.get("type") in _RESULT_TYPES)


def _text(item: Item) -> str:
    """The text of a message or of a tool's result."""
    content = item.get("content", item.get("output", ""))
    if isinstance(content, list):
        parts = [part.get("text", "") for part in content if isinstance(part, dict)]
        content = " ".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _tools(body: dict[str, object]) -> frozenset[str]:
    """The names of the tools that the client offers."""
    offered = body.get("tools")
    tools = [tool for tool in offered if isinstance(tool, dict)] if isinstance(offered, list) else []
    definitions = [tool["function"] if isinstance(tool.get("function"), dict) else tool for tool in tools]
    return frozenset(str(tool.get("name")) for tool in definitions)


def _call(turn: Sequence[Item], tools: frozenset[str], id: str) -> ToolCall | None:
    """The last requested call in this turn whose tool is offered."""
    call = None
    for text in (_text(item) for item in turn if item.get("role", "user") == "user"):
        for match in _CALL.finditer(text):
            try:
                arguments, _ = json.JSONDecoder().raw_decode(text, match.end())
            except ValueError:
                continue
            if match[1] in tools:
                call = ToolCall(id, match[1], json.dumps(arguments))
    return call
