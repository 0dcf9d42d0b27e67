"""The scan that ends every run finds what it must find: here it is shown a leak of each kind."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from portico.testing.canary import canary, find_canaries
from tests.inner_run import run as run_inside
from tests.leftover_processes import leftover_processes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from subprocess import CompletedProcess

pytestmark = pytest.mark.requirement("S5")

LEAKS = """
def test_a_file(tmp_path):
    (tmp_path / "state.json").write_text(canary("file"))

def test_a_log():
    logging.getLogger("portico").error("got %s", canary("log"))

def test_an_output():
    print(canary("output"))

def test_an_environment():
    os.environ["LEFT_BEHIND"] = canary("environment")
"""
CLEAN = """
def test_it(tmp_path):
    (tmp_path / "a").write_text("nothing here")

@pytest.mark.skip(reason="no such part")
def test_skipped():
    pass
"""


@pytest.fixture
def inner_run(tmp_path: Path) -> Callable[..., CompletedProcess[str]]:
    from portico.testing.canary import exempt

    folder = exempt(tmp_path / "inner")
    folder.mkdir()

    def run(body: str, **env: str) -> CompletedProcess[str]:
        return run_inside(folder, body, **env)

    return run


def test_a_run_with_leaks_is_red_and_names_each_place(inner_run: Callable[..., CompletedProcess[str]]) -> None:
    result = inner_run(LEAKS)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout + result.stderr
    assert "4 passed" in result.stdout
    leaked = [line for line in result.stdout.splitlines() if line.startswith("LEAKED: ")]
    assert any("state.json: CANARY-file-" in line for line in leaked)
    assert any("portico-debug.log: CANARY-log-" in line for line in leaked)
    assert any("test_an_output: captured output: CANARY-output-" in line for line in leaked)
    assert "LEAKED: environment: LEFT_BEHIND" in leaked


def test_a_skip_is_red_where_skips_are_forbidden_and_green_elsewhere(inner_run: Callable[..., CompletedProcess[str]]) -> None:
    green = inner_run(CLEAN)
    assert green.returncode == 0, green.stdout + green.stderr
    red = inner_run(CLEAN, PORTICO_NO_SKIP="1")
    assert red.returncode == pytest.ExitCode.TESTS_FAILED
    assert "skips are forbidden here" in red.stdout
    assert "no such part" in red.stdout


def test_output_of_a_portico_process_is_kept_where_the_scan_looks(portico_run, paths, tmp_path: Path) -> None:
    portico_run("--version")
    assert [path.suffix for path in (tmp_path / "outputs").iterdir()] == [".txt"]
    assert find_canaries(tmp_path) == []
    assert canary("at") not in os.environ.values()


@pytest.mark.linux
def test_a_process_that_a_test_leaves_running_is_found_and_one_that_has_ended_is_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tests.leftover_processes._MAX_WAIT_S", 0.0)
    process = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], "PORTICO_STATE_DIR": str(tmp_path)})
    try:
        deadline = time.monotonic() + 10  # a process shows its environment a moment after it has begun
        while not (listed := leftover_processes(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert listed == [f"left running: {process.pid}: sleep 60 ; "]
    finally:
        process.kill()
        process.wait()
    assert leftover_processes(tmp_path) == []
