"""The scan that ends every run finds what it must find: here it is shown a leak of each kind."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import pytest

from portico.testing.canary import canary, find_canaries
from tests import session_rules
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

pytestmark = pytest.mark.requirement("S5")

LEAKS = {
    "file": "def test_it(tmp_path):\n    (tmp_path / 'state.json').write_text(canary('at'))",
    "log": "def test_it():\n    logging.getLogger('portico').error('got %s', canary('rt'))",
    "output": "def test_it():\n    print(canary('code'))",
    "environment": "def test_it():\n    os.environ['LEFT_BEHIND'] = canary('key')",
}


def _run_in_own_session(tmp_path: Path, body: str, env: dict[str, str]) -> CompletedProcess[str]:
    import subprocess
    import sys

    header = "import logging, os\nimport pytest\nfrom portico.testing.canary import canary\n\n"
    (tmp_path / "test_inner.py").write_text(header + textwrap.dedent(body), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(ROOT),
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    command += [
        "--confcutdir",
        str(ROOT),
        "-p",
        "conftest",
        "--basetemp",
        str(tmp_path / "base"),
        str(tmp_path / "test_inner.py"),
    ]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    inherited = {name: value for name, value in os.environ.items() if name != session_rules.NO_SKIP_ENV}
    return subprocess.run(
        command, env={**inherited, "PYTHONPATH": path, **env}, capture_output=True, encoding="utf-8", timeout=60, check=False
    )


@pytest.fixture
def inner_run(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    from portico.testing.canary import exempt

    folder = exempt(tmp_path / "inner")
    folder.mkdir()

    def run(body: str, **env: str) -> CompletedProcess[str]:
        return _run_in_own_session(folder, body, env)

    return run


@pytest.mark.parametrize("kind", LEAKS)
def test_a_run_with_a_leak_is_red_and_names_the_place(kind: str, inner_run: Callable[..., CompletedProcess[str]]) -> None:
    done = inner_run(LEAKS[kind])
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "LEAKED: " in done.stdout


def test_a_run_without_a_leak_is_green(inner_run: Callable[..., CompletedProcess[str]]) -> None:
    done = inner_run("def test_it(tmp_path):\n    (tmp_path / 'a').write_text('nothing here')")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_skip_is_red_where_skips_are_forbidden_and_green_elsewhere(inner_run: Callable[..., CompletedProcess[str]]) -> None:
    body = "@pytest.mark.skip(reason='no such part')\ndef test_it():\n    pass\n\ndef test_other():\n    pass"
    assert inner_run(body).returncode == 0
    red = inner_run(body, PORTICO_NO_SKIP="1")
    assert red.returncode == pytest.ExitCode.TESTS_FAILED
    assert "skips are forbidden here" in red.stdout
    assert "no such part" in red.stdout


def test_output_of_a_portico_process_is_kept_where_the_scan_looks(run_portico, paths, tmp_path: Path) -> None:
    run_portico("--version")
    assert [path.suffix for path in (tmp_path / "outputs").iterdir()] == [".txt"]
    assert find_canaries(tmp_path) == []
    assert canary("at") not in os.environ.values()
