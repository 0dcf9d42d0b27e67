"""Parse JSON5 (https://spec.json5.org) into a tree of values with their places in the text.

One expression matches a token and the colon, comma or bracket after it. On a syntax error the parser reads the tokens before the
error again, one by one, so the error can name the missing token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from portico.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portico.interfaces.basics import JsonValue

MAX_DEPTH: Final = 100
MAX_INDEX_DIGITS: Final = 9  # of an array index; Python refuses to parse thousands of digits
_MAX_HEX_DIGITS: Final = 3_000

_SPACE: Final = "\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_TRIVIA: Final = rf"(?:[{_SPACE}]++|//[^\n\r\u2028\u2029]*+|/\*[\s\S]*?\*/)*+"
_STRING: Final = r"\"(?:[^\"\\\n\r]++|\\(?:\r\n|[\s\S]))*+\"|'(?:[^'\\\n\r]++|\\(?:\r\n|[\s\S]))*+'"
_NUMBER: Final = (
    r"[+-]?(?:0[xX][0-9a-fA-F]+|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w$.])"
    r"|[+-](?:Infinity|NaN)(?![\w$])"
)
_NAME: Final = rf"(?:[^\W\d]|\$|\\u[0-9a-fA-F]{{4}})(?:[\w$\u200c\u200d]++|\\u[0-9a-fA-F]{{4}}|(?![{_SPACE}])[^\x00-\x7f])*+"
_QUOTED, _NUMERIC, _NAMED, _MARK, _FOLLOWING = 1, 2, 3, 4, 5
# A token, and the mark that follows it: two matches read a member.
_match_token = re.compile(rf"{_TRIVIA}(?:({_STRING})|({_NUMBER})|({_NAME})|([{{}}\[\]:,]))(?:{_TRIVIA}([:,}}\]]))?").match
_match_mark = re.compile(rf"{_TRIVIA}([,}}\]])").match
_ESCAPE: Final = re.compile(r"\\(\r\n|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|0(?![0-9])|[\s\S])")
_SIMPLE_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_LINE_ENDS: Final = frozenset(("\r\n", "\n", "\r", "\u2028", "\u2029"))
_NOT_ESCAPES: Final = frozenset("123456789ux")
_LITERALS: Final[dict[str, bool | float | None]] = {
    "null": None,
    "true": True,
    "false": False,
    "Infinity": float("inf"),
    "NaN": float("nan"),
}
_BOM: Final = "\ufeff"
_NEWLINE: Final = re.compile(r"\r\n|\n|\r")

Kind = Literal["punctuation", "string", "number", "name", "end"]
_KINDS: Final[dict[int, Kind]] = {_QUOTED: "string", _NUMERIC: "number", _NAMED: "name", _MARK: "punctuation"}
_SHOWN: Final = {"end": "the end of the file", "string": "a string", "number": "a number", "name": "a word without quotes"}


class ConfigElsewhere(ConfigError):
    """The key cannot be set in this file: another file has it, or another value blocks it."""

    id = "config-elsewhere"


class Json5SyntaxError(ValueError):
    """The text is not JSON5 at `offset`, in characters.

    From the text, the message shows only punctuation, because any word may be an API key without quotes (CWE-209).
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


# --- the tree ----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Scalar:
    """A value that is neither an object nor an array."""

    start: int
    end: int
    value: bool | float | str | None


@dataclass(slots=True, eq=False)
class Entry:
    """A member of an object, or an element of an array (`key` None); from the start of its key to the end of its value."""

    start: int
    key_end: int
    key: str | None
    node: Node

    @property
    def end(self) -> int:
        return self.node.end


@dataclass(slots=True, eq=False)
class Container:
    """An object or an array, with its brackets."""

    start: int
    end: int
    entries: list[Entry]
    is_object: bool
    _by_key: dict[str | None, Entry] | None = field(default=None, init=False, repr=False)

    def find(self, key: str | int) -> Entry | None:
        """Return the entry at `key`; if several members have this key, the last, as in JavaScript."""
        if not self.is_object:
            index = array_index(key)
            return self.entries[index] if index is not None and index < len(self.entries) else None
        if self._by_key is None:  # cached: a check looks up every key, and a tree never changes
            self._by_key = {entry.key: entry for entry in self.entries}
        return self._by_key.get(key) if isinstance(key, str) else None


Node = Scalar | Container


def array_index(step: str | int) -> int | None:
    """Return `step`, an int or a string as in `models.0.id`, as an array index; None if it is not an index."""
    if isinstance(step, str):
        return int(step) if step.isascii() and step.isdecimal() and len(step) <= MAX_INDEX_DIGITS else None
    return step if step >= 0 else None


def plain(node: Node) -> JsonValue:
    """Return the value of `node` as plain JSON; if several members have the same key, the last is used."""
    if isinstance(node, Scalar):
        return node.value
    if node.is_object:
        return {str(entry.key): plain(entry.node) for entry in node.entries}
    return [plain(entry.node) for entry in node.entries]


def hidden(node: Node, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Entry]]:
    """Yield each member below `node`, at `path`, that is hidden by a later member with the same key."""
    if not isinstance(node, Container):
        return
    last = {entry.key: entry for entry in node.entries} if node.is_object else None
    all_unique = last is None or len(last) == len(node.entries)
    for index, entry in enumerate(node.entries):
        step = index if entry.key is None else entry.key
        if not all_unique and last is not None and last[entry.key] is not entry:
            yield (*path, step), entry
        elif isinstance(entry.node, Container):
            yield from hidden(entry.node, (*path, step))


# --- parsing -----------------------------------------------------------------------------------------------------------------


def parse(text: str) -> Node:
    """Parse a whole text.

    Raises:
        Json5SyntaxError: the text is not one JSON5 value.
    """
    reader = _Reader(text, 0)
    entry = reader.entry(-1, "]")
    if entry is None:
        raise _no_entry(text, 0, "]")
    following = _next_token(text, reader.offset)
    if following.kind != "end":
        raise Json5SyntaxError(f"nothing may follow the value, but here is {_describe(text, following)}", following.start)
    return entry.node


def check_stretch(text: str, start: int, stop: int, *, is_object: bool, depth: int, after_entry: bool) -> None:
    """Check the changed part of a text that was valid before the change.

    `start` is the start of an entry in a container of this `depth`, or with `after_entry` its end. `stop` is the start of the
    next entry that did not change, or the closing bracket. The text after `stop` then still parses, because the grammar has no
    state between two tokens.

    Raises:
        Json5SyntaxError: the part is not a list of entries that ends at `stop`.
    """
    reader, closing = _Reader(text, start), "}" if is_object else "]"
    token = _next_token(text, start)
    while after_entry or token.start < stop:
        if not after_entry:
            if reader.entry(depth, closing) is None:
                break
            token = _next_token(text, reader.offset)
        after_entry = False
        mark = text[token.start : token.end]
        if mark == closing:
            break
        if mark != ",":
            raise _no_comma(text, token.start, closing)
        reader.offset = token.end
        token = _next_token(text, reader.offset)
    if token.start != stop:
        raise Json5SyntaxError(f"unexpected {_describe(text, token)}", token.start)


class _Reader:
    """Parses entries of `text` at `offset`, and moves `offset` to the end of each."""

    def __init__(self, text: str, offset: int) -> None:
        self._text = text
        self.offset = offset
        # The last token if it was a scalar: the match includes the mark after the token.
        self._scalar: re.Match[str] | None = None

    def entry(self, depth: int, closing: str) -> Entry | None:
        """Parse the next entry of a container of this `depth`; None at its `closing` bracket."""
        start_offset = self.offset
        match = _match_token(self._text, start_offset)
        if match is not None and match[_MARK] == closing:
            self.offset = match.end(_MARK)
            return None
        if closing == "]":
            node = self._value(match, depth + 1)
            if node is not None:
                return Entry(node.start, node.start, None, node)
        elif match is not None and match[_FOLLOWING] == ":":
            group = _QUOTED if match[_NAMED] is None else _NAMED
            start, end = match.span(group)
            if end >= 0:
                key = _key(match[group], start)
                node = self._value(_match_token(self._text, match.end()), depth + 1)
                if node is not None:
                    return Entry(start, end, key, node)
        raise _no_entry(self._text, start_offset, closing)

    def _value(self, match: re.Match[str] | None, depth: int) -> Node | None:
        """Parse the value that starts with the token `match`; None if no value can start with it."""
        if match is None:
            return None
        string, number, name, mark, _ = match.groups()
        if mark is not None:
            return self._container(match.start(_MARK), depth) if mark in "{[" else None
        self._scalar = match
        if string is not None:
            start, self.offset = match.span(_QUOTED)
            return Scalar(start, self.offset, _string(string, start))
        if number is not None:
            start, self.offset = match.span(_NUMERIC)
            return Scalar(start, self.offset, _number(number, start))
        start, self.offset = match.span(_NAMED)
        return Scalar(start, self.offset, _LITERALS[name]) if name in _LITERALS else None

    def _container(self, start: int, depth: int) -> Container:
        if depth == MAX_DEPTH:
            raise Json5SyntaxError(f"nested more than {MAX_DEPTH} deep", start)
        closing = "}" if self._text[start] == "{" else "]"
        entries: list[Entry] = []
        self.offset = start + 1
        while (entry := self.entry(depth, closing)) is not None:
            entries.append(entry)
            if self._end_of_entry(closing):
                break
        self._scalar = None
        return Container(start, self.offset, entries, closing == "}")

    def _end_of_entry(self, closing: str) -> bool:
        """Skip the comma or closing bracket after an entry; return whether it was the bracket."""
        match, group = (_match_mark(self._text, self.offset), 1) if self._scalar is None else (self._scalar, _FOLLOWING)
        mark = match[group] if match is not None else None
        if match is not None and mark in {",", closing}:
            self.offset = match.end()
            return mark == closing
        raise _no_comma(self._text, self.offset, closing)


def _no_entry(text: str, offset: int, closing: str) -> Json5SyntaxError:
    """Return the error for a missing entry at `offset`."""
    token = _next_token(text, offset)
    if closing == "}":
        if token.kind not in {"string", "name"}:
            return Json5SyntaxError(f"a key or `}}` is missing here: found {_describe(text, token)}", token.start)
        _key(text[token.start : token.end], token.start)
        token = _next_token(text, token.end)
        if text[token.start : token.end] != ":":
            return Json5SyntaxError("`:` is missing after the key", token.start)
        token = _next_token(text, token.end)
    return Json5SyntaxError(f"a value is missing here: found {_describe(text, token)}", token.start)


def _no_comma(text: str, offset: int, closing: str) -> Json5SyntaxError:
    token = _next_token(text, offset)
    return Json5SyntaxError(f"`,` or `{closing}` is missing before {_describe(text, token)}", token.start)


# --- tokens ------------------------------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """One token: `text[start:end]`."""

    kind: Kind
    start: int
    end: int


def trivia_end(text: str, offset: int) -> int:
    """Return the end of the white space and comments at `offset`."""
    match = re.compile(_TRIVIA).match(text, offset)  # compiled here because parsing a valid text never needs it; `re` caches it
    return match.end() if match else offset


def _next_token(text: str, offset: int) -> Token:
    """Return the first token at or after `offset`.

    Raises:
        Json5SyntaxError: there is neither a token nor the end of the text.
    """
    match = _match_token(text, offset)
    if match is not None:
        group = next(group for group in _KINDS if match[group] is not None)
        return Token(_KINDS[group], *match.span(group))
    start = trivia_end(text, offset)
    if start == len(text):
        return Token("end", start, start)
    raise Json5SyntaxError(_no_token(text, start), start)


def _no_token(text: str, offset: int) -> str:
    if text.startswith("/*", offset):
        return "this comment is not closed"
    if text[offset] in "\"'":
        return "this string is not closed on its line"
    if text[offset] in "+-.0123456789":
        return "this is not a number"
    return "no key or value can begin with this character"


def _describe(text: str, token: Token) -> str:
    """Return the kind of `token` in words, or the text of a punctuation token."""
    return _SHOWN.get(token.kind) or f"`{text[token.start]}`"


def _key(raw: str, start: int) -> str:
    return _string(raw, start) if raw[0] in "\"'" else _name(raw, start)


def _string(raw: str, start: int) -> str:
    """Decode a string with its quotes; `start` is its offset."""
    if "\\" not in raw:
        return raw[1:-1]

    def unescape(match: re.Match[str]) -> str:
        body = match[1]
        if body in _LINE_ENDS:
            return ""
        if len(body) > 1:
            return chr(int(body[1:], 16))
        if body in _NOT_ESCAPES:
            raise Json5SyntaxError(f"`\\{body}` is not an escape", start + match.start())
        return _SIMPLE_ESCAPES.get(body, body)

    return _join_surrogates(_ESCAPE.sub(unescape, raw)[1:-1], start)


def _name(raw: str, start: int) -> str:
    """Decode an unquoted key."""
    name = _join_surrogates(_ESCAPE.sub(lambda found: chr(int(found[1][1:], 16)), raw), start) if "\\" in raw else raw
    if not name.isascii() or "\\" in raw:
        bare = name.replace("$", "_").replace("\u200c", "_").replace("\u200d", "_")
        if not bare.isidentifier():
            raise Json5SyntaxError("this key needs quotes", start)
    return name


def _number(raw: str, start: int) -> int | float:
    """Decode a number: an int if it is written as an integer, else a float."""
    unsigned = raw.lstrip("+-")
    sign = -1 if raw[0] == "-" else 1
    if unsigned[:2] in {"0x", "0X"}:
        if len(unsigned) > _MAX_HEX_DIGITS:  # Python could parse it, but not print it
            raise Json5SyntaxError("this number is too long", start)
        return sign * int(unsigned, 16)
    if unsigned in {"Infinity", "NaN"}:
        return sign * float(unsigned.lower())
    try:
        return sign * int(unsigned) if unsigned.isdecimal() else sign * float(unsigned)
    except ValueError:  # Python refuses to convert integers of thousands of digits
        raise Json5SyntaxError("this number is too long", start) from None


def _join_surrogates(value: str, start: int) -> str:
    """Join the surrogate pairs in `value` (RFC 8259 section 7)."""
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Json5SyntaxError("this string contains half of a surrogate pair", start) from None


# --- lines end with LF, CRLF or CR, as in editors; a byte order mark is not part of the first line ------------------------------


def position(text: str, offset: int) -> tuple[int, int]:
    """Return the line and column of `offset`, both from 1."""
    ends = text.count("\n", 0, offset)
    if "\r" in text:
        ends += text.count("\r", 0, offset) - text.count("\r\n", 0, offset)
    return ends + 1, max(offset - line_start(text, offset), 0) + 1


def line_starts(text: str) -> list[int]:
    """Return the offset of each line."""
    return [1 if text.startswith(_BOM) else 0, *(newline.end() for newline in _NEWLINE.finditer(text))]


def line_start(text: str, offset: int) -> int:
    """Return the start of the line that contains `offset`."""
    start = text.rfind("\n", 0, offset) + 1
    start = max(start, text.rfind("\r", start, offset) + 1)  # only after the last LF, because CR is rare
    return start + 1 if start == 0 and text.startswith(_BOM) else start
