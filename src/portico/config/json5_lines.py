"""Lines of a text, as editors count them: LF, CRLF or CR ends one, and a byte order mark is not part of the first."""

from __future__ import annotations

import re
from typing import Final

from portico.config.json5_tokens import trivia_end

_BOM: Final = "\ufeff"
_NEWLINE: Final = re.compile(r"\r\n|\n|\r")
_SAME_LINE_COMMENT: Final = re.compile(r"[ \t]*+(?://[^\n\r\u2028\u2029]*+|/\*(?:[^*\n\r]|\*(?!/))*+\*/)")
_BLANKS: Final = re.compile(r"[ \t]*+")


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of `offset`, both from 1."""
    ends = text.count("\n", 0, offset)
    if "\r" in text:
        ends += text.count("\r", 0, offset) - text.count("\r\n", 0, offset)
    return ends + 1, max(offset - line_start(text, offset), 0) + 1


def line_starts(text: str) -> list[int]:
    """Where each line begins."""
    return [1 if text.startswith(_BOM) else 0, *(newline.end() for newline in _NEWLINE.finditer(text))]


def line_start(text: str, offset: int) -> int:
    """Where the line of `offset` begins."""
    start = text.rfind("\n", 0, offset) + 1
    start = max(start, text.rfind("\r", start, offset) + 1)  # there is hardly one, and all of a text is long to look through
    return start + 1 if start == 0 and text.startswith(_BOM) else start


def line_indent(text: str, offset: int) -> str:
    """The white space at the start of the line of `offset`, up to `offset`."""
    start = line_start(text, offset)
    return text[start : min(blanks_end(text, start), offset)]


def begins_line(text: str, offset: int) -> bool:
    """Whether only white space stands before `offset` on its line."""
    return blanks_end(text, line_start(text, offset)) >= offset


def has_newline(text: str) -> bool:
    """Whether `text` goes on to another line."""
    return "\n" in text or "\r" in text


def blanks_end(text: str, offset: int) -> int:
    """Where the spaces and tabs that begin at `offset` end."""
    found = _BLANKS.match(text, offset)
    return found.end() if found else offset


def comments_end(text: str, offset: int) -> int:
    """The end of the last comment that begins and ends on the line of `offset` with nothing else before it, or `offset`."""
    while found := _SAME_LINE_COMMENT.match(text, offset):
        offset = found.end()
    return offset


def newline_at(text: str, offset: int) -> int:
    """The length of the line end that stands at `offset`, or 0."""
    found = _NEWLINE.match(text, offset)
    return len(found[0]) if found else 0


def comma_after(text: str, offset: int) -> int | None:
    """Where the comma stands that follows `offset` with at most comments between."""
    end = trivia_end(text, offset)
    return end if text.startswith(",", end) else None
