"""The emulated models call a client's tool on request, and repeat its result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minimax_portal_auth.emulator import answers
from minimax_portal_auth.emulator.conversation import read_conversation

PROMPT = 'Please. Call the tool look with {"file": "a b.txt", "deep": {"n": 1}} and say what it holds.'
ARGUMENTS = {"file": "a b.txt", "deep": {"n": 1}}
USER = {"role": "user", "content": PROMPT}
CHAT_TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
TOOL = {"name": "look", "input_schema": {}}


def of_stream(events: Any) -> list[dict[str, Any]]:
    return [data for _, data in events if isinstance(data, dict)]


def test_messages_carry_the_call_whole_and_in_pieces():
    answer = answers.answer_to({"messages": [USER], "tools": [TOOL]})
    message = answers.anthropic_message(answer)
    (block,) = message["content"]
    assert (message["stop_reason"], block["type"], block["name"], block["input"]) == ("tool_use", "tool_use", "look", ARGUMENTS)

    events = of_stream(answers.anthropic_events(answer))
    started = next(event for event in events if event["type"] == "content_block_start")["content_block"]
    parts = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert started == {**block, "input": {}}
    assert len(parts) > 1
    assert json.loads("".join(parts)) == ARGUMENTS
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_chat_completions_carry_the_call_whole_and_in_pieces():
    answer = answers.answer_to({"messages": [USER], "tools": [CHAT_TOOL]})
    (choice,) = answers.chat_completion(answer)["choices"]
    (call,) = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("look", ARGUMENTS)

    choices = [event["choices"][0] for event in of_stream(answers.chat_events(answer))]
    pieces = [each["delta"]["tool_calls"][0] for each in choices if each["delta"]]
    assert (pieces[0]["id"], pieces[0]["function"]["name"]) == (call["id"], "look")
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces)) == ARGUMENTS
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_responses_carry_the_call_whole_and_in_pieces():
    answer = answers.answer_to({"input": [USER], "tools": [{"type": "function", "name": "look"}]})
    (item,) = answers.response_object(answer)["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == ("function_call", "look", ARGUMENTS)

    events = of_stream(answers.response_events(answer))
    parts = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    assert json.loads("".join(parts)) == ARGUMENTS
    assert [event["type"] for event in events[-3:]] == [
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-2]["item"] == item
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    "turns",
    [
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "look", "input": ARGUMENTS}]},
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "forty two"}]},
                    {"type": "text", "text": PROMPT},
                ],
            },
        ],
        [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
            {"role": "tool", "tool_call_id": "1", "content": "forty two"},
        ],
        [
            {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "forty two"},
            {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]},
        ],
    ],
    ids=["messages", "chat", "responses"],
)
def test_the_answer_repeats_the_tools_result_and_makes_no_second_call(turns):
    name = "input" if "type" in turns[0] else "messages"
    answer = answers.answer_to({name: [USER, *turns], "model": "M", "tools": [TOOL]})
    assert answer.text == "This is Portico's emulator, answering as M. The tool returned: forty two"


@pytest.mark.parametrize(
    ("prompt", "tools"),
    [
        (PROMPT, []),
        (PROMPT, [{"name": "another"}]),
        ("Call the tool look with {not json}", [TOOL]),
        ("Call the tool look with care", [TOOL]),
    ],
    ids=["no tools", "another tool", "not JSON", "no object"],
)
def test_a_request_without_an_offered_tool_is_answered_with_text(prompt, tools):
    answer = answers.answer_to({"messages": [{"role": "user", "content": prompt}], "tools": tools})
    assert answer.call is None
    assert answer.text.endswith(f"You said: {prompt}")


def test_a_tool_asked_for_in_an_earlier_turn_is_not_called_again():
    turns = [USER, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Thanks."}]
    assert read_conversation({"messages": turns, "tools": [TOOL]}).call is None


def test_two_calls_of_one_conversation_have_different_ids():
    first = read_conversation({"messages": [USER], "tools": [TOOL]}).call
    second = read_conversation({"messages": [USER, {"role": "assistant", "content": "Done."}, USER], "tools": [TOOL]}).call
    assert first is not None
    assert second is not None
    assert first.id != second.id
