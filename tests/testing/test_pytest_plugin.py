"""The fixtures for plugin authors: a line of theirs brings them in, and no other run of pytest loads anything of Portico."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from tests.source_tree import HOST, ROOT

if TYPE_CHECKING:
    from pathlib import Path

_LOADED = """
import sys
def test_it():
    assert [name for name in sys.modules if name.partition(".")[0] == "portico"] == []
"""
_FIXTURES = """
def test_it(portico_paths, portico_clock, tmp_path, request):
    assert portico_paths.config.is_relative_to(tmp_path)
    assert portico_clock.wall_ms() > 0
    assert request.config.pluginmanager.has_plugin("portico.testing.pytest_plugin")
"""


def _pytest(folder: Path, **files: str) -> str:
    """What pytest prints in a folder of its own with these files."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(HOST), "PYTEST_ADDOPTS": ""}
    result = subprocess.run(command, cwd=folder, env=env, capture_output=True, encoding="utf-8", timeout=60, check=False)
    return result.stdout + result.stderr


@pytest.fixture
def installed_anew() -> None:
    if any(each.value.startswith("portico.") for each in entry_points(group="pytest11")):
        pytest.skip("an earlier Portico, whose fixtures were an entry point, is installed here: install this one anew")


def test_the_project_has_no_entry_point_for_pytest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "pytest11" not in project.get("entry-points", {})


@pytest.mark.usefixtures("installed_anew")
def test_a_plain_pytest_loads_nothing_of_portico(tmp_path: Path) -> None:
    assert "1 passed" in _pytest(tmp_path, test_plain=_LOADED)


@pytest.mark.usefixtures("installed_anew")
def test_a_line_in_the_conftest_brings_the_fixtures(tmp_path: Path) -> None:
    line = 'pytest_plugins = ["portico.testing.pytest_plugin"]\n'
    assert "1 passed" in _pytest(tmp_path, conftest=line, test_plugin=_FIXTURES)
