"""Which model answers when the first one does not: the provider's other sign-ins, then the fallbacks, in their order.

Nothing here asks a model: a `Round` is one request's way through its candidates, and whoever sends the request tells it what came
of each. Another candidate is tried only for what another can mend; a request that is itself at fault goes back to its sender.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portico.models.callable import CallableModel
    from portico.models.cooldown import Cooldowns, Key, Rest
    from portico.models.refusal import Refusal

# A pause for these is a guess at when a server is back; the one that ends first is tried where nothing else is left.
_GUESSED: Final = frozenset({"server", "timeout", "unreachable", "answer-unknown"})


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one candidate. `why` is for a person; `rest` is the pause that it was passed over for.

    Passed over without a `rest`: `refusal` is why its provider must not be sent this request again.
    """

    model: CallableModel
    outcome: Literal["answered", "failed", "passed over"]
    why: str = ""
    refusal: Refusal | None = None
    rest: Rest | None = None


def unanswered(attempts: Sequence[Attempt]) -> Attempt | None:
    """The first of `attempts` whose answer is unknown. What a candidate rests for is an earlier request's."""
    failed = (one for one in attempts if one.outcome == "failed")
    return next((one for one in failed if one.refusal is not None and one.refusal.unknown), None)


@dataclass(slots=True)
class Round:
    """One request's way through `candidates`. `attempts` is what came of them so far, in order."""

    candidates: Sequence[CallableModel]
    cooldowns: Cooldowns
    attempts: list[Attempt] = field(default_factory=list)
    _next: int = 0
    _desperate: bool = False

    def next(self) -> CallableModel | None:
        """The candidate to try now; None where none is left.

        Where every one of them rests, the one is tried whose pause is a guess and ends first.
        """
        while self._next < len(self.candidates):
            model = self.candidates[self._next]
            self._next += 1
            if (unknown := self._unknown_at(model)) is not None:
                why = f"not asked: {_server(model)} may still answer this request, and bill it"
                self.attempts.append(Attempt(model, "passed over", why, unknown))
                continue
            key = key_of(model)
            rest = self.cooldowns.resting(key)
            if rest is None:
                self.cooldowns.begin(key)
                return model
            self.attempts.append(Attempt(model, "passed over", f"resting after {rest.refusal}", rest.refusal, rest))
        return self._despite_its_rest()

    def answered(self, model: CallableModel) -> None:
        """It has begun to answer: from here on no other is tried."""
        self.cooldowns.answered(key_of(model))
        self.attempts.append(Attempt(model, "answered"))

    def failed(self, model: CallableModel, refusal: Refusal) -> None:
        """It did not answer; whether another one might is `refusal.elsewhere`."""
        self.cooldowns.failed(key_of(model), refusal)
        self.attempts.append(Attempt(model, "failed", str(refusal), refusal))

    def gave_up(self, model: CallableModel) -> None:
        """Nobody waits for its answer any more."""
        self.cooldowns.gave_up(key_of(model))

    @property
    def last_refusal(self) -> Refusal | None:
        """Why there is no answer: the last failure, else what the first candidate rests for."""
        failed = [attempt.refusal for attempt in self.attempts if attempt.outcome == "failed"]
        over = [attempt.refusal for attempt in self.attempts if attempt.outcome == "passed over"]
        return failed[-1] if failed else (over[0] if over else None)

    @property
    def back_at(self) -> int | None:
        """When the first of those that rest may be tried again (wall ms), None where none rests."""
        rests = (self.cooldowns.resting(key_of(model)) for model in self.candidates)
        return min((rest.until_ms for rest in rests if rest is not None), default=None)

    @property
    def unknown(self) -> Refusal | None:
        """Why the answer of a candidate is unknown: this request must not be repeated (RFC 9110 section 9.2.2)."""
        attempt = unanswered(self.attempts)
        return attempt.refusal if attempt is not None else None

    def _unknown_at(self, model: CallableModel) -> Refusal | None:
        """Why `model` must not be asked: the same provider may have answered, by its id or, under two ids, by its server."""
        attempt = unanswered([one for one in self.attempts if _are_of_one_provider(one.model, model)])
        return attempt.refusal if attempt is not None else None

    def _despite_its_rest(self) -> CallableModel | None:
        if self._desperate or any(attempt.outcome != "passed over" for attempt in self.attempts):
            return None
        self._desperate = True
        guessed = [one for one in self.attempts if one.rest is not None and one.rest.refusal.kind in _GUESSED]
        chosen = min(guessed, key=lambda one: one.rest.until_ms if one.rest is not None else 0, default=None)
        if chosen is None:
            return None
        self.attempts.remove(chosen)
        return chosen.model


def _are_of_one_provider(one: CallableModel, other: CallableModel) -> bool:
    return one.reference.provider == other.reference.provider or _server(one) == _server(other)


def _server(model: CallableModel) -> str:
    """Host and port."""
    return urlsplit(model.base_url).netloc.lower()


def key_of(model: CallableModel) -> Key:
    """What a pause of this candidate is noted under: whose credential, and which model."""
    return (model.profile_id or f"{model.reference.provider}: {model.source}", str(model.reference))
