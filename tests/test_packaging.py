"""What the wheels and the source distribution hold: all of Portico and its bundled plugins, and nothing of the workshop."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest

import portico
from tests.needs import needs
from tests.source_tree import PLUGINS, ROOT

PLUGIN = ROOT / "extensions" / "minimax-portal-auth"
# What stands at the top of the source distribution: all that builds, types and tests Portico.
FOLDERS: Final = frozenset({"src", "extensions", "tests", "benchmarks", "docs", ".ci"})
DOCUMENTS: Final = frozenset({"README.md", "CHANGELOG.md", "THREAT_MODEL.md", "LICENSE"})
SETTINGS: Final = frozenset({"pyproject.toml", "conftest.py", "Makefile", "constraints.txt", "requirements.lock", ".gitignore"})


@pytest.fixture(scope="module")
def host_wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return _build(ROOT, tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def plugin_wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return _build(PLUGIN, tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def source_distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution of the host."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(_hatch(ROOT, folder, "sdist")) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = (path for path in folder.iterdir() if path.is_dir())
    return unpacked


def _build(project: Path, folder: Path) -> list[str]:
    return sorted(_contents(_hatch(project, folder, "wheel")))


def _hatch(project: Path, folder: Path, target: str) -> Path:
    pytest.importorskip("hatchling", reason="hatchling, the build backend, is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=project, check=True, capture_output=True, timeout=60)
    (built,) = (path for path in folder.iterdir() if path.is_file())
    return built


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _files(source: Path) -> set[str]:
    files = (path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(source).as_posix() for path in files}


def test_the_host_wheel_holds_every_file_of_the_host_and_of_its_bundled_plugins(host_wheel: list[str]) -> None:
    bundled = {f"portico/_bundled/{name}" for source in PLUGINS for name in _files(source)}
    assert {
        "portico/_bundled/minimax_portal_auth/portico.plugin.json",
        "portico/_bundled/minimax_portal_auth/py.typed",
    } <= bundled
    pages = {f"portico/_errors/{name}" for name in _files(ROOT / "docs" / "errors")}
    expected = _files(ROOT / "src") | bundled | pages
    assert {name for name in host_wheel if ".dist-info/" not in name} == expected, "pyproject.toml: force-include"
    assert "portico/py.typed" in host_wheel
    assert any(name.endswith("licenses/LICENSE") for name in host_wheel)


def test_the_host_wheel_holds_code_manifests_and_error_pages_and_no_other_kind_of_file(host_wheel: list[str]) -> None:
    packed = [Path(name) for name in host_wheel if ".dist-info/" not in name]
    others = [path for path in packed if path.suffix != ".py" and path.name not in {"py.typed", "portico.plugin.json"}]
    assert {(path.parent.as_posix(), path.suffix) for path in others} == {("portico/_errors", ".md")}
    assert [path for path in packed if path.name.startswith(("test_", "conftest")) or path.parts[0] != "portico"] == []


def test_the_source_distribution_holds_what_builds_and_tests_portico_and_nothing_that_git_ignores(
    source_distribution: Path,
) -> None:
    packed = {path.relative_to(source_distribution).as_posix() for path in source_distribution.rglob("*") if path.is_file()}
    assert {name.split("/")[0] for name in packed} == {*FOLDERS, *DOCUMENTS, *SETTINGS, "PKG-INFO"}
    assert {f"{source.relative_to(ROOT).as_posix()}/{name}" for source in PLUGINS for name in _files(source)} <= packed
    if not (ROOT / ".git").exists():
        return
    needs("git")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    known = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout.split("\0")
    assert packed - {"PKG-INFO", *known} == set()


def test_the_source_distribution_builds_the_same_wheel(source_distribution: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    there = _contents(_hatch(source_distribution, tmp_path / "there", "wheel"))
    assert there == _contents(_hatch(ROOT, tmp_path / "here", "wheel"))


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


# --- a second plugin: a folder under `extensions`, and one line of pyproject.toml that lets the wheel carry it ------------------


@pytest.fixture
def two_plugins(tmp_path: Path) -> Path:
    """A copy of the checkout in which `extensions/acme-auth` stands beside the plugin that is there."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "extensions", checkout / "extensions", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "Makefile", "README.md", "LICENSE", ".gitignore", "conftest.py"):
        shutil.copy(ROOT / name, checkout)
    for name in ("src", "docs/errors", ".ci"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "tests").mkdir()
    for path in (ROOT / "tests").glob("*.py"):
        if not path.name.startswith("test_"):
            shutil.copy(path, checkout / "tests")
    acme = checkout / "extensions" / "acme-auth"
    shutil.copytree(PLUGIN, acme, ignore=shutil.ignore_patterns("__pycache__", "tests", "minimax_portal_auth"))
    project = acme / "pyproject.toml"
    text = (
        project.read_text(encoding="utf-8")
        .replace("minimax_portal_auth", "acme_auth")
        .replace("minimax-portal-auth", "acme-auth")
    )
    project.write_text(text, encoding="utf-8")
    package = acme / "src" / "acme_auth"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Acme."""\n', encoding="utf-8")
    (package / "portico.plugin.json").write_text("{}", encoding="utf-8")
    (acme / "tests").mkdir()
    return checkout


def _run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, encoding="utf-8", timeout=110, check=False)


def _make(checkout: Path, *words: str) -> str:
    """What `make` runs for `words`, with the Python of this test."""
    needs("make")
    return _run(checkout, "make", "--dry-run", f"PYTHON={sys.executable}", *words).stdout


def test_a_second_plugin_is_linted(two_plugins: Path) -> None:
    pytest.importorskip("ruff", reason="ruff is not installed")
    (two_plugins / "extensions/acme-auth/src/acme_auth/plugin.py").write_text('"""Acme."""\n\nimport os\n', encoding="utf-8")
    assert "-m ruff check ." in _make(two_plugins, "lint")
    done = _run(two_plugins, sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise", "extensions")
    assert "extensions/acme-auth/src/acme_auth/plugin.py:3:8: F401" in done.stdout


def test_a_second_plugin_is_typed(two_plugins: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    # The host itself is typed by `make lint`; here it would take a minute.
    shutil.rmtree(two_plugins / "src")
    shutil.rmtree(two_plugins / "extensions" / "minimax-portal-auth")
    host, package = two_plugins / "src" / "portico", two_plugins / "extensions" / "acme-auth" / "src" / "acme_auth"
    host.mkdir(parents=True)
    (host / "__init__.py").write_text("NUMBER: int = 1\n", encoding="utf-8")
    (package / "names.py").write_text("TEXT: str = 'text'\n", encoding="utf-8")
    (package / "plugin.py").write_text(
        "from acme_auth.names import TEXT\nfrom portico import NUMBER\n\nwrong: list[str] = [TEXT, NUMBER]\n", encoding="utf-8"
    )
    assert _make(two_plugins, "lint").splitlines()[2].endswith("-m mypy")
    done = _run(two_plugins, sys.executable, "-m", "mypy", "--no-incremental")
    assert re.findall(r"^(\S+): error: (.*)$", done.stdout, re.MULTILINE) == [
        ("extensions/acme-auth/src/acme_auth/plugin.py:4", 'List item 1 has incompatible type "int"; expected "str"  [list-item]')
    ]


def test_a_second_plugin_is_tested(two_plugins: Path) -> None:
    test = "from acme_auth import __doc__\n\n\ndef test_acme_is_found_in_the_checkout():\n    assert __doc__ == 'Acme.'\n"
    (two_plugins / "extensions/acme-auth/tests/test_acme.py").write_text(test, encoding="utf-8")
    assert "extensions/acme-auth/src" in _make(two_plugins, "test").partition(" -m pytest")[0]
    done = _run(two_plugins, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "acme")
    assert re.search(r"^1 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr


@pytest.mark.skipif(os.name != "posix", reason="a script of bash")
def test_a_second_plugin_is_built_by_itself_and_into_the_hosts_wheel_by_one_line(two_plugins: Path, tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, the build backend, is not installed")
    needs("bash")
    project = two_plugins / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    (line,) = re.findall(r'^"extensions/.*\n', text, re.MULTILINE)
    assert [text.count(name) for name in ("minimax-portal-auth", "minimax_portal_auth")] == [1, 2]
    more = line.replace("minimax-portal-auth", "acme-auth").replace("minimax_portal_auth", "acme_auth")
    project.write_text(text.replace(line, line + more), encoding="utf-8")
    python = two_plugins / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    # The step of .ci/run alone.
    step = f'set -eu; work="{tmp_path}"; eval "$(sed -n "/^build_wheels() /,/^}}/p" .ci/run)"; build_wheels'
    done = _run(two_plugins, "bash", "-c", step)
    assert done.returncode == 0, done.stderr
    built = {path.name.split("-")[0]: path for path in (tmp_path / "dist").glob("*.whl")}
    assert built.keys() == {"portico", "minimax_portal_auth", "acme_auth"}
    assert "acme_auth/portico.plugin.json" in _contents(built["acme_auth"])
    assert "portico/_bundled/acme_auth/portico.plugin.json" in _contents(built["portico"])
