"""The table of faults in `docs/security.md`, made from `tests/requirements.py` and the tests that claim its entries.

`python -m tests.fault_table` writes it; `tests/test_requirements.py` fails while it is out of date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.requirements import REQUIREMENTS
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

NOTES: Final = ROOT / "docs" / "security.md"
BEGIN: Final = "<!-- faults: python -m tests.fault_table -->"
END: Final = "<!-- end of faults -->"


@cache
def claims() -> dict[str, list[str]]:
    """Entry -> the files with tests that claim it by `pytest.mark.requirement`, in order."""
    claimed_by: dict[str, set[str]] = defaultdict(set)
    for path in files_of_tests():
        for entry in claims_in(ast.parse(path.read_bytes()), path):
            claimed_by[entry].add(path.relative_to(ROOT).as_posix())
    return {entry: sorted(files) for entry, files in claimed_by.items()}


def table() -> str:
    """The rows for every fault (`E...`), in the order of the list."""
    claimed = claims()
    rows = ["| fault | known from | what happens | shown by |", "|---|---|---|---|"]
    for entry, promise in REQUIREMENTS.items():
        if entry.startswith("E"):
            cell = promise.why_not or ", ".join(f"`{file}`" for file in claimed.get(entry, []))
            rows.append(f"| {entry} | {promise.source} | {promise.behaviour} | {cell} |")
    return "\n".join(rows)


def with_table(notes: str) -> str:
    """`notes` with the table between its two marks renewed."""
    return re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n{table()}\n{END}", notes, flags=re.DOTALL)


def files_of_tests() -> Iterator[Path]:
    """Every module with tests, of the host and of the plugins."""
    for folder in (ROOT / "tests", *sorted(ROOT.glob("extensions/*/tests"))):
        yield from sorted(folder.rglob("test_*.py"))


def claims_in(tree: ast.AST, path: Path) -> Iterator[str]:
    """The entries that marks in `tree`, a part of the file `path`, claim."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}: an entry is named by a plain string"
                yield str(argument.value)


if __name__ == "__main__":
    NOTES.write_text(with_table(NOTES.read_text(encoding="utf-8")), encoding="utf-8")
