"""A JSON5 text as a tree of values that know where in the text they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.config.json5_tokens import Json5SyntaxError, Token, name_value, next_token, number_value, string_value

if TYPE_CHECKING:
    from portico.contracts import JsonValue

MAX_DEPTH: Final = 100
_WORDS: Final[dict[str, bool | float | None]] = {
    "null": None,
    "true": True,
    "false": False,
    "Infinity": float("inf"),
    "NaN": float("nan"),
}


@dataclass(slots=True, eq=False)
class Scalar:
    """A value that holds no other."""

    start: int
    end: int
    value: bool | float | str | None


@dataclass(slots=True, eq=False)
class Entry:
    """A member of an object, or an element of an array (`key` None). It spans from its key to the end of its value."""

    start: int
    key_end: int
    key: str | None
    node: Node

    @property
    def end(self) -> int:
        return self.node.end


@dataclass(slots=True, eq=False)
class Container:
    """An object or an array, brackets included."""

    start: int
    end: int
    entries: list[Entry]
    is_object: bool

    def find(self, key: str | int) -> Entry | None:
        """The entry that counts: the last of members with one key, as in JavaScript."""
        if not self.is_object:
            index = int(key) if isinstance(key, int) or (key.isdecimal() and key.isascii()) else -1
            return self.entries[index] if 0 <= index < len(self.entries) else None
        return next((entry for entry in reversed(self.entries) if entry.key == key), None)


Node = Scalar | Container


def plain(node: Node) -> JsonValue:
    """The value of `node`; of members with one key the last counts."""
    if isinstance(node, Scalar):
        return node.value
    if node.is_object:
        return {str(entry.key): plain(entry.node) for entry in node.entries}
    return [plain(entry.node) for entry in node.entries]


def parse(text: str) -> Node:
    """The tree of a whole text.

    Raises:
        Json5SyntaxError: the text is not one JSON5 value.
    """
    parser = _Parser(text)
    node = parser.value(parser.take(), 0)
    rest = parser.take()
    if rest.kind != "end":
        raise Json5SyntaxError(f"nothing may follow the value, but here is {parser.shown(rest)}", rest.start)
    return node


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._offset = 0

    def take(self) -> Token:
        token = next_token(self._text, self._offset)
        self._offset = token.end
        return token

    def shown(self, token: Token) -> str:
        return f"`{self._text[token.start : token.end][:20]}`" if token.kind != "end" else "the end of the file"

    def value(self, token: Token, depth: int) -> Node:
        if token.kind == "string":
            return Scalar(token.start, token.end, string_value(self._text, token))
        if token.kind == "number":
            return Scalar(token.start, token.end, number_value(self._text, token))
        word = self._text[token.start : token.end]
        if token.kind == "name" and word in _WORDS:
            return Scalar(token.start, token.end, _WORDS[word])
        if word in {"{", "["}:
            return self._container(token, depth)
        raise Json5SyntaxError(f"a value is missing here: found {self.shown(token)}", token.start)

    def _container(self, opening: Token, depth: int) -> Container:
        if depth == MAX_DEPTH:
            raise Json5SyntaxError(f"nested more than {MAX_DEPTH} deep", opening.start)
        is_object = self._text[opening.start] == "{"
        closing = "}" if is_object else "]"
        entries: list[Entry] = []
        token = self.take()
        while not self._is(token, closing):
            entries.append(self._member(token, depth) if is_object else self._element(token, depth))
            token = self.take()
            if self._is(token, ","):
                token = self.take()
            elif not self._is(token, closing):
                raise Json5SyntaxError(f"`,` or `{closing}` is missing before {self.shown(token)}", token.start)
        return Container(opening.start, token.end, entries, is_object)

    def _element(self, token: Token, depth: int) -> Entry:
        return Entry(token.start, token.start, None, self.value(token, depth + 1))

    def _member(self, token: Token, depth: int) -> Entry:
        if token.kind == "string":
            key = string_value(self._text, token)
        elif token.kind == "name":
            key = name_value(self._text, token)
        else:
            raise Json5SyntaxError(f"a key or `}}` is missing here: found {self.shown(token)}", token.start)
        colon = self.take()
        if not self._is(colon, ":"):
            raise Json5SyntaxError(f"`:` is missing after the key `{key}`", colon.start)
        return Entry(token.start, token.end, key, self.value(self.take(), depth + 1))

    def _is(self, token: Token, punctuation: str) -> bool:
        return token.kind == "punctuation" and self._text[token.start] == punctuation
