"""The SQLite databases that a test opens in this process, and which of them it has left open.

From 3.13 on Python warns of one that the garbage collector finds, during whichever test is running then; here each Python finds it at
the end of the test that has opened it.
"""

from __future__ import annotations

import sqlite3
import sys


class Databases:
    """Notes each connection with the place that made it."""

    def __init__(self) -> None:
        self._opened: list[tuple[sqlite3.Connection, str]] = []
        sys.addaudithook(self._note)

    def unclosed_databases(self) -> list[str]:
        """One line for each connection that was opened since this was asked last and is not closed; it is closed now.

        Else Python would warn of it a second time, in whatever test it is collected.
        """
        opened, self._opened = self._opened, []
        unclosed = [(connection, location) for connection, location in opened if _is_open(connection)]
        for connection, _ in unclosed:
            connection.close()
        return [f"database left open: {location}" for _, location in unclosed]

    def _note(self, event: str, args: tuple[object, ...]) -> None:
        if event == "sqlite3.connect/handle" and isinstance(args[0], sqlite3.Connection):
            caller = sys._getframe(1)
            self._opened.append((args[0], f"{caller.f_code.co_filename}:{caller.f_lineno}"))


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.total_changes  # noqa: B018 - a closed connection refuses even this
    except sqlite3.ProgrammingError:
        return False
    return True
