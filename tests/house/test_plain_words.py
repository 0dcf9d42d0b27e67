"""What docs/glossary.md leaves behind stays behind."""

from __future__ import annotations

from tests.house.plain_words import ALLOWED, left_behind, remaining


def test_words_and_phrases_that_were_left_behind_do_not_come_back() -> None:
    places = remaining()

    assert not places, "\n".join(map(str, places))


def test_every_exception_is_still_needed() -> None:
    found = list(left_behind())

    assert [
        (end, words)
        for end, words in ALLOWED
        if not any(each.words == words and each.path.as_posix().endswith(end) for each in found)
    ] == []
