"""`tests/requirements.py` and the tests that claim its entries are held against each other, both ways."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.requirements import REQUIREMENTS
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _test_files() -> Iterator[Path]:
    for folder in (ROOT / "tests", *sorted(ROOT.glob("extensions/*/tests"))):
        yield from sorted(folder.rglob("test_*.py"))


def _claims_in(path: Path) -> Iterator[tuple[str, str]]:
    """(entry, file:line) of every `pytest.mark.requirement("...")` in `path`, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"{path}:{node.lineno}: an entry is named by a plain string"
                yield str(argument.value), f"{path.relative_to(ROOT)}:{node.lineno}"


def _claims() -> dict[str, list[str]]:
    claims: dict[str, list[str]] = defaultdict(list)
    for path in _test_files():
        for entry, where in _claims_in(path):
            claims[entry].append(where)
    return claims


def test_every_entry_is_claimed_by_a_test() -> None:
    claimed = _claims()
    assert [entry for entry, promise in REQUIREMENTS.items() if promise.why_not is None and entry not in claimed] == []


def test_every_claim_names_an_entry() -> None:
    assert {entry: where for entry, where in _claims().items() if entry not in REQUIREMENTS} == {}


def test_an_entry_that_cannot_apply_is_not_claimed_and_stands_in_the_security_notes() -> None:
    notes = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    excused = [entry for entry, promise in REQUIREMENTS.items() if promise.why_not is not None]
    assert [entry for entry in excused if entry in _claims() or not re.search(rf"\b{entry}\b", notes)] == []


def test_every_fault_is_in_the_security_notes() -> None:
    notes = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    assert [entry for entry in REQUIREMENTS if entry.startswith("E") and not re.search(rf"\b{entry}\b", notes)] == []
