"""The table of the page's statements, held against the page and against the tests that it names."""

from __future__ import annotations

import ast
import re

from tests.e2e.page.blocks_of_the_page import PAGE, files
from tests.source_tree import ROOT

TABLE = ROOT / "docs" / "reference" / "provider-page.md"
_ROW = re.compile(r"^\| (.+?) \| (?:`([^`]+)`)? ?\|$", re.MULTILINE)


def rows():
    """(statement, test) of each row below the head; a heading of the page has no test."""
    return _ROW.findall(TABLE.read_text(encoding="utf-8").partition("|---|---|\n")[2])


def test_every_heading_of_the_page_is_there_in_its_order_with_what_it_states_below_it():
    page = PAGE.read_text(encoding="utf-8")
    headings = [
        f"**{text}**" for text in re.findall(r"^#{1,3} (.+)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), re.MULTILINE)
    ]

    assert [statement for statement, test in rows() if not test] == headings
    followed = [test for (_, before), (_, test) in zip(rows(), rows()[1:], strict=False) if not before]
    assert followed.count("") == 1  # "troubleshooting" is followed by its one part


def test_every_block_of_the_page_has_a_row():
    table = TABLE.read_text(encoding="utf-8")
    assert [path.name for path in files() if f"`{path.name}`" not in table] == []


def test_every_test_that_a_row_names_is_one():
    missing = []
    for _, test in rows():
        path, _, name = test.partition("::")
        if test and name not in {each.name for each in ast.walk(ast.parse((ROOT / path).read_bytes())) if hasattr(each, "name")}:
            missing.append(test)
    assert len(rows()) > 40
    assert missing == []
