"""The table of moves in docs/architecture.md is true: each module of the source has its place in it, once."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from tests.source_tree import HOST, ROOT

_ROW: Final = re.compile(r"^\| `([\w/.]+)` \| ([^|]*) \| (open|done|stays) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A file or a folder of the new house, the modules that go into it, and how far that is."""

    place: str
    sources: tuple[str, ...]
    state: str

    def holds(self, module: str) -> bool:
        return module.startswith(self.place) if self.place.endswith("/") else f"{module}.py" == self.place


def rows() -> list[Row]:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Where each module goes")[2]
    found = _ROW.findall(text.partition("\n## ")[0])
    return [
        Row(place, tuple(each.split()[0] for each in sources.split(", ") if each != "(new)"), state)
        for place, sources, state in found
    ]


def modules() -> set[str]:
    """The modules as the table names them: `store/vault`; packages have no row of their own."""
    root = HOST / "portico"
    return {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.py") if path.stem != "__init__"}


def test_each_module_has_its_place():
    table, there = rows(), modules()
    waiting = {source for row in table if row.state != "done" for source in row.sources}
    placed = {module for module in there for row in table if row.holds(module)}

    assert len(table) > 100
    assert there - waiting - placed == set()


def test_no_module_goes_to_two_places():
    assert [source for source, times in Counter(source for row in rows() for source in row.sources).items() if times > 1] == []


def test_what_is_open_is_still_there_and_what_is_done_has_gone():
    there = modules()
    for row in rows():
        left = {source for source in row.sources if source in there and not row.holds(source)}
        is_open = bool(left) or not any(row.holds(module) for module in there)
        assert (row.state == "open") == is_open, (row, left)
