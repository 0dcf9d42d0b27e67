"""A database that is left open is found with the test that has opened it, on every Python."""

from __future__ import annotations

import re

import pytest

from tests import inner_run

pytestmark = pytest.mark.requirement("S13")

BODY = """
    from contextlib import closing
    kept = []

    def test_that_closes_it(tmp_path):
        with closing(sqlite3.connect(tmp_path / "a")) as database:
            database.execute("select 1")

    def test_that_lets_it_go(tmp_path):
        with sqlite3.connect(tmp_path / "a") as database:  # this ends a transaction, and closes nothing
            database.execute("select 1")

    def test_that_keeps_it(tmp_path):
        kept.append(sqlite3.connect(tmp_path / "a"))

    @pytest.fixture
    def database(tmp_path):
        with closing(sqlite3.connect(tmp_path / "a")) as database:
            yield database

    def test_whose_fixture_closes_it(database):
        pass

    def test_that_ends_the_run():
        for each in kept:
            each.close()
"""


def test_it_is_the_error_of_the_test_that_has_opened_it_and_names_the_place(tmp_path):
    result = inner_run.run(tmp_path, BODY)

    location = rf"database left open: {re.escape(str(tmp_path / 'test_inner.py'))}:(\d+)"
    assert result.returncode == pytest.ExitCode.TESTS_FAILED
    assert "5 passed" in result.stdout
    assert "2 errors" in result.stdout
    assert len(set(re.findall(location, result.stdout))) == 2
    for name in ("test_that_lets_it_go", "test_that_keeps_it"):
        assert f"ERROR at teardown of {name} " in result.stdout
