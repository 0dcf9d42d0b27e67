"""Writes entries into the history of PORTICO_STATE_DIR, each in a separate transaction, after a start signal.

`python -m tests.usage.history_child NAME COUNT`: COUNT 0 goes on until it is killed. Prints how many were written.
"""

from __future__ import annotations

import sys
from itertools import count

from portico.paths import resolve_paths
from portico.usage.entry import Entry, Retention
from portico.usage.history_file import HistoryWriter
from portico.util.clock import SystemClock


def main(name: str, wanted: int) -> None:
    def log(text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def report(text: object) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    written = 0
    with HistoryWriter(resolve_paths(), Retention(), SystemClock(), log) as writer:
        report("ready")
        sys.stdin.readline()
        for number in range(wanted) if wanted else count():
            entry = Entry(at_ms=SystemClock().wall_ms(), model=f"m/{number}", credential="c", client=name, api="a")
            written += writer.write([entry])
            if number == 0:
                report("writing")
    report(written)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
