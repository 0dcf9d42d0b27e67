"""The command `python -m portico`."""

import os
import sys


def _leave_current_folder() -> None:
    """Remove the current folder, which `python -m` puts first, from the import path. The `src` folder of a checkout stays.

    Then a `json.py` in the current folder cannot replace the real module. A `portico.py` there still runs in place of this
    module. The `portico` script does not have this problem.
    """
    try:
        current = os.getcwd()  # noqa: PTH109 - before `pathlib` is imported
    except OSError:
        current = ""  # the folder was deleted or cannot be read, so Python cannot import from it
    source = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if not sys.flags.safe_path and sys.path and sys.path[0] in {"", current} and source != current:
        del sys.path[0]


if __name__ == "__main__":
    _leave_current_folder()
    from portico.cli.main import run

    run()
