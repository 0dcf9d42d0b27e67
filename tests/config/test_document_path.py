from __future__ import annotations

import pytest

from portico.config.document import format_path, parse_path
from portico.errors import UsageError


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        (r"models.minimax/MiniMax-M2\.1.alias", ("models", "minimax/MiniMax-M2.1", "alias")),
        (r"a\[0\]\\", ("a[0]\\",)),
        ("[0]", (0,)),
        ("a[0][1]", ("a", 0, 1)),
    ],
)
def test_a_path_reads_as_it_is_written(text, path):
    assert parse_path(text) == path
    assert parse_path(format_path(path)) == path


def test_a_key_with_dots_may_stand_in_quotes():
    assert parse_path('models["minimax/MiniMax-M2.1"].alias') == ("models", "minimax/MiniMax-M2.1", "alias")
    assert parse_path(format_path(("a", "", "b"))) == ("a", "", "b")


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a]", "a[0]b", "a\\"])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(UsageError) as exc_info:
        parse_path(text)
    assert exc_info.value.id == "usage"
