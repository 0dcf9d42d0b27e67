"""`make`, and the scripts of `.ci`, on a machine that has little."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from _pytest.mark import Expression, KeywordMatcher, MarkMatcher

from tests import segments
from tests.needs import needs
from tests.session_rules import ELSEWHERE, LEFT_OUT
from tests.source_tree import ROOT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sh, links and modes as POSIX has them")

# One file for each kind of part that a machine may lack.
MAY_LACK_A_PART = (
    "tests/testing/test_secret_service.py",
    "tests/cli/test_completion.py",
    "tests/services/test_service_files.py",
    "tests/e2e/test_chromium.py",
    "tests/e2e/test_independent_server.py",
    "tests/e2e/documents/test_tutorial.py",
)
GIVEN_PACKAGES = ("authlib", "aiohttp", "keyring", "platformdirs", "pluggy", "pytest", "pytest_aiohttp")


@pytest.fixture
def bare(tmp_path):
    """A machine of Python, git, make, sh and coreutils: its PATH, in a folder, and an empty home. `(folder of PATH, environment)`."""
    needs("make", "git")
    folder, home = tmp_path / "bin", tmp_path / "empty-home"
    home.mkdir()
    base = Path(sys.base_prefix, "bin", "python3")
    subprocess.run([ROOT / ".ci" / "bare-path", folder, base], check=True)
    return folder, {"PATH": str(folder), "HOME": str(home)}


def checkout(folder):
    """What `make` reads, in a folder of its own: nobody has run it there yet."""
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.mark.requirement("S10")
@pytest.mark.timeout(180)  # a run of its own, beside others
def test_where_parts_are_missing_the_tests_pass_and_those_that_need_one_are_skipped_by_its_name(bare):
    folder, env = bare
    path = os.pathsep.join([str(ROOT), *(str(source) for source in (ROOT / "src", *ROOT.glob("extensions/*/src")))])

    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *MAY_LACK_A_PART],
        cwd=ROOT,
        env={**env, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )

    assert result.returncode == 0, result.stdout + result.stderr
    reasons = re.findall(r"^SKIPPED \[\d+\] \S+: (.*)$", result.stdout, re.MULTILINE)
    # Some of the given packages are all that there may be.
    by_program = [reason for reason in reasons if reason != "playwright drives the browser"]
    skip_reasons = {
        name for reason in by_program for name in re.fullmatch(r"(\S+(?: and \S+)*) not installed", reason)[1].split(" and ")
    }
    assert {"gnome-keyring-daemon", "dbus-daemon", "bash", "zsh", "fish", "systemd-analyze"} <= skip_reasons
    assert [name for name in skip_reasons if (folder / name).exists()] == []


@pytest.mark.requirement("S12")
@pytest.mark.parametrize("lacking", ["venv", "ensurepip"])
def test_make_names_the_package_at_once_and_makes_nothing_where_python_lacks_venv_or_pip(bare, tmp_path, lacking):
    _, env = bare
    folder, shadow = checkout(tmp_path / "checkout"), tmp_path / "shadow"
    shadow.mkdir()
    for name in (lacking, *GIVEN_PACKAGES):
        (shadow / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n", encoding="utf-8")
    before = sorted(folder.iterdir())

    result = subprocess.run(
        ["make", "test"],
        cwd=folder,
        env={**env, "PYTHONPATH": str(shadow)},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )

    assert (result.returncode, result.stdout) == (2, "")
    assert "apt-get install python3-venv" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Making" not in result.stderr
    assert sorted(folder.iterdir()) == before
    assert sorted(Path(env["HOME"]).iterdir()) == []


@pytest.mark.requirement("S12")
def test_a_python_that_has_the_given_packages_needs_no_venv(bare, tmp_path):
    """It is not asked for what it does not use."""
    _, env = bare
    folder, shadow = checkout(tmp_path / "checkout"), tmp_path / "shadow"
    shadow.mkdir()
    for name in ("venv", "ensurepip"):
        (shadow / f"{name}.py").write_text("raise ImportError\n", encoding="utf-8")
    for name in GIVEN_PACKAGES:
        (shadow / f"{name}.py").touch()

    result = subprocess.run(
        ["make", "--dry-run", "test"],
        cwd=folder,
        env={**env, "PYTHONPATH": str(shadow)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert "python3 -m pytest" in result.stdout


@pytest.mark.requirement("S10")
def test_an_environment_whose_python_is_gone_is_made_anew(bare, tmp_path):
    """As after an upgrade of Python: `venv` fails over a link that leads nowhere."""
    _, env = bare
    folder, shadow = checkout(tmp_path / "checkout"), tmp_path / "shadow"
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    shadow.mkdir()
    for name in GIVEN_PACKAGES:
        (shadow / f"{name}.py").write_text(f"raise ImportError('no {name} here')\n", encoding="utf-8")

    command = ["make", "--dry-run", "test"]
    result = subprocess.run(
        command, cwd=folder, env={**env, "PYTHONPATH": str(shadow)}, capture_output=True, text=True, check=False
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert 0 < result.stdout.index("rm -rf .venv") < result.stdout.index("-m venv .venv")


def _cuts_bodies(module):
    return getattr(module, "cuts", None) is segments.cuts or getattr(module, "failures", None) is segments.failures


def test_what_make_test_leaves_out_or_samples_another_target_runs(bare, request):
    """Of the tests of this run: with a mark of `ELSEWHERE`, or in a module that cuts bodies. `.ci/run` has `make interop`."""
    _, env = bare
    selections = {}
    for target in ("test", "interop", "chaos", "soak"):
        command = ["make", "--dry-run", target, "PYTHON=python3"]
        shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
        selections[target] = dict(pairwise(shlex.split(shown.replace("\\\n", ""))))

    def is_run(item, target):
        options = selections[target]
        by_mark = Expression.compile(options["-m"]).evaluate(MarkMatcher.from_markers(item.iter_markers()))
        by_name = "-k" not in options or Expression.compile(options["-k"]).evaluate(KeywordMatcher.from_item(item))
        return by_mark and by_name

    assert {"interop", "slow"} == ELSEWHERE
    assert (selections["test"]["-m"], "-k" in selections["test"]) == ("pytest", False)
    left_out = request.config.stash[LEFT_OUT]
    assert [item.nodeid for item in left_out if not (is_run(item, "interop") or is_run(item, "chaos"))] == []
    assert [item.nodeid for item in left_out if not (is_run(item, "interop") or is_run(item, "soak"))] == []
    sampled = [item for item in request.session.items if _cuts_bodies(getattr(item, "module", None))]
    assert [item.nodeid for item in sampled if not is_run(item, "chaos")] == []
    assert "PORTICO_NO_SKIP=1 make interop" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def fake_python(path, version, implementation="cpython", *, works=True):
    """Something in the place of a Python: what it prints when it is asked for its version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new_enough = implementation == "cpython" and tuple(map(int, version.split("."))) >= (3, 11)
    path.write_text(
        f"#!/bin/sh\n{f'echo {version} {path}' if new_enough else ':'}\nexit {0 if works else 127}\n", encoding="utf-8"
    )
    path.chmod(0o755)


@pytest.mark.requirement("S13")
def test_every_cpython_of_path_and_of_pyenv_is_found_once_by_its_minor_version(bare, tmp_path):
    folder, env = bare
    (folder / "python3").unlink()
    versions = tmp_path / "empty-home" / ".pyenv" / "versions"
    fake_python(folder / "python3", "3.12")
    fake_python(folder / "python3.13", "3.13", works=False)  # the shim of a version that is not chosen
    fake_python(versions / "3.10.4" / "bin" / "python3", "3.10")
    fake_python(versions / "3.11.7" / "bin" / "python3", "3.11")
    fake_python(versions / "3.12.1" / "bin" / "python3", "3.12")
    fake_python(versions / "3.13.0" / "bin" / "python3", "3.13")
    fake_python(versions / "pypy3.11" / "bin" / "python3", "3.11", "pypy")

    def found(**more):
        result = subprocess.run([ROOT / ".ci" / "pythons"], env={**env, **more}, capture_output=True, text=True, check=True)
        return dict(line.split(" ", 1) for line in result.stdout.splitlines())

    assert found() == {
        "3.11": str(versions / "3.11.7" / "bin" / "python3"),
        "3.12": str(folder / "python3"),
        "3.13": str(versions / "3.13.0" / "bin" / "python3"),
    }
    assert found(PYENV_ROOT=str(tmp_path / "nowhere")) == {"3.12": str(folder / "python3")}


@pytest.mark.requirement("S13")
def test_the_real_one_is_found_and_every_version_that_is_promised_is_looked_for(bare):
    pytest.importorskip("ensurepip", reason="python3-venv not installed")
    _, env = bare
    result = subprocess.run([ROOT / ".ci" / "pythons"], env=env, capture_output=True, text=True, check=True)
    ((version, _, path),) = (line.partition(" ") for line in result.stdout.splitlines())
    assert version == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert Path(path).resolve() == Path(sys.base_prefix, "bin", "python3").resolve()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r":: 3\.\d+$", each)]
    assert promised[0] == project["requires-python"].removeprefix(">=")
    assert 'fresh "$version" "$python"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
