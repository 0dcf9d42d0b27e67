"""Which credential and model to leave alone for a while, after what failure, and when one request may try it again.

State of one process, by credential and model, so that one refused model does not hold back the others of its provider
(openclaw#11352); what a credential itself is refused for holds for all of its models. A pause belongs to that very credential and
to how it is sent: another key, sign-in or address begins without one. A pause that has run out lets one request through: it
decides for everybody (half-open, as circuit breakers do).

Only what a provider answered, or that it cannot be reached, begins a pause. What failed on this machine begins none: it may work
at the next request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.basics import Clock
    from portico.interfaces.provider_spec import RefusalKind
    from portico.models.refusal import Refusal

Key = tuple[str, str]

# Seconds of the first pause and of the longest; each further failure in a row doubles it.
_PAUSES: Final[Mapping[RefusalKind, tuple[float, float]]] = {
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
_LONGEST_TOLD_S: Final = 8 * 86_400.0
# Clients may name models that no catalogue lists: of more pauses than this the one that ends first is forgotten.
_MOST: Final = 1_000


@dataclass(slots=True)
class Rest:
    """One pause: what it is for, until when (wall ms), and the trial that is under way (monotonic seconds of its end)."""

    refusal: Refusal
    until_ms: int
    began_ms: int
    failures: int
    trial_until: float = 0.0


class Cooldowns:
    """Every pause of one process. For one event loop; nothing here waits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rests: dict[Key, Rest] = {}

    def resting(self, key: Key) -> Rest | None:
        """The pause that keeps `key` from being tried now, None where it may be. Asking makes no trial."""
        if not self._rests:
            return None
        held = [rest for rest in self._of(key) if self._holds(rest)]
        return max(held, key=lambda rest: rest.until_ms, default=None)

    def left_ms(self, rest: Rest) -> int:
        """How long a pause goes on, in ms."""
        return max(0, rest.until_ms - self._clock.wall_ms())

    def begin(self, key: Key) -> None:
        """A request is about to try `key`: where a pause has just run out, it is the only one until it reports back."""
        for rest in self._of(key):
            rest.trial_until = self._clock.monotonic() + _TRIAL_S

    def answered(self, key: Key) -> None:
        """It works."""
        if not self._rests:
            return
        for each in _keys(key):
            self._rests.pop(each, None)

    def gave_up(self, key: Key) -> None:
        """The trial ended without an outcome: its client left."""
        for rest in self._of(key):
            rest.trial_until = 0.0

    def failed(self, key: Key, refusal: Refusal) -> None:
        """It does not: a pause begins, or goes on where the request had set out before that one began."""
        self.gave_up(key)
        if refusal.kind not in _PAUSES:
            return
        place = (key[0], "") if refusal.kind in _OF_CREDENTIAL else key
        earlier, now = self._rests.get(place), self._clock.wall_ms()
        failures = 1 if earlier is None else earlier.failures + (not self._holds(earlier))
        until = now + round(_seconds(refusal, failures, now) * 1000)
        if earlier is not None and self._holds(earlier):
            until = max(until, earlier.until_ms)
        if earlier is None and len(self._rests) >= _MOST:
            del self._rests[min(self._rests, key=lambda each: self._rests[each].until_ms)]
        self._rests[place] = Rest(refusal, until, now, failures)

    def _of(self, key: Key) -> list[Rest]:
        if not self._rests:
            return []
        return [rest for each in _keys(key) if (rest := self._rests.get(each)) is not None]

    def _holds(self, rest: Rest) -> bool:
        waits = rest.began_ms <= self._clock.wall_ms() < rest.until_ms  # a clock that was set back ends it
        return waits or self._clock.monotonic() < rest.trial_until


def _keys(key: Key) -> tuple[Key, Key]:
    return (key[0], ""), key


def _seconds(refusal: Refusal, failures: int, now_ms: int) -> float:
    first, longest = _PAUSES[refusal.kind]
    told = [refusal.retry_after] if refusal.retry_after is not None else []
    if refusal.resets_at is not None and refusal.resets_at > now_ms:
        told.append((refusal.resets_at - now_ms) / 1000)
    if told:
        return min(max(told), _LONGEST_TOLD_S)
    return min(longest, first * 2.0 ** min(failures - 1, 16))
