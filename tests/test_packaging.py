"""What the wheels hold: all of Portico and its bundled plugin, and nothing of the workshop."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from typing import TYPE_CHECKING

import pytest

import portico
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = ROOT / "extensions" / "minimax-portal-auth"


@pytest.fixture(scope="module")
def host_wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return _build(ROOT, tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def plugin_wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return _build(PLUGIN, tmp_path_factory.mktemp("plugin"))


def _build(project: Path, folder: Path) -> list[str]:
    pytest.importorskip("hatchling", reason="hatchling, the build backend, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _files(source: Path) -> set[str]:
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(source).as_posix() for path in files}


def test_the_host_wheel_holds_every_file_of_the_host_and_of_its_bundled_plugin(host_wheel: list[str]) -> None:
    bundled = {f"portico/_bundled/{name}" for name in _files(PLUGIN / "src")}
    assert {
        "portico/_bundled/minimax_portal_auth/portico.plugin.json",
        "portico/_bundled/minimax_portal_auth/py.typed",
    } <= bundled
    pages = {f"portico/_errors/{name}" for name in _files(ROOT / "docs" / "errors")}
    expected = _files(ROOT / "src") | bundled | pages
    assert {name for name in host_wheel if ".dist-info/" not in name} == expected
    assert "portico/py.typed" in host_wheel
    assert any(name.endswith("licenses/LICENSE") for name in host_wheel)


def test_the_plugin_wheel_holds_its_manifest_and_no_copy_of_the_host(plugin_wheel: list[str]) -> None:
    assert {name for name in plugin_wheel if ".dist-info/" not in name} == _files(PLUGIN / "src")
    assert "minimax_portal_auth/portico.plugin.json" in plugin_wheel


def test_the_plugin_asks_for_a_range_of_hosts_that_holds_this_one() -> None:
    (requirement,) = tomllib.loads((PLUGIN / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    files = re.fullmatch(r"portico>=(\d+)\.(\d+),<(\d+)\.(\d+)", requirement)
    assert files is not None
    low, high = tuple(map(int, files.groups()[:2])), tuple(map(int, files.groups()[2:]))
    assert low <= tuple(map(int, portico.__version__.split(".")[:2])) < high


def test_the_host_does_not_depend_on_the_plugin_by_name() -> None:
    # A name that is not ours on a package index would then be installed from there.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert not [each for each in project["dependencies"] if "minimax" in each]


def test_python_dash_m_answers_from_a_checkout() -> None:
    command = [sys.executable, "-m", "portico", "--version"]
    result = subprocess.run(command, cwd=ROOT / "src", capture_output=True, encoding="utf-8", timeout=30, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, f"portico {portico.__version__}")
