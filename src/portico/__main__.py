"""`python -m portico`."""

import os
import sys


def _leave_current_folder() -> None:
    """Take the current folder off the import path, where Python's `-m` puts it first; a checkout's own `src` stays.

    Every import after this one finds the real library and not a `json.py` of the folder. What Python has imported before this
    line cannot be undone: a `portico.py` there has run in this module's place. The `portico` script has no such folder.
    """
    try:
        current = os.getcwd()  # noqa: PTH109 - before `pathlib` is imported
    except OSError:
        current = ""  # the folder was deleted, or may not be looked at; nothing can be imported from it by that name
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if not sys.flags.safe_path and sys.path and sys.path[0] in {"", current} and source != current:
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_folder()
    from portico.cli.main import run

    run()
