"""Failover: the order of the candidates, and the cooldown of candidates that failed.

The further candidates are the provider's other profiles, then the fallbacks. A `Failover` belongs to one request; the caller
sends the request and reports each outcome. If the wanted model rejects the request as invalid, no other candidate is tried. If
a fallback does so, the next candidate is tried, because a fallback may lack a feature of the wanted model (some reject the
signed thinking of another provider with 400, openclaw#64840). If no candidate answers, the client gets the wanted model's
reason.

Each process has its own cooldowns, by credential and model, so that one model does not block the other models of its provider
(openclaw#11352). A failure of the credential applies to all of its models. A cooldown belongs to one exact credential, profile
and address. After its end, one request tries the candidate, and its outcome decides for all requests (half-open, as in a
circuit breaker). A cooldown starts only if a provider sends an error or cannot be reached. A failure on this machine starts no
cooldown, because the next request may succeed.
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

# The length of these cooldowns is a guess. If no other candidate is left, the candidate whose cooldown ends first is tried.
_GUESSED: Final = frozenset({"server", "timeout", "unreachable", "answer-unknown"})
# How long to wait for the outcome of the request that tries a candidate again.
_TRIAL_MS: Final = 1000
# No server answered, so the time of recovery is unknown.
_NO_SERVER: Final = frozenset({"unreachable", "answer-unknown"})


@dataclass(slots=True)
class Attempt:
    """The outcome of one candidate.

    `why` is for the user. `cooldown` is set if the candidate was passed over because of a cooldown.

    Without a `cooldown`, a candidate is passed over because its provider must not receive this request again: `provider_error`
    is the reason. `error` is the failure to show if it did not come from the provider.
    """

    model: CallableModel
    outcome: Literal["answered", "failed", "passed over"]
    why: str = ""
    provider_error: ProviderError | None = None
    cooldown: Cooldown | None = None
    error: PorticoError | None = None


def unanswered(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the first attempt of this request whose answer is unknown. Candidates in cooldown do not count."""
    failed = (one for one in attempts if one.outcome == "failed")
    return next((one for one in failed if one.provider_error is not None and one.provider_error.unknown), None)


async def first_answer(
    failover: Failover, attempt: Callable[[CallableModel], Awaitable[T]], *, on_failed: Callable[[Attempt], None]
) -> T | None:
    """Return the result of `attempt` for the first candidate that answers; None if no candidate answers (see `failover.reason`).

    `attempt` raises `AttemptFailed` for a candidate that does not answer; `on_failed` is then called with the outcome. Any other
    exception ends the request.
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
    """One request and its candidates. `attempts` are the outcomes so far, in order.

    `wanted` is the requested model; None means the model of the first candidate. If the wanted model cannot be called, all
    candidates are its fallbacks.
    """

    candidates: Sequence[CallableModel]
    cooldowns: Cooldowns
    wanted: ModelReference | None = None
    attempts: list[Attempt] = field(default_factory=list)
    _next: int = 0
    _tries_cooldowns: bool = False
    _ended: bool = False

    def next(self) -> CallableModel | None:
        """Return the candidate to try now; None if none is left.

        If all candidates are in cooldown, return the candidate whose cooldown ends first, if the cooldown's length is a guess.
        """
        while not self._ended and self._next < len(self.candidates):
            model = self.candidates[self._next]
            self._next += 1
            if self.attempts and (unknown := self._unknown_at(model)) is not None:
                why = f"not asked: {_server(model)} may still answer this request, and bill it"
                self.attempts.append(Attempt(model, "passed over", why, unknown))
                continue
            if not self.cooldowns.by_key:
                return model
            key = key_of(model)
            cooldown = self.cooldowns.active(key)
            if cooldown is None:
                self.cooldowns.start_trial(key)
                return model
            error = cooldown.provider_error
            self.attempts.append(Attempt(model, "passed over", f"in cooldown after {error}", error, cooldown))
        return self._despite_cooldown()

    def answered(self, model: CallableModel) -> None:
        """Record that `model` has started to answer. No other candidate is tried."""
        if self.cooldowns.by_key:
            self.cooldowns.answered(key_of(model))
        self.attempts.append(Attempt(model, "answered"))

    def failed(self, model: CallableModel, provider_error: ProviderError, error: PorticoError | None = None) -> None:
        """Record that `model` did not answer. `error` is the failure if it did not come from the provider."""
        self.cooldowns.failed(key_of(model), provider_error)
        self.attempts.append(Attempt(model, "failed", str(provider_error), provider_error, error=error))
        self._ended = not provider_error.may_succeed_elsewhere and self.is_wanted(model)

    @property
    def goes_on(self) -> bool:
        """Whether another candidate may be tried: not after the wanted model has rejected the request as invalid."""
        return not self._ended

    def gave_up(self, model: CallableModel) -> None:
        """Record that the caller no longer waits for an answer of `model`."""
        self.cooldowns.gave_up(key_of(model))

    @property
    def reason(self) -> Attempt | None:
        """The attempt that explains why there is no answer; None after an answer or without attempts.

        An unknown answer comes first, because the request must not be repeated. Then come the wanted model's attempts, before
        those of its fallbacks. Among these the order is: an invalid request; the temporary failure that ends soonest; the first
        failure.
        """
        if any(attempt.outcome == "answered" for attempt in self.attempts):
            return None
        unknown = unanswered(self.attempts)
        if unknown is not None:
            return unknown
        if self._ended:
            return self.attempts[-1]
        own = [attempt for attempt in self.attempts if self._is_own(attempt)]
        # If a candidate is in cooldown, its unknown answer belongs to an earlier request.
        now = [one for one in own if one.outcome == "failed" or one.provider_error is None or not one.provider_error.unknown]
        others = [
            one
            for one in self.attempts
            if one.outcome == "failed" and one.provider_error is not None and one.provider_error.may_succeed_elsewhere
        ]
        return min(now or others or own or self.attempts, key=self._badness, default=None)

    @property
    def wait_ms(self) -> int | None:
        """In how many ms the same request may succeed; None if unknown, or if the user must act first."""
        reason = self.reason.provider_error if self.reason is not None else None
        if reason is None or not reason.temporary or (reason.kind in _GUESSED and reason.retry_after is reason.resets_at is None):
            return None
        waits = [self._wait_ms(one) for one in self.attempts if one.provider_error is not None and one.provider_error.temporary]
        return min((wait for wait in waits if wait is not None), default=0) or None

    def _badness(self, attempt: Attempt) -> tuple[bool, int]:
        provider_error = attempt.provider_error
        if provider_error is None or not provider_error.temporary:
            return True, 0
        wait = self._wait_ms(attempt)
        return False, sys.maxsize if wait is None else wait

    def _wait_ms(self, attempt: Attempt) -> int | None:
        """Return in how many ms the candidate may be tried again; None if unknown."""
        provider_error = attempt.provider_error
        if provider_error is None or provider_error.kind in _NO_SERVER:
            return None
        if provider_error.kind == "local":
            return round((provider_error.retry_after or 0.0) * 1000)
        cooldown = self.cooldowns.active(key_of(attempt.model))
        # A cooldown of 0 ms has ended, and another request now tries the candidate, so the outcome is known soon.
        return (self.cooldowns.left_ms(cooldown) or _TRIAL_MS) if cooldown is not None else None

    def is_wanted(self, model: CallableModel) -> bool:
        """Whether `model` is the requested model, with any credential, and not a fallback."""
        return model.reference == (self.wanted or self.candidates[0].reference)

    def _is_own(self, attempt: Attempt) -> bool:
        """Whether `attempt` used the wanted model.

        If this model cannot be called, a fallback that explains the failure counts instead.
        """
        return self.is_wanted(attempt.model) if self.not_callable is None else _explains(attempt)

    @property
    def not_callable(self) -> ModelReference | None:
        """The wanted model, if it cannot be called and is not among the candidates."""
        return self.wanted if not any(map(self.is_wanted, self.candidates)) else None

    @property
    def back_at(self) -> int | None:
        """When the first cooldown ends (ms since the epoch); None if no candidate is in cooldown."""
        cooldowns = (self.cooldowns.active(key_of(model)) for model in self.candidates)
        return min((cooldown.until_ms for cooldown in cooldowns if cooldown is not None), default=None)

    @property
    def unknown(self) -> ProviderError | None:
        """Why a candidate's answer is unknown; then this request must not be repeated (RFC 9110 section 9.2.2)."""
        attempt = unanswered(self.attempts)
        return attempt.provider_error if attempt is not None else None

    def _unknown_at(self, model: CallableModel) -> ProviderError | None:
        """Return why `model` must not be tried: its provider (the same id or the same server) may already have answered."""
        attempt = unanswered([one for one in self.attempts if _are_of_one_provider(one.model, model)])
        return attempt.provider_error if attempt is not None else None

    def _despite_cooldown(self) -> CallableModel | None:
        if (
            self._tries_cooldowns
            or self._ended
            or any(attempt.outcome != "passed over" for attempt in self.attempts if _explains(attempt))
        ):
            return None
        self._tries_cooldowns = True
        guessed = [one for one in self.attempts if one.cooldown is not None and one.cooldown.provider_error.kind in _GUESSED]
        chosen = min(guessed, key=lambda one: one.cooldown.until_ms if one.cooldown is not None else 0, default=None)
        if chosen is None:
            return None
        self.attempts.remove(chosen)
        return chosen.model


def _explains(attempt: Attempt) -> bool:
    """Whether a fallback's outcome explains the failure. A rejection of the request as invalid does not."""
    return attempt.provider_error is None or attempt.provider_error.may_succeed_elsewhere


def _are_of_one_provider(one: CallableModel, other: CallableModel) -> bool:
    return one.reference.provider == other.reference.provider or _server(one) == _server(other)


def _server(model: CallableModel) -> str:
    """Return host and port."""
    return urlsplit(model.base_url).netloc.lower()


def key_of(model: CallableModel) -> Key:
    """Return the key of a candidate's cooldown: the exact credential with its address, and the model."""
    owner = model.profile_id or f"{model.reference.provider}: {model.source}"
    return (f"{owner} {model.signed_in_at} {model.fingerprint}", str(model.reference))


Key = tuple[str, str]

# Seconds of the first and the longest cooldown. Each further failure in a row doubles the time.
_SECONDS: Final[Mapping[ProviderErrorKind, tuple[float, float]]] = {
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
# Failures of the account, not of one model.
_OF_CREDENTIAL: Final = frozenset({"auth", "account-refused", "billing", "no-plan", "plan-used-up"})
# A trial may have no result, for example if its client disconnects. It must not block the candidate forever.
_TRIAL_S: Final = 60.0
# The longest wait that a provider may ask for. The windows of plans are hours and weeks.
_MAX_RETRY_AFTER_S: Final = 8 * 86_400.0
# Clients may name models that no catalog lists. At this limit the cooldown that ends first is dropped.
_MAX_COOLDOWNS: Final = 1_000


@dataclass(slots=True)
class Cooldown:
    """One cooldown: its cause, its start and end (ms since the epoch), and the end of a running trial (monotonic seconds)."""

    provider_error: ProviderError
    until_ms: int
    began_ms: int
    failures: int
    trial_until: float = 0.0


class Cooldowns:
    """The cooldowns of one process; `by_key` also contains ended cooldowns. For one event loop; no method waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.by_key: dict[Key, Cooldown] = {}

    def active(self, key: Key) -> Cooldown | None:
        """Return the cooldown or trial that blocks `key` now; None if `key` may be tried. Starts no trial."""
        active = [cooldown for cooldown in self._of(key) if self._is_active(cooldown)]
        return max(active, key=lambda cooldown: cooldown.until_ms, default=None)

    def left_ms(self, cooldown: Cooldown) -> int:
        """Return the rest of a cooldown in ms."""
        return max(0, cooldown.until_ms - self._clock.wall_ms())

    def start_trial(self, key: Key) -> None:
        """Let one request try `key` after an ended cooldown, and block all other requests until the outcome is known."""
        for cooldown in self._of(key):
            cooldown.trial_until = self._clock.monotonic() + _TRIAL_S

    def answered(self, key: Key) -> None:
        """Delete the cooldowns of `key`."""
        for each in _keys(key):
            self.by_key.pop(each, None)

    def gave_up(self, key: Key) -> None:
        """End a trial without an outcome: its client has disconnected."""
        for cooldown in self._of(key):
            cooldown.trial_until = 0.0

    def failed(self, key: Key, provider_error: ProviderError) -> None:
        """Start a cooldown. An active cooldown is not changed, because the failed request was sent before it started."""
        self.gave_up(key)
        if provider_error.kind not in _SECONDS:
            return
        blocked = (key[0], "") if provider_error.kind in _OF_CREDENTIAL else key
        earlier, now = self.by_key.get(blocked), self._clock.wall_ms()
        failures = 1 if earlier is None else earlier.failures + (not self._is_active(earlier))
        until = now + round(_seconds(provider_error, failures, now) * 1000)
        if earlier is not None and self._is_active(earlier):
            until = max(until, earlier.until_ms)
        if earlier is None and len(self.by_key) >= _MAX_COOLDOWNS:
            del self.by_key[min(self.by_key, key=lambda each: self.by_key[each].until_ms)]
        self.by_key[blocked] = Cooldown(provider_error, until, now, failures)

    def _of(self, key: Key) -> list[Cooldown]:
        return [cooldown for each in _keys(key) if (cooldown := self.by_key.get(each)) is not None]

    def _is_active(self, cooldown: Cooldown) -> bool:
        waits = cooldown.began_ms <= self._clock.wall_ms() < cooldown.until_ms  # a clock that is set back ends a cooldown
        return waits or self._clock.monotonic() < cooldown.trial_until


def _keys(key: Key) -> tuple[Key, Key]:
    return (key[0], ""), key


def _seconds(provider_error: ProviderError, failures: int, now_ms: int) -> float:
    first, longest = _SECONDS[provider_error.kind]
    provider_waits = [provider_error.retry_after] if provider_error.retry_after is not None else []
    if provider_error.resets_at is not None and provider_error.resets_at > now_ms:
        provider_waits.append((provider_error.resets_at - now_ms) / 1000)
    if provider_waits:
        return min(max(provider_waits), _MAX_RETRY_AFTER_S)
    return min(longest, first * 2.0 ** min(failures - 1, 16))
