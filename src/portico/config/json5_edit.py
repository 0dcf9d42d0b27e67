"""Edit a JSON5 text with splices: new text has the style of its neighbours, and every other byte stays."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from portico.config.json5 import (
    ConfigElsewhere,
    Container,
    Entry,
    Node,
    Scalar,
    check_stretch,
    line_start,
    parse,
    plain,
    trivia_end,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from portico.config.document import ConfigPath
    from portico.interfaces.basics import JsonValue

WIDTH: Final = 100
_BARE_KEY: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_INVISIBLE: Final = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\ufeff": "\\ufeff", "\x7f": "\\u007f"}
# The style is taken from this number of containers, and of entries in each: reading all would cost more than the edit.
_SAMPLE: Final = 8
_START: Final = attrgetter("start")
_NEWLINE: Final = re.compile(r"\r\n|\n|\r")
_SAME_LINE_COMMENT: Final = re.compile(r"[ \t]*+(?://[^\n\r\u2028\u2029]*+|/\*(?:[^*\n\r]|\*(?!/))*+\*/)")
_BLANKS: Final = re.compile(r"[ \t]*+")


# --- writing values ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Style:
    """The style of a text.

    `unit` is one step of indentation, `pad` the space inside the braces of a one-line object. `one_line` puts everything on one
    line, `short_objects` only objects that fit.
    """

    newline: str = "\n"
    unit: str = "  "
    quote: str = '"'
    bare_keys: bool = True
    trailing_comma: bool = True
    after_colon: str = " "
    after_comma: str = " "
    pad: str = " "
    one_line: bool = False
    short_objects: bool = True

    def key(self, key: str, siblings: Iterable[str] = ()) -> str:
        """Write `key` with the quotes of its `siblings`, the keys beside it as they are written."""
        if not could_be_bare(key):
            return quoted(key, self.quote)
        quotes = {sibling[0] if sibling[0] in "\"'" else "" for sibling in siblings if could_be_bare(sibling)}
        if "" in quotes or (not quotes and self.bare_keys):
            return key
        return quoted(key, min(quotes) if quotes else self.quote)

    def value(self, value: JsonValue, indent: str, column: int) -> str:
        """Write `value` at `column`: on one line if the style allows and it fits, else on lines indented from `indent`."""
        if not isinstance(value, (dict, list)) or not value:
            return scalar(value, self.quote)
        if self.one_line:
            return self._flat(value)
        nested = any(isinstance(item, (dict, list)) and item for item in _items(value))
        if not nested and (self.short_objects or isinstance(value, list)):
            short = replace(self, one_line=True).value(value, indent, column)
            if column + len(short) <= WIDTH:
                return short
        return self._tall(value, indent)

    def member(self, key: str, value: JsonValue, indent: str, siblings: Iterable[str] = ()) -> str:
        """Write a member of an object."""
        start = f"{self.key(key, siblings)}:{self.after_colon}"
        return start + self.value(value, indent, len(indent) + len(start))

    def _flat(self, value: dict[str, JsonValue] | list[JsonValue]) -> str:
        inside = f",{self.after_comma}".join(self._parts(value, ""))
        return f"{{{self.pad}{inside}{self.pad}}}" if isinstance(value, dict) else f"[{inside}]"

    def _tall(self, value: dict[str, JsonValue] | list[JsonValue], indent: str) -> str:
        inner = indent + self.unit
        inside = f",{self.newline}{inner}".join(self._parts(value, inner))
        comma = "," if self.trailing_comma else ""
        left, right = "{}" if isinstance(value, dict) else "[]"
        return f"{left}{self.newline}{inner}{inside}{comma}{self.newline}{indent}{right}"

    def _parts(self, value: dict[str, JsonValue] | list[JsonValue], indent: str) -> Iterator[str]:
        if isinstance(value, list):
            yield from (self.value(item, indent, len(indent)) for item in value)
        else:
            yield from (self.member(key, item, indent) for key, item in value.items())


def scalar(value: JsonValue, quote: str = '"') -> str:
    """Write a string, number, literal or empty container."""
    if isinstance(value, str):
        return quoted(value, quote)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return json.dumps(value)


def quoted(text: str, quote: str) -> str:
    """Write `text` as a string in `quote`s; invisible characters and half surrogate pairs are escaped."""
    body = _HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(text, ensure_ascii=False)[1:-1])
    for character, escape in _INVISIBLE.items():
        body = body.replace(character, escape)
    if quote == "'":
        body = body.replace('\\"', '"').replace("'", "\\'")
    return f"{quote}{body}{quote}"


def could_be_bare(key: str) -> bool:
    """Whether a key, passed with or without its quotes, needs no quotes."""
    return _BARE_KEY.fullmatch(key.strip("\"'")) is not None


def _items(value: dict[str, JsonValue] | list[JsonValue]) -> Iterable[JsonValue]:
    return value.values() if isinstance(value, dict) else value


# --- the style of a text -----------------------------------------------------------------------------------------------------


def read_style(text: str, root: Node, *, strict_json: bool) -> Style:
    """Return the style of `text`; by default the style of the documentation's examples, or of JSON if `strict_json`."""
    first_line = text[: text.find("\n") + 1]
    style = Style(newline="\r\n" if first_line.endswith("\r\n") else "\n")
    if strict_json:
        style = replace(style, bare_keys=False, trailing_comma=False, short_objects=False)
    filled = _first_filled(root)
    members = [entry for container in filled if container.is_object for entry in container.entries[:_SAMPLE]]
    if not members:
        return style
    tall = [container for container in filled if has_newline(text[container.start : container.entries[0].start])]
    short = [container for container in filled if container.is_object and container not in tall]
    keys = [key_text(text, entry) for entry in members]
    bare_keys = _has_bare_keys(keys)
    tight = trivia_end(text, members[0].key_end) + 1 == members[0].node.start
    one_line = text.find("\n", root.start, root.end) < 0 and text.find("\r", root.start, root.end) < 0
    return replace(
        style,
        unit=_unit(text, tall) or style.unit,
        quote=_quote(text, members, keys),
        bare_keys=bare_keys,
        trailing_comma=comma_after(text, tall[0].entries[-1].end) is not None if tall else style.trailing_comma and bare_keys,
        after_colon="" if tight else " ",
        after_comma="" if tight and one_line else " ",
        pad=" " if (text[short[0].start + 1] in " \t" if short else not tight) else "",
        one_line=one_line,
        short_objects=bool(short) or bare_keys,
    )


def key_text(text: str, entry: Entry) -> str:
    """Return the key of a member as it is written, with its quotes."""
    return text[entry.start : entry.key_end]


def _first_filled(root: Node) -> list[Container]:
    """Return the first objects and arrays that are not empty, in the order of the text."""
    containers: list[Container] = []
    pending = [root]
    while pending and len(containers) < _SAMPLE:
        node = pending.pop()
        if isinstance(node, Container) and node.entries:
            containers.append(node)
            pending += [entry.node for entry in reversed(node.entries) if isinstance(entry.node, Container)]
    return containers


def _has_bare_keys(keys: list[str]) -> bool:
    bare = [key for key in keys if key[0] not in "\"'"]
    return bool(bare) or not any(could_be_bare(key) for key in keys)


def _unit(text: str, tall: list[Container]) -> str | None:
    """Return the most common step of indentation, from the line of a bracket to the line of its first entry."""
    steps: Counter[str] = Counter()
    for container in tall[: _SAMPLE // 2]:
        outer, inner = line_indent(text, container.start), line_indent(text, container.entries[0].start)
        if inner.startswith(outer) and inner != outer:
            steps[inner[len(outer) :]] += 1
    return max(steps, key=steps.__getitem__, default=None)


def _quote(text: str, members: list[Entry], keys: list[str]) -> str:
    """Return the most common quote of values, else of keys."""
    values = [text[entry.node.start] for entry in members if isinstance(entry.node, Scalar)]
    marks = Counter(mark for mark in values if mark in "\"'") or Counter(key[0] for key in keys if key[0] in "\"'")
    return max(marks, key=marks.__getitem__) if marks else '"'


# --- splices -----------------------------------------------------------------------------------------------------------------


class Splice(NamedTuple):
    """Replace `text[start:end]` by `replacement`."""

    start: int
    end: int
    replacement: str


def apply(text: str, splices: Iterable[Splice]) -> str:
    """Return `text` after `splices`, which do not overlap."""
    parts, position = [], 0
    for splice in sorted(splices, key=lambda splice: (splice.start, splice.end)):
        parts += [text[position : splice.start], splice.replacement]
        position = splice.end
    return "".join([*parts, text[position:]])


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
        """Replace `node` with `value`: in an object only the members of `value`; an array that only grows keeps its elements."""
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
        new_members: list[tuple[str | None, JsonValue]] = []
        for key, item in value.items():
            entry = node.find(key)
            if entry is None:
                new_members.append((key, item))
            else:
                yield from self.put(entry.node, item)
        if new_members:
            yield from self.append(node, new_members)

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
        """Add entries after the last entry; keys are None in an array."""
        if not node.entries:
            yield self._fill(node, items)
            return
        last = node.entries[-1]
        comma = comma_after(self._text, last.end)
        offset = comments_end(self._text, last.end if comma is None else comma + 1)
        if comma is None:
            yield Splice(last.end, last.end, ",")
        tall = begins_line(self._text, last.start) or has_newline(self._text[offset : node.end])
        indent = self._indent_of_entries(node) if tall else line_indent(self._text, node.start)
        lead = self._style.newline + indent if tall else self._style.after_comma
        added = ",".join(lead + self._entry(node, key, value, indent) for key, value in items)
        yield Splice(offset, offset, added if comma is None else added + ",")

    def insert(self, node: Container, index: int, value: JsonValue) -> Iterator[Splice]:
        """Add an element before the element at `index`, below the comments of the previous element."""
        entry = node.entries[index]
        tall = begins_line(self._text, entry.start)
        if not index and not tall:
            yield Splice(entry.start, entry.start, self._entry(node, None, value, "") + "," + self._style.after_comma)
            return
        previous_mark = comma_after(self._text, node.entries[index - 1].end) if index else node.start
        offset = comments_end(self._text, (node.start if previous_mark is None else previous_mark) + 1)
        tall = tall or has_newline(self._text[offset : entry.start])
        indent = line_indent(self._text, entry.start) if tall else line_indent(self._text, node.start)
        lead = self._style.newline + indent if tall else self._style.after_comma
        yield Splice(offset, offset, lead + self._entry(node, None, value, indent) + ",")

    def _fill(self, node: Container, items: list[tuple[str | None, JsonValue]]) -> Splice:
        inside, end = node.start + 1, node.end - 1
        offset = inside + len(self._text[inside:end].rstrip())
        outer = line_indent(self._text, node.start)
        is_root = trivia_end(self._text, 0) == node.start
        if offset == inside and not is_root:
            value: JsonValue = {str(key): item for key, item in items} if node.is_object else [item for _, item in items]
            return Splice(node.start, node.end, self._style.value(value, outer, node.start - line_start(self._text, node.start)))
        if self._style.one_line:
            parts = f",{self._style.after_comma}".join(self._entry(node, key, value, outer) for key, value in items)
            pad = self._style.pad if node.is_object else ""
            return Splice(offset, end, f"{pad}{parts}{pad}")
        inner = outer + self._style.unit
        lead = self._style.newline + inner
        parts = ",".join(lead + self._entry(node, key, value, inner) for key, value in items)
        tail = self._text[offset:end]
        closing = tail if has_newline(tail) else self._style.newline + outer
        return Splice(offset, end, parts + ("," if self._style.trailing_comma else "") + closing)

    def _indent_of_entries(self, node: Container) -> str:
        for entry in reversed(node.entries):
            if begins_line(self._text, entry.start):
                return line_indent(self._text, entry.start)
        return line_indent(self._text, node.start) + self._style.unit

    def _entry(self, node: Container, key: str | None, value: JsonValue, indent: str) -> str:
        if key is None:
            return self._style.value(value, indent, len(indent))
        return self._style.member(key, value, indent, [key_text(self._text, entry) for entry in node.entries])

    # --- removing ----------------------------------------------------------------------------------------------------------

    def remove(self, node: Container, entry: Entry) -> Iterator[Splice]:
        """Remove `entry` with its comma and the comment on its line; every other comment stays."""
        comma = comma_after(self._text, entry.end)
        end = entry.end if comma is None else comma + 1
        index = node.entries.index(entry)
        is_only = len(node.entries) == 1
        if is_only and not (self._text[node.start + 1 : entry.start] + self._text[end : node.end - 1]).strip():
            yield Splice(node.start + 1, node.end - 1, "")
            return
        previous_comma = comma_after(self._text, node.entries[index - 1].end) if index and comma is None else None
        if previous_comma is not None:
            yield Splice(previous_comma, previous_comma + 1, "")
        yield self._widen(entry.start, end)

    def _widen(self, start: int, end: int) -> Splice:
        """Remove `start` to `end`, and the empty line or the spaces that would be left."""
        text = self._text
        if begins_line(text, start):
            line_end = blanks_end(text, comments_end(text, end))
            if newline := newline_at(text, line_end):
                return Splice(line_start(text, start), line_end + newline, "")
        elif blanks_end(text, end) == len(text) or text[blanks_end(text, end)] in "}]\r\n/":
            return Splice(len(text[:start].rstrip(" \t")), end, "")
        return Splice(start, blanks_end(text, end), "")


# --- changes -----------------------------------------------------------------------------------------------------------------


def check_edit(root: Node, text: str, splices: Sequence[Splice], *, grown: int) -> None:
    """Check that `text` is JSON5: the text of `root` after `splices`, `grown` characters longer.

    Only the entries that the splices touch are parsed again, in the smallest container around them.

    Raises:
        Json5SyntaxError: `text` is not JSON5.
    """
    low, high = min(splice.start for splice in splices), max(splice.end for splice in splices)
    around = _innermost_container(root, low, high)
    if around is None:
        parse(text)
        return
    container, depth = around
    entries, first = container.entries, bisect_right(container.entries, low, key=_START) - 1
    following = bisect_left(entries, high, key=_START)
    stop = entries[following].start if following < len(entries) else container.end - 1
    entry = entries[first] if first >= 0 else None
    # Only a comma, a bracket or a comment can follow an entry, and none of these can become a part of the entry.
    is_after_entry = entry is not None and low >= entry.end
    start = container.start + 1 if entry is None else entry.end if is_after_entry else entry.start
    check_stretch(text, start, stop + grown, is_object=container.is_object, depth=depth, after_entry=is_after_entry)


def _innermost_container(node: Node, low: int, high: int) -> tuple[Container, int] | None:
    """Return the innermost container around `low` to `high`, and its depth."""
    innermost, depth = None, 0
    while isinstance(node, Container) and node.start < low and high < node.end:
        innermost = node, depth
        index = bisect_right(node.entries, low, key=_START) - 1
        if index < 0:
            break
        node, depth = node.entries[index].node, depth + 1
    return innermost


def nested(path: ConfigPath, value: JsonValue) -> JsonValue:
    """Return `value` inside the objects and arrays that `path` names."""
    for step in reversed(path):
        if isinstance(step, int) and step:
            raise ConfigElsewhere(f"A new array begins at [0], not at [{step}].")
        value = {step: value} if isinstance(step, str) else [value]
    return value


def stale(node: Node, value: JsonValue, path: ConfigPath) -> Iterator[ConfigPath]:
    """Yield the paths to remove from `node` before it is merged with `value`, so that the result is `value`; last paths first."""
    if not isinstance(node, Container):
        return
    if node.is_object and isinstance(value, dict):
        for key in dict.fromkeys(str(entry.key) for entry in reversed(node.entries)):
            entry = node.find(key)
            if key not in value:
                yield (*path, key)
            elif entry is not None:
                yield from stale(entry.node, value[key], (*path, key))
    elif not node.is_object and isinstance(value, list):
        yield from _removed_elements([plain(entry.node) for entry in node.entries], value, path)


def _removed_elements(old: list[JsonValue], new: list[JsonValue], path: ConfigPath) -> Iterator[ConfigPath]:
    """Yield the elements to remove from `old` to get `new`; nothing if `new` is not a part of `old`."""
    removed, remaining = [], list(new)
    for index in range(len(old) - 1, -1, -1):
        if remaining and same(old[index], remaining[-1]):
            remaining.pop()
        else:
            removed.append((*path, index))
    if not remaining:
        yield from removed


# --- lines -------------------------------------------------------------------------------------------------------------------


def line_indent(text: str, offset: int) -> str:
    """Return the white space at the start of the line of `offset`, up to `offset`."""
    start = line_start(text, offset)
    return text[start : min(blanks_end(text, start), offset)]


def begins_line(text: str, offset: int) -> bool:
    """Whether only white space is before `offset` on its line."""
    return blanks_end(text, line_start(text, offset)) >= offset


def has_newline(text: str) -> bool:
    """Whether `text` has more than one line."""
    return "\n" in text or "\r" in text


def blanks_end(text: str, offset: int) -> int:
    """Return the end of the spaces and tabs at `offset`."""
    match = _BLANKS.match(text, offset)
    return match.end() if match else offset


def comments_end(text: str, offset: int) -> int:
    """Return the end of the comments that directly follow `offset` on its line, or `offset`."""
    while match := _SAME_LINE_COMMENT.match(text, offset):
        offset = match.end()
    return offset


def newline_at(text: str, offset: int) -> int:
    """Return the length of the line end at `offset`, or 0."""
    match = _NEWLINE.match(text, offset)
    return len(match[0]) if match else 0


def comma_after(text: str, offset: int) -> int | None:
    """Return the offset of the comma after `offset`, across white space and comments; None if there is no comma."""
    end = trivia_end(text, offset)
    return end if text.startswith(",", end) else None
