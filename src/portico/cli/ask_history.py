"""What becomes of one `ask`, for the history: noted on its way out, when the answer has been shown."""

from __future__ import annotations

from asyncio import CancelledError
from typing import TYPE_CHECKING, Final

from portico.errors import PorticoError, UsageError
from portico.models.usage import Usage
from portico.usage.entry import ANSWERED, CUT, LEFT, entry_of

if TYPE_CHECKING:
    from portico.cli.runtime import Runtime
    from portico.interfaces.basics import Clock
    from portico.models.failover import Attempt, Failover
    from portico.models.loader import CallableModel
    from portico.models.protocols.question import Piece

CLIENT: Final = "ask"
_LEAVING: Final = (KeyboardInterrupt, CancelledError, BrokenPipeError)


class Course:
    """The course of one request: `failover` has what came of its candidates, `usage` what its answer has used so far."""

    def __init__(self, failover: Failover, clock: Clock) -> None:
        self.usage = Usage()
        self.failover = failover
        self._clock = clock
        self._at_ms = 0
        self._began: float | None = None
        self._first_byte_ms: int | None = None
        self._latency_ms: int | None = None
        self._outcome = ANSWERED

    def begin(self) -> None:
        """The question is about to be sent."""
        self._at_ms, self._began = self._clock.wall_ms(), self._clock.monotonic()

    def piece(self, piece: Piece) -> None:
        """A piece of the answer has come."""
        if self._first_byte_ms is None:
            self._first_byte_ms = self._passed_ms()
        if piece.usage is not None:
            self.usage = self.usage.updated(piece.usage)

    def answered(self) -> None:
        """The answer is whole."""
        self._latency_ms = self._passed_ms()

    def failed(self, error: BaseException) -> None:
        """It ended without a whole answer."""
        self._latency_ms = self._passed_ms()
        self._outcome = self._outcome_of(error)
        if isinstance(error, UsageError) and not self.failover.attempts:
            self._began = None  # what the question itself lacks is found out before it is sent

    def note(self, rt: Runtime) -> None:
        """Write it down, unless the configuration says not to; two seconds at most."""
        history = rt.history() if self._began is not None else None
        if history is None:
            return
        tried = [attempt for attempt in self._asked() if attempt.outcome != "passed over"]
        history.record(
            entry_of(
                self._model(),
                self.usage,
                at_ms=self._at_ms,
                client=CLIENT,
                outcome=self._outcome,
                attempts=max(1, len(tried)),
                first_byte_ms=self._first_byte_ms,
                latency_ms=self._latency_ms,
            )
        )
        if not history.close() and not history.dropped:
            rt.out.detail("The usage history was busy: this request is not in it.")

    def _model(self) -> CallableModel:
        """The one that answered, else the one that was asked last."""
        asked = self._asked()
        return asked[-1].model if asked else self.failover.candidates[0]

    def _asked(self) -> list[Attempt]:
        """What was tried, or what was passed over where nothing was."""
        return [attempt for attempt in self.failover.attempts if attempt.outcome != "passed over"] or self.failover.attempts

    def _outcome_of(self, error: BaseException) -> str:
        if isinstance(error, _LEAVING):
            return LEFT
        if any(attempt.outcome == "answered" for attempt in self.failover.attempts):
            return CUT
        refusals = [attempt.refusal for attempt in self._asked() if attempt.refusal is not None]
        if refusals:
            return refusals[-1].word
        return error.id if isinstance(error, PorticoError) else type(error).__name__

    def _passed_ms(self) -> int | None:
        return None if self._began is None else round((self._clock.monotonic() - self._began) * 1000)
