from __future__ import annotations

from typing import TYPE_CHECKING

from portico.testing.process import PorticoRunner

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from portico.paths import Paths


def _kept(folder: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()))


def test_a_run_is_a_real_process_with_this_tests_paths(paths: Paths, portico_run: PorticoRunner) -> None:
    result = portico_run("config", "path")
    assert result.returncode == 0
    assert result.stdout.strip() == str(paths.config)


def test_what_a_run_prints_is_kept_apart_for_each_run(paths: Paths, tmp_path: Path) -> None:
    run = PorticoRunner(paths, tmp_path / "kept")
    run("--version")
    run("no-such-command")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    assert "portico 0." in _kept(tmp_path / "kept")
    assert "no-such-command" in _kept(tmp_path / "kept")


def test_the_standard_output_of_a_run_that_prints_a_secret_is_not_kept(paths: Paths, tmp_path: Path) -> None:
    run = PorticoRunner(paths, tmp_path / "kept")
    run("--version", prints_secret=True)
    assert not _kept(tmp_path / "kept")


def test_a_variable_that_is_none_is_taken_away(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMETHING", "here")
    run = PorticoRunner(paths, tmp_path / "kept")
    assert run.environment()["SOMETHING"] == "here"
    assert "SOMETHING" not in run.environment({"SOMETHING": None})
    assert run.environment({"OTHER": "x"})["OTHER"] == "x"
