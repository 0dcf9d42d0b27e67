"""Thinking and effort, in the request fields of each family of models."""

from __future__ import annotations

import json

import pytest

from portico.errors import UsageError
from portico.interfaces.plugins import ModelSpec
from portico.models.client import fitted
from portico.models.loader import CallableModel
from portico.models.protocols import PROTOCOLS, Question
from portico.models.reference import ModelReference
from portico.secret import Secret
from tests.models.threaded_api import command, events, served

MESSAGES, COMPLETIONS, RESPONSES = "anthropic-messages", "openai-completions", "openai-responses"
ASKS_TO_THINK = ("thinking", "output_config", "reasoning_effort", "reasoning")


def asked(model_id, api=MESSAGES, max_tokens=8192, **asked):
    """Return the fields of a request about thinking."""
    body = PROTOCOLS[api].body(model_id, Question("Why?", max_tokens, **asked))
    return {name: body[name] for name in ASKS_TO_THINK if name in body}


def a_model(model_id, api=MESSAGES, *, reasoning=True, base_url="https://api.example/v1"):
    spec = ModelSpec(model_id, model_id, reasoning=reasoning)
    return CallableModel(ModelReference("p", model_id), spec, api, base_url, "config", key=Secret("sk-thinking"))


def refused(model_id, api=MESSAGES, **asked):
    with pytest.raises(UsageError) as raised:
        fitted(Question("Why?", 0, **asked), a_model(model_id, api), None)
    return raised.value


@pytest.mark.requirement("E165")
@pytest.mark.parametrize("effort", ["low", "medium", "high", "xhigh", "max"])
def test_m3_1_flash_is_asked_for_adaptive_thinking_at_the_level(effort):
    for model_id in ("MiniMax-M3.1-Flash", "minimax/minimax-m3.1-flash"):
        assert asked(model_id, effort=effort) == {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}


@pytest.mark.requirement("E165")
def test_m3_is_switched_on_and_off_and_has_no_levels():
    assert asked("MiniMax-M3", thinking="on") == {"thinking": {"type": "adaptive"}}
    assert asked("MiniMax-M3", effort="high") == {"thinking": {"type": "adaptive"}}
    assert asked("MiniMax-M3", thinking="off") == {"thinking": {"type": "disabled"}}
    assert asked("MiniMax-M3") == {}


@pytest.mark.requirement("E165")
def test_m3_is_never_sent_a_level_over_the_other_protocols_either():
    assert asked("MiniMax-M3", COMPLETIONS, effort="high") == {"thinking": {"type": "adaptive"}}
    assert asked("MiniMax-M3", COMPLETIONS, thinking="off") == {"thinking": {"type": "disabled"}}
    assert asked("MiniMax-M3", RESPONSES, effort="high") == {"reasoning": {"effort": "medium"}}
    assert asked("MiniMax-M3", RESPONSES, thinking="off") == {"reasoning": {"effort": "none"}}


@pytest.mark.requirement("E165")
def test_m3_1_flash_over_chat_completions_and_responses_is_asked_by_level():
    thinking = {"thinking": {"type": "adaptive"}}
    assert asked("MiniMax-M3.1-Flash", COMPLETIONS, effort="low") == {**thinking, "reasoning_effort": "low"}
    assert asked("MiniMax-M3.1-Flash", RESPONSES, effort="max") == {"reasoning": {"effort": "max"}}


@pytest.mark.requirement("E165")
@pytest.mark.parametrize(
    "model_id", ["MiniMax-M2", "MiniMax-M2.1", "MiniMax-M2.1-lightning", "MiniMax-M2.5", "MiniMax-M2.7-highspeed"]
)
def test_the_m2_family_gets_a_budget(model_id):
    assert asked(model_id, effort="low") == {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert asked(model_id, thinking="on") == {"thinking": {"type": "enabled", "budget_tokens": 4096}}
    assert asked(model_id) == {}


@pytest.mark.requirement("E165")
def test_a_model_that_always_thinks_says_so_with_its_lowest_level_before_anything_is_sent():
    error = refused("MiniMax-M3.1-Flash", thinking="off")

    assert (error.id, error.exit_code) == ("model-lacks-feature", 2)
    assert error.message == "MiniMax-M3.1-Flash always thinks; the lowest level is --effort low."
    assert "--effort low" in error.hint
    assert refused("MiniMax-M2.1", thinking="off").message == "MiniMax-M2.1 always thinks; the lowest level is --effort low."


@pytest.mark.requirement("E165")
@pytest.mark.requirement("E166")
@pytest.mark.parametrize(
    ("model_id", "effort", "offers"),
    [
        ("MiniMax-M2.1", "max", "low, medium and high"),
        ("claude-opus-4-5", "xhigh", "low, medium and high"),
        ("claude-opus-4-6", "xhigh", "low, medium, high and max"),
        ("o4-mini", "max", "low, medium and high"),
        ("gpt-5-pro", "low", "high"),
    ],
)
def test_a_level_that_the_family_does_not_have_is_refused_with_those_it_has(model_id, effort, offers):
    api = COMPLETIONS if model_id.startswith(("o4", "gpt")) else MESSAGES

    error = refused(model_id, api, effort=effort)

    assert error.id == "model-lacks-feature"
    assert error.message == f"{model_id} does not support --effort {effort}."
    assert error.why == f"its levels are {offers}"


@pytest.mark.requirement("E165")
def test_a_level_without_effect_gets_a_warning_and_another_does_not():
    from portico.models.thinking import thinking_warning

    question = Question("Why?", 0, effort="high")

    assert (
        thinking_warning(question, a_model("MiniMax-M3"))
        == "MiniMax-M3 has no levels of thinking: --effort high only switches thinking on."
    )
    warning = thinking_warning(question, a_model("MiniMax-M2.1", COMPLETIONS))
    assert warning == "MiniMax-M2.1 has no levels of thinking over openai-completions: the model decides how much it thinks."
    for model in (a_model("MiniMax-M3.1-Flash"), a_model("MiniMax-M2.1"), a_model("claude-opus-4-8"), a_model("mine")):
        assert thinking_warning(question, model) is None


@pytest.mark.requirement("E166")
@pytest.mark.parametrize(
    "model_id",
    [
        "claude-opus-4-7",
        "claude-opus-4-8",
        "anthropic/claude-opus-4.7",
        "claude-opus-5",
        "claude-sonnet-5-5",
        "claude-opus-5-5",
        "claude-haiku-5-5",
        "claude-fable-5",
        "claude-mythos-5",
    ],
)
def test_claude_4_7_and_later_think_adaptively_and_are_never_sent_a_budget(model_id):
    assert asked(model_id, effort="xhigh") == {"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}
    assert asked(model_id, thinking="on") == {"thinking": {"type": "adaptive"}}
    assert asked(model_id) == {}


@pytest.mark.requirement("E166")
@pytest.mark.parametrize(
    "model_id",
    ["claude-opus-4-5", "claude-opus-4-5-20251101", "claude-sonnet-4-20250514", "claude-haiku-4-5", "claude-3-7-sonnet-latest"],
)
def test_earlier_claude_models_get_a_budget_below_the_limit(model_id):
    assert asked(model_id, effort="high") == {"thinking": {"type": "enabled", "budget_tokens": 16384}}
    assert PROTOCOLS[MESSAGES].body(model_id, Question("Why?", 100, effort="high"))["max_tokens"] > 16384


@pytest.mark.requirement("E166")
def test_claude_4_6_which_takes_both_is_asked_in_the_form_that_stays():
    assert asked("claude-opus-4-6", effort="max") == {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}


@pytest.mark.requirement("E166")
@pytest.mark.parametrize(
    ("model_id", "off"),
    [
        ("claude-opus-4-5", {}),
        ("claude-opus-4-7", {}),
        ("claude-opus-5", {"thinking": {"type": "disabled"}}),
        ("claude-haiku-5-5", {"thinking": {"type": "disabled"}}),
        ("claude-sonnet-5-5", {"thinking": {"type": "between_tools"}}),
    ],
)
def test_thinking_is_switched_off_as_each_claude_family_has_it(model_id, off):
    assert fitted(Question("Why?", 0, thinking="off"), a_model(model_id), None)
    assert asked(model_id, thinking="off") == off


@pytest.mark.requirement("E166")
@pytest.mark.parametrize("model_id", ["claude-opus-5-5", "claude-fable-5", "claude-mythos-5"])
def test_claude_models_that_always_think_say_so(model_id):
    assert refused(model_id, thinking="off").message == f"{model_id} always thinks; the lowest level is --effort low."


@pytest.mark.requirement("E167")
@pytest.mark.parametrize(
    "model_id", ["gpt-5", "gpt-5-mini", "gpt-5.2", "gpt-6-luna", "o1", "o3-mini", "o4-mini", "openai/gpt-5.1"]
)
def test_a_reasoning_model_of_openai_gets_max_completion_tokens_and_no_temperature(model_id):
    body = PROTOCOLS[COMPLETIONS].body(model_id, Question("Why?", 4000, effort="low"))

    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (4000, "low")
    assert {"max_tokens", "temperature", "top_p"}.isdisjoint(body)


@pytest.mark.requirement("E167")
@pytest.mark.parametrize("model_id", ["gpt-4o", "gpt-oss-20b", "minimax-m2.1-gs32", "llama-3", "foo1", "MiniMax-M3"])
def test_every_other_server_of_chat_completions_keeps_max_tokens(model_id):
    body = PROTOCOLS[COMPLETIONS].body(model_id, Question("Why?", 4000))

    assert body["max_tokens"] == 4000
    assert "max_completion_tokens" not in body


@pytest.mark.requirement("E167")
def test_thinking_is_switched_off_where_openai_offers_it():
    assert asked("gpt-5.1", COMPLETIONS, thinking="off") == {"reasoning_effort": "none"}
    assert asked("gpt-5.2", RESPONSES, thinking="off") == {"reasoning": {"effort": "none"}}
    assert refused("gpt-5", COMPLETIONS, thinking="off").message == "gpt-5 always thinks; the lowest level is --effort low."


@pytest.mark.requirement("E167")
@pytest.mark.parametrize("model_id", ["gpt-5.1", "gpt-5.2", "claude-opus-4-7", "mine"])
def test_thinking_is_switched_on_by_a_level_where_openais_protocols_know_nothing_else(model_id):
    assert asked(model_id, COMPLETIONS, thinking="on") == {"reasoning_effort": "medium"}
    assert asked(model_id, RESPONSES, thinking="on") == {"reasoning": {"effort": "medium"}}
    for always in ("gpt-5", "o3", "MiniMax-M2.1"):
        assert asked(always, COMPLETIONS, thinking="on") == asked(always, RESPONSES, thinking="on") == {}


def openai(asked):
    """Chat Completions of an OpenAI reasoning model, which records the questions in `asked`.

    What it does not take is a 400 with OpenAI's own body (griptape-ai/ComfyUI-Griptape#312).
    """

    def respond(body):
        asked.append(body)
        for name, instead in (("max_tokens", "Use 'max_completion_tokens' instead."), ("temperature", "")):
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model. {instead}".strip()
                error = {"message": message, "type": "invalid_request_error", "param": name, "code": "unsupported_parameter"}
                return 400, json.dumps({"error": error})
        return 200, events({"choices": [{"index": 0, "delta": {"content": "Because."}}]}, "[DONE]")

    return served(respond)


@pytest.mark.requirement("E167")
@pytest.mark.parametrize("options", [(), ("--effort", "low"), ("--thinking", "on")], ids=["plain", "effort", "thinking"])
def test_the_built_in_openai_provider_asks_a_gpt_5_that_the_config_only_names(paths, options):
    asked = []
    with openai(asked) as origin:
        provider = f"openai: {{ baseUrl: '{origin}/v1', apiKey: 'sk-x', models: [{{ id: 'gpt-5' }}] }}"
        paths.config.write_text(f"{{ models: {{ providers: {{ {provider} }} }} }}", encoding="utf-8")
        result = command(paths, "ask", "--model", "openai/gpt-5", *options, "Why?")

    assert (result.returncode, result.stdout, result.stderr) == (0, "Because.\n", "")
    assert [body.get("reasoning_effort") for body in asked] == ["low" if "--effort" in options else None]


@pytest.mark.requirement("E165")
@pytest.mark.requirement("E167")
@pytest.mark.parametrize(("model_id", "api"), [("MiniMax-M3.1-Flash", MESSAGES), ("gpt-5", COMPLETIONS)])
def test_a_model_whose_thinking_counts_as_answer_gets_room_for_both(model_id, api):
    assert fitted(Question("Why?", 0), a_model(model_id, api), None).max_tokens == 32_768
    assert fitted(Question("Why?", 0), a_model(model_id, api), 500).max_tokens == 500
    assert fitted(Question("Why?", 0), a_model("MiniMax-M3"), None).max_tokens == 8192
    assert fitted(Question("Why?", 0, thinking="on"), a_model("MiniMax-M3"), None).max_tokens == 32_768


@pytest.mark.requirement("E165")
def test_a_family_that_is_not_known_is_asked_as_before_and_cannot_be_switched_off():
    assert asked("mine", effort="low") == {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert asked("mine", COMPLETIONS, effort="low") == {"reasoning_effort": "low"}

    error = refused("mine", thinking="off")

    assert error.message == "Portico does not know how to switch off thinking for mine."
