"""The URLs of each protocol, and the fields of its requests."""

from __future__ import annotations

import pytest

from portico.models.protocols import PROTOCOLS, Image, Piece, Question, Usage

ASKED = Question("What is this?", 100, (Image("image/png", "AAAA"),), "low")


@pytest.mark.parametrize(
    ("kind", "base", "url"),
    [
        ("anthropic-messages", "https://api.minimax.io/anthropic", "https://api.minimax.io/anthropic/v1/messages"),
        ("anthropic-messages", "https://api.anthropic.com/", "https://api.anthropic.com/v1/messages"),
        ("anthropic-messages", "https://gateway.example/v1", "https://gateway.example/v1/messages"),
        ("openai-completions", "https://api.minimax.io/v1", "https://api.minimax.io/v1/chat/completions"),
        ("openai-completions", "https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("openai-completions", "https://openrouter.example/api/v1/", "https://openrouter.example/api/v1/chat/completions"),
        ("openai-responses", "http://127.0.0.1:1234/v1", "http://127.0.0.1:1234/v1/responses"),
    ],
)
def test_the_version_is_in_the_url_once(kind, base, url):
    assert PROTOCOLS[kind].url(base) == url


def test_a_picture_and_an_effort_are_put_as_each_protocol_has_them():
    messages = PROTOCOLS["anthropic-messages"].body("m", ASKED)
    assert messages["messages"][0]["content"][0]["source"] == {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    assert messages["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert messages["max_tokens"] > 1024

    completions = PROTOCOLS["openai-completions"].body("m", ASKED)
    assert completions["messages"][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert completions["reasoning_effort"] == "low"

    responses = PROTOCOLS["openai-responses"].body("m", ASKED)
    assert responses["input"][0]["content"][1] == {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    assert responses["reasoning"] == {"effort": "low"}


@pytest.mark.parametrize("kind", PROTOCOLS)
@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": 5},
        {"delta": 3},
        {"delta": {"text": 3, "content": []}},
        {"choices": [5]},
        {"choices": {}, "usage": 7},
        {"usage": {"input_tokens": "x", "prompt_tokens": -1, "output_tokens": True, "completion_tokens": 10**15}},
    ],
)
def test_an_event_of_another_shape_says_nothing(kind, event):
    piece = PROTOCOLS[kind].read(event)
    assert (piece.text, piece.end, piece.error) == ("", False, None)
    assert piece.usage in {None, Usage()}


@pytest.mark.parametrize(
    ("kind", "answer", "usage"),
    [
        (
            "anthropic-messages",
            {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4},
            Usage(1, 2, 3, 4),
        ),
        ("openai-completions", {"prompt_tokens": 5, "completion_tokens": 2}, Usage(5, 2)),
        (
            "openai-responses",
            {"input_tokens": 5, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}},
            Usage(1, 2, 4),
        ),
    ],
)
def test_what_a_whole_answer_has_used(kind, answer, usage):
    assert PROTOCOLS[kind].usage({"usage": answer}) == usage
    assert PROTOCOLS[kind].usage({}) is None


def test_a_failure_without_a_message_gives_no_reason():
    assert PROTOCOLS["anthropic-messages"].read({"type": "error"}) == Piece(error="the provider gave no reason")
