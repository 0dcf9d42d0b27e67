"""A run of pytest inside a test, under the rules of this repository: for the tests of these rules."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Final

from tests.session_rules import NO_SKIP_ENV
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

_HEADER: Final = (
    "import logging, os, socket, sqlite3, subprocess, sys\nimport pytest\nfrom portico.testing.canary import canary\n\n"
)
_OPTIONS: Final = ("-q", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"))


def command(folder: Path, body: str) -> list[str]:
    """What runs the tests in `body`, which may use what the header imports."""
    (folder / "test_inner.py").write_text(_HEADER + textwrap.dedent(body), encoding="utf-8")
    conftest = ("--confcutdir", str(ROOT), "-p", "conftest", "--basetemp", str(folder / "base"))
    return [sys.executable, "-m", "pytest", *_OPTIONS, *conftest, str(folder / "test_inner.py")]


def environment(**more: str) -> dict[str, str]:
    """This process's, as a user's shell would have it: of the outer run it shows nothing."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_") and name != NO_SKIP_ENV}
    return {**variables, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), **more}


def run(folder: Path, body: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in `body` to their end."""
    return subprocess.run(
        command(folder, body), env=environment(**env), capture_output=True, encoding="utf-8", timeout=60, check=False
    )
