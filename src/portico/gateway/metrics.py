"""Counters in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/), without credentials."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from portico.gateway.outcome import Outcome
    from portico.models.callable import CallableModel
    from portico.models.usage import Usage

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BOUNDS: Final = (*(f"{each:g}" for each in _SECONDS), "+Inf")
# A provider may have models that no catalogue lists yet, and a client can name any number of them.
_UNLISTED: Final = 100
_OTHER: Final = "other"
_TOKENS: Final = "portico_tokens_total"
_COUNTERS: Final = {
    "portico_requests_total": ("Requests, by how they ended.", ("path", "end", "status")),
    "portico_refused_total": ("Requests that were turned away.", ("reason",)),
    "portico_attempts_total": ("Tries at a model, by what came of them.", ("model", "outcome")),
    _TOKENS: ("Tokens, as providers told them.", ("model", "kind")),
}


class Metrics:
    """Everything that is counted in one process."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._tokens: dict[str, Counter[str]] = {}
        self._unlisted: set[str] = set()
        self._first_byte = [0] * len(_BOUNDS)
        self._first_byte_sum = 0.0
        self.in_progress = 0

    def refused(self, id: str) -> None:
        """A request was turned away before any model was asked."""
        self._counts["portico_refused_total", id] += 1

    def done(self, outcome: Outcome) -> None:
        """A request has ended."""
        counts = self._counts
        counts["portico_requests_total", outcome.call.route.path, outcome.end, str(outcome.status)] += 1
        for attempt in outcome.attempts:
            what = attempt.refusal.word if attempt.outcome == "failed" and attempt.refusal is not None else attempt.outcome
            counts["portico_attempts_total", self._label(attempt.model), what] += 1
        if outcome.model is not None and outcome.usage is not None:
            self._used(self._label(outcome.model), outcome.usage)
        if outcome.first_byte_ms is not None:
            seconds = outcome.first_byte_ms / 1000
            self._first_byte_sum += seconds
            self._first_byte[bisect_left(_SECONDS, seconds)] += 1

    def _label(self, model: CallableModel) -> str:
        """The model's name; `other` for those that clients have named beyond the first of them that no catalogue lists."""
        name = str(model.reference)
        if model.listed or name in self._unlisted:
            return name
        if len(self._unlisted) >= _UNLISTED:
            return _OTHER
        self._unlisted.add(name)
        return name

    def _used(self, model: str, used: Usage) -> None:
        sums = self._tokens.setdefault(model, Counter())
        sums["input"] += used.input
        sums["output"] += used.output
        sums["cache_read"] += used.cache_read
        sums["cache_write"] += used.cache_write

    def text(self, *, started_at: int) -> str:
        """All of it. `started_at` is wall ms."""
        lines = ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {started_at / 1000}"]
        lines += ["# TYPE portico_requests_in_progress gauge", f"portico_requests_in_progress {self.in_progress}"]
        counts = sorted([*self._counts.items(), *self._token_counts()])
        for name, (says, labels) in _COUNTERS.items():
            lines += [f"# HELP {name} {says}", f"# TYPE {name} counter"]
            lines += [_line(name, zip(labels, values, strict=True), count) for (each, *values), count in counts if each == name]
        return "\n".join([*lines, *self._histogram(), ""])

    def _token_counts(self) -> Iterable[tuple[tuple[str, ...], int]]:
        for model, sums in self._tokens.items():
            yield from (((_TOKENS, model, kind), total) for kind, total in sums.items() if total)

    def _histogram(self) -> Iterable[str]:
        name = "portico_first_byte_seconds"
        yield f"# HELP {name} From a request's arrival to the first byte of its answer."
        yield f"# TYPE {name} histogram"
        below = 0
        for bound, count in zip(_BOUNDS, self._first_byte, strict=True):
            below += count
            yield _line(f"{name}_bucket", (("le", bound),), below)
        yield f"{name}_sum {self._first_byte_sum:.3f}"
        yield f"{name}_count {below}"


def _line(name: str, labels: Iterable[tuple[str, str]], count: int) -> str:
    shown = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{name}{{{shown}}} {count}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
