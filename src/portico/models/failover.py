"""Failover: which candidate is next when one does not answer, and which is left alone for a while.

The candidates are the provider's other profiles, then the fallbacks, in their order. Nothing here asks a model: a `Failover` is
one request's way through its candidates, and the caller that sends the request says what came of each. A request that the model
itself calls wrong goes back to its sender. What a fallback calls wrong does not: a fallback may lack what the model has (one
rejects the signed thinking of another provider with 400, openclaw#64840). So the next candidate is asked, and if none answers,
the client gets the first model's reason.

A cooldown is state of one process, by credential and model, so that one model does not hold back the others of its provider
(openclaw#11352); a failure of the credential itself holds for all of its models. It belongs to that very credential and to how
it is sent: another key, profile or address begins without one. When it has run out, one request is let through and decides for
all of them (half-open, as circuit breakers do). Only a provider's answer, or a provider that cannot be reached, begins a
cooldown. A failure on this machine begins none: it may work at the next request.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeVar
from urllib.parse import urlsplit

from portico.models.provider_errors import AttemptFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from portico.errors import PorticoError
    from portico.interfaces.basics import Clock
    from portico.interfaces.plugins import ProviderErrorKind
    from portico.models.loader import CallableModel
    from portico.models.provider_errors import ProviderError
    from portico.models.reference import ModelReference

T = TypeVar("T")

# A pause for these is a guess at when a server is back; the one that ends first is tried where nothing else is left.
_GUESSED: Final = frozenset({"server", "timeout", "unreachable", "answer-unknown"})
# How long to wait for the outcome of the one request that tries a candidate again.
_TRIAL_MS: Final = 1000
# Nobody has answered there, so nothing tells when somebody will.
_NOT_THERE: Final = frozenset({"unreachable", "answer-unknown"})


@dataclass(slots=True)
class Attempt:
    """What came of one candidate. `why` is for a person; `rest` is the pause that it was passed over for.

    Passed over without a `rest`: `provider_error` is why its provider must not be sent this request again. `error` is the failure
    that a person is to see, where it was not the provider's word.
    """

    model: CallableModel
    outcome: Literal["answered", "failed", "passed over"]
    why: str = ""
    provider_error: ProviderError | None = None
    rest: Cooldown | None = None
    error: PorticoError | None = None


def unanswered(attempts: Sequence[Attempt]) -> Attempt | None:
    """The first of `attempts` whose answer is unknown. What a candidate rests for is an earlier request's."""
    failed = (one for one in attempts if one.outcome == "failed")
    return next((one for one in failed if one.provider_error is not None and one.provider_error.unknown), None)


async def first_answer(
    failover: Failover, attempt: Callable[[CallableModel], Awaitable[T]], *, on_failed: Callable[[Attempt], None]
) -> T | None:
    """What `attempt` returns for the first candidate that answers; None if none does, and `failover.reason` says why.

    `attempt` raises `AttemptFailed` for a candidate that does not answer; `on_failed` is called with what came of it. Anything
    else that it raises ends the request.
    """
    while (model := failover.next()) is not None:
        try:
            answer = await attempt(model)
        except AttemptFailed as failed:
            failover.failed(model, failed.provider_error, failed.error)
            on_failed(failover.attempts[-1])
        except BaseException:
            failover.gave_up(model)
            raise
        else:
            failover.answered(model)
            return answer
    return None


@dataclass(slots=True)
class Failover:
    """One request and its `candidates`. `attempts` is what came of them so far, in order.

    `wanted` is the model that was asked for; None where it is the first candidate. Where it cannot be called, all candidates are
    its fallbacks.
    """

    candidates: Sequence[CallableModel]
    cooldowns: Cooldowns
    wanted: ModelReference | None = None
    attempts: list[Attempt] = field(default_factory=list)
    _next: int = 0
    _desperate: bool = False
    _ended: bool = False

    def next(self) -> CallableModel | None:
        """The candidate to try now; None where none is left.

        Where every one of them rests, the one is tried whose pause is a guess and ends first.
        """
        while not self._ended and self._next < len(self.candidates):
            model = self.candidates[self._next]
            self._next += 1
            if self.attempts and (unknown := self._unknown_at(model)) is not None:
                why = f"not asked: {_server(model)} may still answer this request, and bill it"
                self.attempts.append(Attempt(model, "passed over", why, unknown))
                continue
            if not self.cooldowns.kept:
                return model
            key = key_of(model)
            rest = self.cooldowns.resting(key)
            if rest is None:
                self.cooldowns.begin(key)
                return model
            self.attempts.append(Attempt(model, "passed over", f"resting after {rest.refusal}", rest.refusal, rest))
        return self._despite_its_rest()

    def answered(self, model: CallableModel) -> None:
        """It has begun to answer: from here on no other is tried."""
        if self.cooldowns.kept:
            self.cooldowns.answered(key_of(model))
        self.attempts.append(Attempt(model, "answered"))

    def failed(self, model: CallableModel, refusal: ProviderError, error: PorticoError | None = None) -> None:
        """It did not answer. `error` is the failure itself where it was not the provider's word."""
        self.cooldowns.failed(key_of(model), refusal)
        self.attempts.append(Attempt(model, "failed", str(refusal), refusal, error=error))
        self._ended = not refusal.may_succeed_elsewhere and self.is_wanted(model)

    @property
    def goes_on(self) -> bool:
        """Whether another candidate may be asked: not where the model itself has called the request wrong."""
        return not self._ended

    def gave_up(self, model: CallableModel) -> None:
        """Nobody waits for its answer any more."""
        self.cooldowns.gave_up(key_of(model))

    @property
    def reason(self) -> Attempt | None:
        """Why there is no answer, None where one has begun or nothing was tried.

        An unknown answer comes first, since the request must not be repeated. Then what the first model says, whatever its
        fallbacks say: that the request is wrong; else what is over soonest of what passes by itself; else what came first.
        """
        if any(attempt.outcome == "answered" for attempt in self.attempts):
            return None
        unknown = unanswered(self.attempts)
        if unknown is not None:
            return unknown
        if self._ended:
            return self.attempts[-1]
        own = [attempt for attempt in self.attempts if self._is_own(attempt)]
        # What an earlier request met is not said of this one.
        now = [one for one in own if one.outcome == "failed" or one.provider_error is None or not one.provider_error.unknown]
        others = [
            one
            for one in self.attempts
            if one.outcome == "failed" and one.provider_error is not None and one.provider_error.may_succeed_elsewhere
        ]
        return min(now or others or own or self.attempts, key=self._badness, default=None)

    @property
    def wait_ms(self) -> int | None:
        """After how many ms the same request is worth another try; None where that is not known, or a person has to act first."""
        reason = self.reason.provider_error if self.reason is not None else None
        if reason is None or not reason.temporary or (reason.kind in _GUESSED and reason.retry_after is reason.resets_at is None):
            return None
        waits = [self._wait_ms(one) for one in self.attempts if one.provider_error is not None and one.provider_error.temporary]
        return min((wait for wait in waits if wait is not None), default=0) or None

    def _badness(self, attempt: Attempt) -> tuple[bool, int]:
        refusal = attempt.provider_error
        if refusal is None or not refusal.temporary:
            return True, 0
        wait = self._wait_ms(attempt)
        return False, sys.maxsize if wait is None else wait

    def _wait_ms(self, attempt: Attempt) -> int | None:
        """Until its candidate may be asked again; None where it may not be there then either."""
        refusal = attempt.provider_error
        if refusal is None or refusal.kind in _NOT_THERE:
            return None
        if refusal.kind == "local":
            return round((refusal.retry_after or 0.0) * 1000)
        rest = self.cooldowns.resting(key_of(attempt.model))
        # Where the pause is over, another request is the one that tries it, and its outcome is near.
        return (self.cooldowns.left_ms(rest) or _TRIAL_MS) if rest is not None else None

    def is_wanted(self, model: CallableModel) -> bool:
        """Whether `model` is the one that was asked for, with whichever credential, and not a fallback."""
        return model.reference == (self.wanted or self.candidates[0].reference)

    def _is_own(self, attempt: Attempt) -> bool:
        """Whether `attempt` was of the model that was asked for; where that cannot be called, of a fallback that says why."""
        return self.is_wanted(attempt.model) if self.not_callable is None else _says_why(attempt)

    @property
    def not_callable(self) -> ModelReference | None:
        """The model that was asked for, where it cannot be called; None where it is among the candidates."""
        return self.wanted if not any(map(self.is_wanted, self.candidates)) else None

    @property
    def back_at(self) -> int | None:
        """When the first of those that rest may be tried again (wall ms), None where none rests."""
        rests = (self.cooldowns.resting(key_of(model)) for model in self.candidates)
        return min((rest.until_ms for rest in rests if rest is not None), default=None)

    @property
    def unknown(self) -> ProviderError | None:
        """Why the answer of a candidate is unknown: this request must not be repeated (RFC 9110 section 9.2.2)."""
        attempt = unanswered(self.attempts)
        return attempt.provider_error if attempt is not None else None

    def _unknown_at(self, model: CallableModel) -> ProviderError | None:
        """Why `model` must not be asked: the same provider may have answered, by its id or, under two ids, by its server."""
        attempt = unanswered([one for one in self.attempts if _are_of_one_provider(one.model, model)])
        return attempt.provider_error if attempt is not None else None

    def _despite_its_rest(self) -> CallableModel | None:
        if (
            self._desperate
            or self._ended
            or any(attempt.outcome != "passed over" for attempt in self.attempts if _says_why(attempt))
        ):
            return None
        self._desperate = True
        guessed = [one for one in self.attempts if one.rest is not None and one.rest.refusal.kind in _GUESSED]
        chosen = min(guessed, key=lambda one: one.rest.until_ms if one.rest is not None else 0, default=None)
        if chosen is None:
            return None
        self.attempts.remove(chosen)
        return chosen.model


def _says_why(attempt: Attempt) -> bool:
    """Whether a fallback's outcome counts: that it calls the request wrong says nothing of the model that was asked for."""
    return attempt.provider_error is None or attempt.provider_error.may_succeed_elsewhere


def _are_of_one_provider(one: CallableModel, other: CallableModel) -> bool:
    return one.reference.provider == other.reference.provider or _server(one) == _server(other)


def _server(model: CallableModel) -> str:
    """Host and port."""
    return urlsplit(model.base_url).netloc.lower()


def key_of(model: CallableModel) -> Key:
    """What a pause of this candidate is noted under: which credential, as it is now and as it is sent, and which model."""
    whose = model.profile_id or f"{model.reference.provider}: {model.source}"
    return (f"{whose} {model.signed_in_at} {model.fingerprint}", str(model.reference))


Key = tuple[str, str]

# Seconds of the first pause and of the longest; each further failure in a row doubles it.
_PAUSES: Final[Mapping[ProviderErrorKind, tuple[float, float]]] = {
    "server": (2.0, 60.0),
    "timeout": (2.0, 60.0),
    "unreachable": (2.0, 60.0),
    "answer-unknown": (2.0, 60.0),
    "rate-limit": (15.0, 900.0),
    "auth": (60.0, 900.0),
    "account-refused": (60.0, 900.0),
    "model-refused": (60.0, 900.0),
    "plan-used-up": (300.0, 3600.0),
    "plan-lacks-model": (3600.0, 3600.0),
    "no-plan": (900.0, 3600.0),
    "billing": (900.0, 3600.0),
}
# The account's trouble, and not the model's.
_OF_CREDENTIAL: Final = frozenset({"auth", "account-refused", "billing", "no-plan", "plan-used-up"})
# A trial that never reports back, since its client went away, must not close the way for good.
_TRIAL_S: Final = 60.0
# A provider's own time is kept, within a week and a bit: its windows are hours and weeks.
_MAX_RETRY_AFTER_S: Final = 8 * 86_400.0
# Clients may name models that no catalogue lists: of more pauses than this the one that ends first is forgotten.
_MOST: Final = 1_000


@dataclass(slots=True)
class Cooldown:
    """One pause: what it is for, until when (wall ms), and the trial that is under way (monotonic seconds of its end)."""

    refusal: ProviderError
    until_ms: int
    began_ms: int
    failures: int
    trial_until: float = 0.0


class Cooldowns:
    """Every pause of one process, those in `kept` that have ended too. For one event loop; nothing here waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.kept: dict[Key, Cooldown] = {}

    def resting(self, key: Key) -> Cooldown | None:
        """The pause that keeps `key` from being tried now, None where it may be. Asking makes no trial."""
        held = [rest for rest in self._of(key) if self._holds(rest)]
        return max(held, key=lambda rest: rest.until_ms, default=None)

    def left_ms(self, rest: Cooldown) -> int:
        """How long a pause goes on, in ms."""
        return max(0, rest.until_ms - self._clock.wall_ms())

    def begin(self, key: Key) -> None:
        """A request is about to try `key`: where a pause has just run out, it is the only one until it reports back."""
        for rest in self._of(key):
            rest.trial_until = self._clock.monotonic() + _TRIAL_S

    def answered(self, key: Key) -> None:
        """It works."""
        for each in _keys(key):
            self.kept.pop(each, None)

    def gave_up(self, key: Key) -> None:
        """The trial ended without an outcome: its client left."""
        for rest in self._of(key):
            rest.trial_until = 0.0

    def failed(self, key: Key, refusal: ProviderError) -> None:
        """It does not: a pause begins, or goes on where the request had set out before that one began."""
        self.gave_up(key)
        if refusal.kind not in _PAUSES:
            return
        place = (key[0], "") if refusal.kind in _OF_CREDENTIAL else key
        earlier, now = self.kept.get(place), self._clock.wall_ms()
        failures = 1 if earlier is None else earlier.failures + (not self._holds(earlier))
        until = now + round(_seconds(refusal, failures, now) * 1000)
        if earlier is not None and self._holds(earlier):
            until = max(until, earlier.until_ms)
        if earlier is None and len(self.kept) >= _MOST:
            del self.kept[min(self.kept, key=lambda each: self.kept[each].until_ms)]
        self.kept[place] = Cooldown(refusal, until, now, failures)

    def _of(self, key: Key) -> list[Cooldown]:
        return [rest for each in _keys(key) if (rest := self.kept.get(each)) is not None]

    def _holds(self, rest: Cooldown) -> bool:
        waits = rest.began_ms <= self._clock.wall_ms() < rest.until_ms  # a clock that was set back ends it
        return waits or self._clock.monotonic() < rest.trial_until


def _keys(key: Key) -> tuple[Key, Key]:
    return (key[0], ""), key


def _seconds(refusal: ProviderError, failures: int, now_ms: int) -> float:
    first, longest = _PAUSES[refusal.kind]
    told = [refusal.retry_after] if refusal.retry_after is not None else []
    if refusal.resets_at is not None and refusal.resets_at > now_ms:
        told.append((refusal.resets_at - now_ms) / 1000)
    if told:
        return min(max(told), _MAX_RETRY_AFTER_S)
    return min(longest, first * 2.0 ** min(failures - 1, 16))
