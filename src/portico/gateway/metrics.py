"""Report each request's outcome: in the metrics, the usage history, the log, and the response's headers.

The metrics are in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/), without credentials.
A row of the history has the time, tokens and cost of a request, but not its text. The log has the messages of Portico and the
warnings of other libraries. It contains no secrets, and its size is limited.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from portico.gateway.keys import tool_of
from portico.models.protocols import Usage
from portico.paths import FILE_MODE, make_private_folder
from portico.secret import redact
from portico.usage.entry import ANSWERED, CUT, LEFT, entry_of
from portico.util.files import file_error, read_end, replace, write_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from portico.gateway.forward import Call
    from portico.models.failover import Attempt
    from portico.models.loader import CallableModel, Passed
    from portico.usage.entry import Entry

CONTENT_TYPE: Final = "text/plain; version=0.0.4"
_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_BOUNDS: Final = (*(f"{each:g}" for each in _SECONDS), "+Inf")
# How many models outside the catalog are counted by name. A client can name any number of them.
_UNLISTED: Final = 100
_OTHER: Final = "other"
_TOKENS: Final = "portico_tokens_total"
_COUNTERS: Final = {
    "portico_requests_total": ("Requests, by how they ended.", ("path", "end", "status")),
    "portico_refused_total": ("Requests that the gateway rejected.", ("reason",)),
    "portico_attempts_total": ("Attempts at a model, by outcome.", ("model", "outcome")),
    _TOKENS: ("Tokens, as reported by providers.", ("model", "kind")),
}


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._tokens: dict[str, Counter[str]] = {}
        self._unlisted: set[str] = set()
        self._first_byte = [0] * len(_BOUNDS)
        self._first_byte_sum = 0.0
        self.in_progress = 0

    def refused(self, id: str) -> None:
        """Count a request that was rejected before an attempt."""
        self._counts["portico_refused_total", id] += 1

    def add(self, outcome: Outcome) -> None:
        """Count a request that has ended."""
        counts, label = self._counts, _OTHER
        counts["portico_requests_total", outcome.call.route.path, outcome.end, str(outcome.status)] += 1
        for attempt in outcome.attempts:
            failed = attempt.provider_error if attempt.outcome == "failed" else None
            label = self._label(attempt.model)
            counts["portico_attempts_total", label, attempt.outcome if failed is None else failed.label] += 1
        if outcome.model is not None and outcome.usage is not None:  # `label` names the last attempt's model, which answered
            self._add_tokens(label, outcome.usage)
        if outcome.first_byte_ms is not None:
            seconds = outcome.first_byte_ms / 1000
            self._first_byte_sum += seconds
            self._first_byte[bisect_left(_SECONDS, seconds)] += 1

    def _label(self, model: CallableModel) -> str:
        """The model's name. Only the first `_UNLISTED` unlisted models keep their names; all later ones are `other`."""
        name = str(model.reference)
        if model.listed or name in self._unlisted:
            return name
        if len(self._unlisted) >= _UNLISTED:
            return _OTHER
        self._unlisted.add(name)
        return name

    def _add_tokens(self, model: str, usage: Usage) -> None:
        sums = self._tokens.get(model)
        if sums is None:
            sums = self._tokens[model] = Counter()
        sums["input"] += usage.input
        sums["output"] += usage.output
        sums["cache_read"] += usage.cache_read
        sums["cache_write"] += usage.cache_write

    def text(self, *, started_at: int) -> str:
        """All metrics as text. `started_at` is in ms since the epoch."""
        lines = ["# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {started_at / 1000}"]
        lines += ["# TYPE portico_requests_in_progress gauge", f"portico_requests_in_progress {self.in_progress}"]
        counts = sorted([*self._counts.items(), *self._token_counts()])
        for name, (description, labels) in _COUNTERS.items():
            lines += [f"# HELP {name} {description}", f"# TYPE {name} counter"]
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


End = Literal["answered", "refused", "cut", "client-gone"]


@dataclass(slots=True)
class Outcome:
    """One request and its result. `started_at` is in ms since the epoch; the other times are durations in ms.

    `model` is the model that answered; None if no model answered. `usage` is None if the provider did not report it. `why` is
    the reason for an incomplete answer.
    """

    call: Call
    end: End
    status: int
    attempts: Sequence[Attempt]
    started_at: int
    latency_ms: int
    first_byte_ms: int | None = None
    model: CallableModel | None = None
    usage: Usage | None = None
    why: str = ""


def headers_of(model: CallableModel | None, attempts: Sequence[Attempt], passed: Sequence[Passed]) -> dict[str, str]:
    """The headers that name the model that answered and the outcome of each attempt, in order."""
    tries = [f"{one.model.reference}; {one.model.profile_id or 'key'}; {_word(one)}" for one in attempts]
    tries += [f"{one.reference}; {one.error.id}" for one in passed]
    answered = {} if model is None else {"x-portico-model": _plain(str(model.reference))}
    return {**answered, "x-portico-attempts": _plain(", ".join(tries))}


def _word(attempt: Attempt) -> str:
    if attempt.outcome == "answered" or attempt.provider_error is None:
        return "answered"
    kind = attempt.provider_error.label
    if attempt.outcome == "passed over":
        return f"{'skipped' if attempt.cooldown is None else 'resting'} after {kind}"
    return f"{kind} {attempt.provider_error.status}" if attempt.provider_error.status is not None else kind


def _plain(text: str) -> str:
    """Printable ASCII: what a header may hold (RFC 9110 section 5.5)."""
    return text if text.isascii() and text.isprintable() else "".join(each if " " <= each <= "~" else "?" for each in text)


_WORDS: Final[Mapping[End, str]] = {"answered": ANSWERED, "cut": CUT, "client-gone": LEFT}


def entry_for(outcome: Outcome) -> Entry | None:
    """The request's row in the history. None for a request that used no model: it only counted tokens, or had no attempt."""
    if outcome.call.route.counts or not outcome.attempts:
        return None
    asked = [attempt for attempt in outcome.attempts if attempt.outcome != "passed over"] or [outcome.attempts[-1]]
    model, provider_error = outcome.model or asked[-1].model, asked[-1].provider_error
    return entry_of(
        model,
        outcome.usage or Usage(),
        at_ms=outcome.started_at,
        client=tool_of(outcome.call.client) or outcome.call.client,
        outcome=_WORDS.get(outcome.end) or (provider_error.label if provider_error is not None else "refused"),
        attempts=len(asked),
        api=outcome.call.route.api,
        first_byte_ms=outcome.first_byte_ms,
        latency_ms=outcome.latency_ms,
    )


if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    _Stream = logging.StreamHandler[TextIO]
else:
    _Stream = logging.StreamHandler

LIMIT: Final = 1 << 20
# Non-blocking: opening a FIFO at this path fails (ENXIO) and does not wait for a reader.
_LOG_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_log(path: Path) -> int:
    """Open the log for appending, and return its descriptor. If the log is too long, it is first renamed to `<name>.old`.

    Raises:
        StoreError: it cannot be opened.
    """
    make_private_folder(path.parent)
    try:
        if path.exists() and path.lstat().st_size > LIMIT:
            replace(path, _old_log(path))
        log = os.open(path, _LOG_FLAGS, FILE_MODE)
        if os.name == "posix":
            os.fchmod(log, FILE_MODE)
    except OSError as error:
        raise file_error(f"cannot write {path}", error) from error
    return log


def log_to_stderr(path: Path, *, verbose: bool) -> None:
    """Log the messages of all libraries to stderr without secrets. If stderr is the file at `path`, limit its size."""
    handler = _Capped(path)
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.captureWarnings(capture=True)
    logging.getLogger().addHandler(handler)
    logging.getLogger("portico").setLevel(logging.DEBUG if verbose else logging.INFO)


class _Capped(_Stream):
    """Writes to stderr, and shortens the log file, because the process may run for months."""

    def __init__(self, path: Path) -> None:
        super().__init__(sys.stderr)
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        # If the log cannot be shortened, the gateway keeps running.
        with contextlib.suppress(Exception):
            self._shorten()

    def _shorten(self) -> None:
        fd = self.stream.fileno()
        status = os.fstat(fd)
        if status.st_size <= LIMIT or not os.path.samestat(status, self._path.stat()):
            return
        # The file is copied and truncated, not renamed: the descriptor stays valid, and Windows cannot rename an open file.
        write_private(_old_log(self._path), read_end(self._path, 2 * LIMIT), durable=False)
        os.ftruncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)


class _Redacted(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _old_log(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")
