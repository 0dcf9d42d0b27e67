"""`tests/requirements.py` and the tests that claim its entries are held against each other, both ways."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from tests.fault_table import NOTES, claims, claims_in, files_of_tests, with_table
from tests.requirements import REQUIREMENTS
from tests.session_rules import ELSEWHERE

if TYPE_CHECKING:
    from pathlib import Path

# Entries that only `make interop` shows, and why.
ONLY_ELSEWHERE: Final = {"E180": "the clients are what others wrote"}


def test_every_entry_is_claimed_by_a_test() -> None:
    claimed = claims()
    assert [entry for entry, promise in REQUIREMENTS.items() if promise.why_not is None and entry not in claimed] == []


def test_make_test_shows_every_entry_but_those_that_need_what_others_wrote() -> None:
    shown = {entry for path in files_of_tests() for entry in _claims_in_make_test(path)}
    assert {*claims()} - shown == {*ONLY_ELSEWHERE}


def _claims_in_make_test(path: Path) -> set[str]:
    """The entries that a test of the file claims which `make test` does not leave out."""
    tree = ast.parse(path.read_bytes())
    marks = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"]
    if any(map(_is_elsewhere, marks)):
        return set()
    tree.body = [node for node in tree.body if not any(map(_is_elsewhere, getattr(node, "decorator_list", ())))]
    has_tests = any(getattr(node, "name", "").lower().startswith("test") for node in tree.body)
    return {*claims_in(tree, path)} if has_tests else set()


def _is_elsewhere(mark: ast.expr) -> bool:
    """Whether `make test` leaves out what has this mark, or one of this list of marks; a mark of single cases does not count."""
    marks = mark.elts if isinstance(mark, ast.List) else [mark]
    return any(ast.unparse(each).partition("(")[0] in {f"pytest.mark.{name}" for name in ELSEWHERE} for each in marks)


def test_every_claim_names_an_entry() -> None:
    assert {entry: files for entry, files in claims().items() if entry not in REQUIREMENTS} == {}


def test_an_entry_that_cannot_apply_is_not_claimed() -> None:
    claimed = claims()
    assert [entry for entry, promise in REQUIREMENTS.items() if promise.why_not is not None and entry in claimed] == []


def test_the_security_notes_tell_where_each_fault_is_shown() -> None:
    notes = NOTES.read_text(encoding="utf-8")
    assert notes == with_table(notes), "run `python -m tests.fault_table`"
