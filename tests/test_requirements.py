"""`tests/requirements.py` and the tests that claim its entries are held against each other, both ways."""

from __future__ import annotations

from tests.fault_table import NOTES, claims, with_table
from tests.requirements import REQUIREMENTS


def test_every_entry_is_claimed_by_a_test() -> None:
    claimed = claims()
    assert [entry for entry, promise in REQUIREMENTS.items() if promise.why_not is None and entry not in claimed] == []


def test_every_claim_names_an_entry() -> None:
    assert {entry: files for entry, files in claims().items() if entry not in REQUIREMENTS} == {}


def test_an_entry_that_cannot_apply_is_not_claimed() -> None:
    claimed = claims()
    assert [entry for entry, promise in REQUIREMENTS.items() if promise.why_not is not None and entry in claimed] == []


def test_the_security_notes_tell_where_each_fault_is_shown() -> None:
    notes = NOTES.read_text(encoding="utf-8")
    assert notes == with_table(notes), "run `python -m tests.fault_table`"
