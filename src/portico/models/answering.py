"""The answer of the first candidate that gives one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import UsageError
from portico.models.asking import Refused, begin
from portico.models.refusal import Refusal
from portico.models.refusal_errors import no_answer
from portico.models.thinking import check_thinking, thinks

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.auth.broker import TokenBroker
    from portico.models.asking import Answer
    from portico.models.callable import CallableModel
    from portico.models.failover import Attempt, Round
    from portico.models.http import ModelHttp
    from portico.models.protocols.question import Question

DEFAULT_MAX_TOKENS: Final = 8192
# For a model whose thinking counts as part of its answer: MiniMax-M3.1-Flash has spent 6,400 tokens on it for a small bug fix
# (dev.to/aihubmix, October 2026), and OpenAI advises to keep 25,000 free (platform.openai.com/docs/guides/reasoning).
THINKING_MAX_TOKENS: Final = 32_768
_CHARACTERS_PER_TOKEN: Final = 4
_LEAST_ANSWER: Final = 16


async def first_answer(
    way: Round,
    asked: Callable[[CallableModel], Question],
    *,
    http: ModelHttp,
    broker: TokenBroker,
    on_failed: Callable[[Attempt], None],
) -> Answer:
    """Ask one candidate after the other until one begins to answer; `on_failed` hears of each that does not.

    Raises:
        PorticoError: none does; why the first model did not (`Round.reason`), and what came of the others.
    """
    while (model := way.next()) is not None:
        try:
            answer = await begin(model, _asked(asked, model, way), http=http, broker=broker)
        except Refused as refused:
            way.failed(model, refused.refusal, refused.error)
            if way.goes_on:
                on_failed(way.attempts[-1])
        else:
            way.answered(model)
            return answer
    raise no_answer(way)


def _asked(asked: Callable[[CallableModel], Question], model: CallableModel, way: Round) -> Question:
    """The question for `model`. What a fallback lacks for it (no images, no reasoning) is no answer to the question."""
    try:
        return asked(model)
    except UsageError as error:
        if way.is_wanted(model):
            raise
        raise Refused(Refusal("invalid-request", str(error)), error) from error


def fitted(question: Question, model: CallableModel, max_tokens: int | None) -> Question:
    """`question` within what `model` can do: the answer is bounded by its limit and by the room its context leaves.

    Raises:
        UsageError: `no-image-input`, `no-reasoning`, `thinking-not-offered`: the model lacks what was asked of it.
    """
    from dataclasses import replace

    spec = model.spec
    if question.images and "image" not in spec.input:
        takes = ", ".join(spec.input)
        raise UsageError("no-image-input", f"{model.reference} takes no images.", why=f"its input is {takes}", hint=_LIST)
    if (question.effort is not None or question.thinking == "on") and not spec.reasoning:
        raise UsageError("no-reasoning", f"{model.reference} is not a reasoning model.", hint=_LIST)
    check_thinking(question, model)
    wanted = max_tokens or (THINKING_MAX_TOKENS if thinks(question, model.reference.model) else DEFAULT_MAX_TOKENS)
    limit = min(wanted, spec.max_tokens or wanted)
    if spec.context_window is not None:
        # An estimate: the provider counts, and refuses what is too long in its own words.
        room = spec.context_window - len(question.text) // _CHARACTERS_PER_TOKEN
        limit = max(_LEAST_ANSWER, min(limit, room))
    return replace(question, max_tokens=limit)


_LIST: Final = "Others: {prog} models list --all --json"
