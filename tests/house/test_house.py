"""The house does not grow: each figure of its shape stays where it is or falls, and where it falls the table follows."""

from __future__ import annotations

from functools import cache

import pytest

from tests.house.figures import LINES, MOST, WANTED, Figure, of_the_plan, of_the_walks
from tests.house.plan import House
from tests.source_tree import modules

WALKS = {name for name in MOST if name.startswith("files entered by")}
PLAN = [name for name in MOST if name not in WALKS]


@cache
def plan() -> dict[str, Figure]:
    """Each figure that is read from the source; a collection of tests does not wait for them."""
    return {figure.name: figure for figure in of_the_plan()}


def test_every_figure_of_the_source_is_read():
    assert list(plan()) == PLAN


@pytest.mark.parametrize("name", PLAN)
def test_the_shape_of_the_source_does_not_grow(name):
    figure = plan()[name]
    assert figure.now <= MOST[figure.name], f"this is more than it was; it counts: {figure.counted}"


@pytest.mark.parametrize("name", PLAN)
def test_a_figure_that_has_fallen_is_written_down(name):
    figure = plan()[name]
    slack = 300 if figure.name == LINES else 0  # a line less in each commit is nothing to write down
    assert MOST[figure.name] - figure.now <= slack, f"write {figure.now} into `MOST` of tests/house/figures.py"


def test_a_command_enters_no_more_files_than_it_did():
    walked = [*of_the_walks()]

    assert {figure.name for figure in walked} == WALKS
    assert {figure.name: figure.now for figure in walked if figure.now > MOST[figure.name]} == {}


def test_every_figure_has_a_place_that_it_is_taken_to():
    assert WANTED.keys() == MOST.keys()


@pytest.fixture
def a_house(tmp_path):
    """One of four rooms: `a` and `b` import each other, `c` is imported for types alone, a table names `d`."""
    texts = {
        "a": "from portico import b",
        "b": "def f():\n    from portico.a import f",
        "c": "from portico import a",
        "d": "if TYPE_CHECKING:\n    from portico.c import X\n\nTABLE = {'d': 'portico.d:run', 'a': 'portico.a'}",
    }
    (tmp_path / "portico" / "sub").mkdir(parents=True)
    for name, text in texts.items():
        (tmp_path / "portico" / f"{name}.py").write_text(text, encoding="utf-8")
    (tmp_path / "portico" / "sub" / "a.py").write_text("x = 1\n" * 60, encoding="utf-8")
    return House(tuple(modules(tmp_path)), ())


def test_rooms_circles_and_names_are_counted_as_they_are_meant(a_house):
    assert a_house.circles == [["portico.a", "portico.b"]]
    assert a_house.names_twice == ["a"]
    assert a_house.importers["portico.a"] == {"portico.b", "portico.c", "portico.d"}
    assert a_house.small == ["portico.b", "portico.c", "portico.d"]
