"""Edits as splices: which stretch of a text is replaced by what. Everything outside of them stays as it is, byte for byte."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from portico.config.json5_lines import (
    begins_line,
    blanks_end,
    comma_after,
    comments_end,
    has_newline,
    line_indent,
    line_start,
    newline_at,
)
from portico.config.json5_style import key_text, read_style
from portico.config.json5_tokens import trivia_end
from portico.config.json5_tree import Container, plain
from portico.config.json5_writer import quoted, scalar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from portico.config.json5_tree import Entry, Node
    from portico.config.json5_writer import Style
    from portico.interfaces.basics import JsonValue


class Splice(NamedTuple):
    """Replace `text[start:end]` by `replacement`."""

    start: int
    end: int
    replacement: str


def apply(text: str, splices: Iterable[Splice]) -> str:
    """`text` after `splices`, which do not overlap."""
    pieces, done = [], 0
    for splice in sorted(splices, key=lambda splice: (splice.start, splice.end)):
        pieces += [text[done : splice.start], splice.replacement]
        done = splice.end
    return "".join([*pieces, text[done:]])


def same(old: JsonValue, new: JsonValue) -> bool:
    """Whether two values are equal as JSON: `true` is not 1, 1 is 1.0."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    return isinstance(old, bool) == isinstance(new, bool) and (old == new or (old != old and new != new))  # noqa: PLR0124 - NaN


class Editor:
    """Makes the splices for one text in its own style."""

    def __init__(self, text: str, root: Node, *, strict_json: bool) -> None:
        self._text = text
        self._root = root
        self._strict_json = strict_json

    @cached_property
    def _style(self) -> Style:
        return read_style(self._text, self._root, strict_json=self._strict_json)

    def put(self, node: Node, value: JsonValue) -> Iterator[Splice]:
        """Make `node` be `value`: members of an object are put one by one and none is dropped, an array may grow at its end."""
        old = plain(node)
        if same(old, value):
            return
        if isinstance(node, Container) and node.is_object and isinstance(value, dict):
            yield from self._put_members(node, value)
        elif isinstance(node, Container) and isinstance(old, list) and isinstance(value, list) and same(old, value[: len(old)]):
            yield from self.append(node, [(None, item) for item in value[len(old) :]])
        else:
            yield Splice(node.start, node.end, self._replacement(node, value))

    def _put_members(self, node: Container, value: Mapping[str, JsonValue]) -> Iterator[Splice]:
        fresh: list[tuple[str | None, JsonValue]] = []
        for key, item in value.items():
            entry = node.find(key)
            if entry is None:
                fresh.append((key, item))
            else:
                yield from self.put(entry.node, item)
        if fresh:
            yield from self.append(node, fresh)

    def _replacement(self, node: Node, value: JsonValue) -> str:
        mark = self._text[node.start]
        if isinstance(value, str) and mark in "\"'":
            return quoted(value, mark)
        if isinstance(value, (bool, int, float)) or value is None:
            return scalar(value)
        column = node.start - line_start(self._text, node.start)
        return self._style.value(value, line_indent(self._text, node.start), column)

    # --- adding ------------------------------------------------------------------------------------------------------------

    def append(self, node: Container, items: list[tuple[str | None, JsonValue]]) -> Iterator[Splice]:
        """Add entries after the last one; keys are None in an array."""
        if not node.entries:
            yield self._fill(node, items)
            return
        last = node.entries[-1]
        comma = comma_after(self._text, last.end)
        at = comments_end(self._text, last.end if comma is None else comma + 1)
        if comma is None:
            yield Splice(last.end, last.end, ",")
        tall = begins_line(self._text, last.start) or has_newline(self._text[at : node.end])
        indent = self._indent_of_entries(node) if tall else line_indent(self._text, node.start)
        lead = self._style.newline + indent if tall else self._style.after_comma
        added = ",".join(lead + self._entry(node, key, value, indent) for key, value in items)
        yield Splice(at, at, added if comma is None else added + ",")

    def insert(self, node: Container, index: int, value: JsonValue) -> Iterator[Splice]:
        """Add an element before the one at `index`: above the comments that stand above it, below those of the one before."""
        entry = node.entries[index]
        tall = begins_line(self._text, entry.start)
        if not index and not tall:
            yield Splice(entry.start, entry.start, self._entry(node, None, value, "") + "," + self._style.after_comma)
            return
        behind = comma_after(self._text, node.entries[index - 1].end) if index else node.start
        at = comments_end(self._text, (node.start if behind is None else behind) + 1)
        tall = tall or has_newline(self._text[at : entry.start])
        indent = line_indent(self._text, entry.start) if tall else line_indent(self._text, node.start)
        lead = self._style.newline + indent if tall else self._style.after_comma
        yield Splice(at, at, lead + self._entry(node, None, value, indent) + ",")

    def _fill(self, node: Container, items: list[tuple[str | None, JsonValue]]) -> Splice:
        inside, end = node.start + 1, node.end - 1
        at = inside + len(self._text[inside:end].rstrip())
        outer = line_indent(self._text, node.start)
        is_root = trivia_end(self._text, 0) == node.start
        if at == inside and not is_root:
            value: JsonValue = {str(key): item for key, item in items} if node.is_object else [item for _, item in items]
            return Splice(node.start, node.end, self._style.value(value, outer, node.start - line_start(self._text, node.start)))
        if self._style.one_line:
            parts = f",{self._style.after_comma}".join(self._entry(node, key, value, outer) for key, value in items)
            pad = self._style.pad if node.is_object else ""
            return Splice(at, end, f"{pad}{parts}{pad}")
        inner = outer + self._style.unit
        lead = self._style.newline + inner
        parts = ",".join(lead + self._entry(node, key, value, inner) for key, value in items)
        tail = self._text[at:end]
        closing = tail if has_newline(tail) else self._style.newline + outer
        return Splice(at, end, parts + ("," if self._style.trailing_comma else "") + closing)

    def _indent_of_entries(self, node: Container) -> str:
        for entry in reversed(node.entries):
            if begins_line(self._text, entry.start):
                return line_indent(self._text, entry.start)
        return line_indent(self._text, node.start) + self._style.unit

    def _entry(self, node: Container, key: str | None, value: JsonValue, indent: str) -> str:
        if key is None:
            return self._style.value(value, indent, len(indent))
        return self._style.member(key, value, indent, [key_text(self._text, entry) for entry in node.entries])

    # --- taking away -------------------------------------------------------------------------------------------------------

    def remove(self, node: Container, entry: Entry) -> Iterator[Splice]:
        """Take `entry` away, with its comma and the comment on its own line; every other comment stays."""
        comma = comma_after(self._text, entry.end)
        end = entry.end if comma is None else comma + 1
        index = node.entries.index(entry)
        alone = len(node.entries) == 1
        if alone and not (self._text[node.start + 1 : entry.start] + self._text[end : node.end - 1]).strip():
            yield Splice(node.start + 1, node.end - 1, "")
            return
        before = comma_after(self._text, node.entries[index - 1].end) if index and comma is None else None
        if before is not None:
            yield Splice(before, before + 1, "")
        yield self._widened(entry.start, end)

    def _widened(self, start: int, end: int) -> Splice:
        """The stretch from `start` to `end` with the line or the spaces that it would leave empty."""
        text = self._text
        if begins_line(text, start):
            line_end = blanks_end(text, comments_end(text, end))
            if newline := newline_at(text, line_end):
                return Splice(line_start(text, start), line_end + newline, "")
        elif blanks_end(text, end) == len(text) or text[blanks_end(text, end)] in "}]\r\n/":
            return Splice(len(text[:start].rstrip(" \t")), end, "")
        return Splice(start, blanks_end(text, end), "")
