"""Calls that may never come back, made on daemon threads with a deadline.

A locked Secret Service collection blocks its caller for as long as nobody answers the prompt, and a thread of the default
executor would keep the interpreter from exiting; a daemon thread does not.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds that a keyring may take: to read, to write, and for either when it is waiting for a person to answer a prompt."""

    read_s: float = 3.0
    write_s: float = 10.0
    prompt_s: float = 60.0


class DeadlinePassed(Exception):
    """The call has not come back; `worker` is still in it. Never leaves the store: there it becomes a StoreError."""

    def __init__(self, worker: threading.Thread, seconds: float) -> None:
        super().__init__(f"no answer within {seconds:g} s")
        self.worker = worker


class _Worker(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._result: T
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="portico-keyring", daemon=True)

    def _run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:  # noqa: BLE001 - re-raised in the calling thread, whatever it is
            self._error = error

    def outcome(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result


def call_with_deadline(call: Callable[[], T], seconds: float, *, more: Callable[[], float] = lambda: 0.0) -> T:
    """What `call` returns or raises, if it does so within `seconds`.

    `more` is asked at the deadline for how many further seconds to wait.

    Raises:
        DeadlinePassed: the call is still going on.
    """
    worker = _Worker(call)
    worker.thread.start()
    worker.thread.join(seconds)
    if worker.thread.is_alive():
        extra = more()
        worker.thread.join(extra)
        if worker.thread.is_alive():
            raise DeadlinePassed(worker.thread, seconds + extra)
    return worker.outcome()
