"""The thinking of each family of models: its levels, whether it can be switched off, and the request fields.

One table, matched by the model's id, serves the three protocols. A provider answers unsupported fields with HTTP 400 or ignores
them silently, so unsupported options are rejected before a request is sent.

Sources, read in November 2026:
    MiniMax: https://platform.minimax.io/docs/api-reference/text-anthropic-api (M3: adaptive or disabled), pi-ai 1.6.0
        `data/minimax.json` and
        https://dev.to/aihubmix/fixing-requires-adaptive-thinking-2013-when-moving-from-minimax-m27-to-m31-flash-1iif (M3.1-Flash:
        always, five levels), NousResearch/hermes-agent#42097 (M2.x: a budget),
        https://platform.minimax.io/docs/api-reference/responses-create (M2.x cannot be switched off, M3 has no levels),
        esengine/DeepSeek-Reasonix#3594 (Chat Completions of M3 refuses `reasoning_effort`).
    Anthropic: https://platform.claude.com/docs/en/build-with-claude/effort (levels),
        https://docs.aws.amazon.com/bedrock/latest/userguide/claude-messages-adaptive-thinking.html (4.7 refuses a budget, 4.6 has
        deprecated it, 4.5 and earlier take a budget only), https://platform.claude.com/docs/en/models/opus-5-5/whats-new-opus-5-5
        and https://platform.claude.com/docs/en/models/fable-5/migration-guide (which always think).
    OpenAI: https://platform.openai.com/docs/api-reference/chat/create (`reasoning_effort`, `max_completion_tokens`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Final, Literal

from portico.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.plugins import ApiKind
    from portico.models.loader import CallableModel
    from portico.models.protocols import Effort, Question

# Anthropic requires at least 1,024 and less than `max_tokens` (docs.anthropic.com, extended thinking).
BUDGETS: Final[Mapping[str, int]] = {"low": 1024, "medium": 4096, "high": 16384}

_SWITCHES_ON: Final[Effort] = "medium"
_LEAVE_OUT: Final = "Leave out --thinking off."

_SwitchOff = Literal["omitted", "disabled", "between_tools"]
_THREE: Final[tuple[Effort, ...]] = ("low", "medium", "high")
_FOUR: Final[tuple[Effort, ...]] = (*_THREE, "max")
_XHIGH: Final[tuple[Effort, ...]] = (*_THREE, "xhigh")
_FIVE: Final[tuple[Effort, ...]] = (*_XHIGH, "max")
_MESSAGES_ONLY: Final[frozenset[ApiKind]] = frozenset({"anthropic-messages"})
_EVERYWHERE: Final[frozenset[ApiKind]] = frozenset({"anthropic-messages", "openai-completions", "openai-responses"})


class ModelLacksFeature(UsageError):
    """The model lacks a feature that the question uses."""

    id = "model-lacks-feature"


@dataclass(frozen=True, slots=True)
class Family:
    """The thinking of a family of models.

    `efforts` are its levels, lowest first; `tuned_over` are the protocols that support levels. `off` is how thinking is
    switched off; None for a family that always thinks. `adaptive`: thinking is requested by Anthropic's `adaptive` thinking,
    otherwise by a budget. `switch`: Chat Completions accepts MiniMax's `thinking` object. `starts_on`: the model thinks unless
    thinking is switched off, and its thinking counts against the answer's limit. `completion_limit` is the member of Chat
    Completions that limits an answer.
    """

    efforts: tuple[Effort, ...] = _THREE
    off: _SwitchOff | None = "omitted"
    adaptive: bool = True
    tuned_over: frozenset[ApiKind] = _EVERYWHERE
    switch: bool = False
    starts_on: bool = False
    reasons: bool = True
    completion_limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


_openai: Final = partial(Family, off=None, starts_on=True, completion_limit="max_completion_tokens")

_GPT: Final = r"(?:^|[/:.])gpt-"
# The first pattern that matches applies. A version may contain a dot or a hyphen, and a date may follow.
_FAMILIES: Final = (
    (r"minimax-m3[.-]1", Family(_FIVE, None, switch=True, starts_on=True)),
    (r"minimax-m3(?!\d)", Family((), "disabled", switch=True)),
    (r"minimax-m2(?!\d)", Family(_THREE, None, adaptive=False, tuned_over=_MESSAGES_ONLY)),
    (r"claude-mythos-preview", Family(_FOUR, None, starts_on=True)),
    (r"claude-(?:fable|mythos)-\d|claude-opus-(?:5[.-][5-9]|[6-9])(?!\d)", Family(_FIVE, None, starts_on=True)),
    (r"claude-sonnet-(?:5[.-][5-9]|[6-9])(?!\d)", Family(_FIVE, "between_tools", starts_on=True)),
    (r"claude-(?:opus|sonnet|haiku)-[5-9](?!\d)", Family(_FIVE, "disabled", starts_on=True)),
    (r"claude-(?:opus|sonnet|haiku)-4[.-][7-9](?!\d)", Family(_FIVE)),
    (r"claude-(?:opus|sonnet|haiku)-4[.-]6(?!\d)", Family(_FOUR)),
    (r"claude-", Family(adaptive=False)),
    (rf"{_GPT}[5-9](?:\.\d+)?-chat", _openai((), off="omitted", starts_on=False, reasons=False)),
    (rf"{_GPT}5-pro", _openai(("high",))),
    (rf"{_GPT}5\.1(?!\d)(?!-codex-max)", _openai(_THREE, off="disabled")),
    (rf"{_GPT}5(?!\.?\d)", _openai(_THREE)),
    (rf"{_GPT}5\.[1-5](?!\d)", _openai(_XHIGH, off="disabled")),
    (rf"{_GPT}[5-9](?!\d)", _openai(_FIVE, off="disabled")),
    (r"(?:^|[/:.])o[1-9](?:-|$)", _openai(_THREE)),
)


def family_of(model_id: str) -> Family | None:
    """Return the family of a model by its id; None for an unknown family."""
    return next((family for pattern, family in _families() if pattern.search(model_id)), None)


@cache
def _families() -> tuple[tuple[re.Pattern[str], Family], ...]:
    # Compiled only at the first call, because this takes milliseconds and most commands do not need it.
    return tuple((re.compile(pattern, re.IGNORECASE), family) for pattern, family in _FAMILIES)


def reasons(model_id: str) -> bool:
    """Whether a model is known to reason, by its id."""
    family = family_of(model_id)
    return family is not None and family.reasons


def check_thinking(question: Question, model: CallableModel) -> None:
    """Check that `model` supports the thinking that `question` requests.

    Raises:
        UsageError: `model-lacks-feature`: the model always thinks, or does not have the level.
    """
    name = model.reference.model
    family = family_of(name)
    if question.thinking == "off":
        if family is None and model.spec.reasoning:
            raise ModelLacksFeature(f"Portico does not know how to switch off thinking for {name}.", hint=_LEAVE_OUT)
        if family is not None and family.off is None:
            lowest = next(iter(_levels(family, model.api)), None)
            if lowest is None:
                raise ModelLacksFeature(f"{name} always thinks.", hint=_LEAVE_OUT)
            message = f"{name} always thinks; the lowest level is --effort {lowest}."
            raise ModelLacksFeature(message, hint=f"Use --effort {lowest} instead.")
    levels = _THREE if family is None else _levels(family, model.api)
    if question.effort is not None and levels and question.effort not in levels:
        why = f"its levels are {_join_levels(levels)}"
        nearest = levels[-1] if question.effort in {"xhigh", "max"} else levels[0]
        message = f"{name} does not support --effort {question.effort}."
        raise ModelLacksFeature(message, why=why, hint=f"Use --effort {nearest} instead.")


def thinking_warning(question: Question, model: CallableModel) -> str | None:
    """Return a warning if `--effort` has less effect on `model` than expected; else None."""
    name, family = model.reference.model, family_of(model.reference.model)
    if question.effort is None or family is None or _levels(family, model.api):
        return None
    if not family.efforts:
        return f"{name} has no levels of thinking: --effort {question.effort} only switches thinking on."
    return f"{name} has no levels of thinking over {model.api}: the model decides how much it thinks."


def thinks(question: Question, model_id: str) -> bool:
    """Whether the model's thinking counts against the limit of the answer. If so, the limit needs room for both."""
    family = family_of(model_id)
    if family is None or not family.adaptive or question.thinking == "off":
        return False
    return family.starts_on or question.thinking == "on" or question.effort is not None


def messages_fields(question: Question, model_id: str) -> dict[str, object]:
    """Return the fields for thinking of Anthropic's Messages."""
    family = family_of(model_id) or Family(adaptive=False)
    if question.thinking == "off":
        return {} if family.off in {None, "omitted"} else {"thinking": {"type": family.off}}
    if question.thinking is None and question.effort is None:
        return {}
    if not family.adaptive:
        return {"thinking": {"type": "enabled", "budget_tokens": BUDGETS[question.effort or "medium"]}}
    fields: dict[str, object] = {"thinking": {"type": "adaptive"}}
    if question.effort is not None and family.efforts:
        fields["output_config"] = {"effort": question.effort}
    return fields


def completions_fields(question: Question, model_id: str) -> dict[str, object]:
    """Return the fields for thinking of Chat Completions."""
    family = family_of(model_id) or Family()
    wants_thinking = question.thinking == "on" or question.effort is not None
    fields: dict[str, object] = {}
    if family.switch and (wants_thinking or question.thinking == "off"):
        fields["thinking"] = {"type": "adaptive" if wants_thinking else "disabled"}
    if question.thinking == "off":
        return fields if family.switch or family.off == "omitted" else {"reasoning_effort": "none"}
    level = _level(question, family, "openai-completions")
    return fields if level is None else {**fields, "reasoning_effort": level}


def responses_fields(question: Question, model_id: str) -> dict[str, object]:
    """Return the fields for thinking of OpenAI's Responses."""
    family = family_of(model_id) or Family()
    if question.thinking == "off":
        return {} if family.off == "omitted" else {"reasoning": {"effort": "none"}}
    level = _level(question, family, "openai-responses")
    if level is None and family.switch and family.off is not None and (question.thinking == "on" or question.effort is not None):
        # Any level switches MiniMax-M3's thinking on, but the levels do not differ
        # (platform.minimax.io/docs/api-reference/responses-create).
        level = _SWITCHES_ON
    return {} if level is None else {"reasoning": {"effort": level}}


def _level(question: Question, family: Family, api: ApiKind) -> Effort | None:
    """Return the level for one of OpenAI's protocols; None for the model's default.

    In these protocols only a level switches thinking on, and GPT-5.1 and later do not think without a level.
    """
    if not _levels(family, api):
        return None
    switched_on = question.thinking == "on" and family.off is not None
    return question.effort or (_SWITCHES_ON if switched_on else None)


def _levels(family: Family, api: ApiKind) -> tuple[Effort, ...]:
    return family.efforts if api in family.tuned_over else ()


def _join_levels(levels: tuple[Effort, ...]) -> str:
    *others, last = levels
    return f"{', '.join(others)} and {last}" if others else last
