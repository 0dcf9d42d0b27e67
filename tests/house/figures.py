"""What the shape of the house comes to, in figures, and how far each may go: `python -m tests.house` prints the table.

The figures only fall. `MOST` is where they stand, and `test_house.py` keeps them there; `WANTED` is where the redesign takes them
(docs/architecture.md tells the plan). A later feature may raise one by a line here, with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico import plugin_api
from tests.error_ids import ids_by_reporting
from tests.house.plan import house
from tests.house.walks import walks
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES, LINES, SMALL, CIRCLES, TWICE = "files", "lines", "small rooms with one door", "modules in circles", "names in two folders"
IDS, PAGES, API = "ids of errors and findings", "pages about errors", "names for plugin authors"
WALK: Final = "files entered by: {}"


@dataclass(frozen=True)
class Figure:
    """One figure, and what it counts."""

    name: str
    now: int
    counted: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name:36}{self.now:>8}{MOST[self.name]:>8}{WANTED[self.name]:>8}"


def of_the_plan() -> Iterator[Figure]:
    """The figures that are read from the source."""
    plan = house()
    yield Figure(FILES, len(plan.own))
    yield Figure(LINES, sum(plan.lines.values()))
    yield Figure(SMALL, len(plan.small), tuple(plan.small))
    yield Figure(CIRCLES, sum(map(len, plan.circles)), tuple(" ".join(circle) for circle in plan.circles))
    yield Figure(TWICE, len(plan.names_twice), tuple(plan.names_twice))
    yield Figure(IDS, len(ids_by_reporting()[0]))
    yield Figure(PAGES, len(list((ROOT / "docs" / "errors").glob("[a-z]*.md"))))
    yield Figure(API, len(plugin_api.__all__))


def of_the_walks() -> Iterator[Figure]:
    """The figures that commands are run for."""
    yield from (Figure(WALK.format(walk.name), len(walk.files), walk.files) for walk in walks())


# Where the figures stand.
MOST: Final = {
    FILES: 199,
    LINES: 46_842,
    SMALL: 0,
    CIRCLES: 0,
    TWICE: 10,
    IDS: 138,
    PAGES: 105,
    API: 44,
    WALK.format("auth token"): 17,
    WALK.format("config set"): 20,
    WALK.format("gateway request"): 24,
    WALK.format("models list"): 37,
    WALK.format("ask"): 55,
    WALK.format("onboard"): 68,
}
WANTED: Final = {
    FILES: 200,
    LINES: 31_000,
    SMALL: 0,
    CIRCLES: 0,
    TWICE: 10,
    IDS: 100,
    PAGES: 100,
    API: 45,
    WALK.format("auth token"): 16,
    WALK.format("config set"): 20,
    WALK.format("gateway request"): 24,
    WALK.format("models list"): 36,
    WALK.format("ask"): 55,
    WALK.format("onboard"): 65,
}
