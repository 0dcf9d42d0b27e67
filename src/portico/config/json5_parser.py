"""From a JSON5 text to its tree (https://spec.json5.org)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.config.json5_quick import container_entry, read_run, separator_after
from portico.config.json5_tokens import (
    Json5SyntaxError,
    Token,
    name_value,
    next_token,
    number_value,
    string_value,
)
from portico.config.json5_tree import Container, Entry, Scalar

if TYPE_CHECKING:
    from portico.config.json5_tree import Node

MAX_DEPTH: Final = 100
_UNSHOWN: Final = {"end": "the end of the file", "string": "a string", "number": "a number", "name": "a word without quotes"}
_WORDS: Final[dict[str, bool | float | None]] = {
    "null": None,
    "true": True,
    "false": False,
    "Infinity": float("inf"),
    "NaN": float("nan"),
}


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


def check_stretch(text: str, start: int, stop: int, *, is_object: bool, depth: int, after_entry: bool) -> None:
    """Hold a part of a text that was valid to what has to stand in its place.

    At `start` an entry of a container of this `depth` may begin, or one has ended (`after_entry`); at `stop` stands what stood
    there before, the beginning of an entry or the closing bracket. What lies behind then reads as it did, since a tokenizer keeps
    nothing in mind between two tokens.

    Raises:
        Json5SyntaxError: the stretch does not lead from the one to the other.
    """
    parser = _Parser(text, start)
    token = parser.take()
    while after_entry or token.start < stop:
        if not after_entry:
            parser.entry(token, depth, is_object=is_object)
            token = parser.take()
        after_entry = False
        if parser.is_closing(token, is_object=is_object):
            break
        token = parser.after_comma(token, is_object=is_object)
    if token.start != stop:
        raise Json5SyntaxError(f"unexpected {parser.shown(token)}", token.start)


class _Parser:
    def __init__(self, text: str, offset: int = 0) -> None:
        self._text = text
        self._offset = offset

    def take(self) -> Token:
        token = next_token(self._text, self._offset)
        self._offset = token.end
        return token

    def shown(self, token: Token) -> str:
        """What `token` is; what it says is shown of punctuation alone."""
        return _UNSHOWN.get(token.kind) or f"`{self._text[token.start]}`"

    def value(self, token: Token, depth: int) -> Node:
        if token.kind == "string":
            return Scalar(token.start, token.end, string_value(self._text, token))
        if token.kind == "number":
            return Scalar(token.start, token.end, number_value(self._text, token))
        word = self._text[token.start : token.end]
        if token.kind == "name" and word in _WORDS:
            return Scalar(token.start, token.end, _WORDS[word])
        if word in {"{", "["}:
            return self._container(token.start, depth)
        raise Json5SyntaxError(f"a value is missing here: found {self.shown(token)}", token.start)

    def _container(self, start: int, depth: int) -> Container:
        if depth == MAX_DEPTH:
            raise Json5SyntaxError(f"nested more than {MAX_DEPTH} deep", start)
        is_object = self._text[start] == "{"
        entries: list[Entry] = []
        while True:
            self._offset, found, closed = read_run(self._text, self._offset, entries, is_object=is_object)
            if closed:
                break
            if found is not None:
                self._offset = found.end()
                entries.append(container_entry(found, self._container(self._offset - 1, depth + 1)))
            else:
                token = self.take()
                if self.is_closing(token, is_object=is_object):
                    break
                entries.append(self.entry(token, depth, is_object=is_object))
            if self._separated(is_object=is_object):
                break
        return Container(start, self._offset, entries, is_object)

    def _separated(self, *, is_object: bool) -> bool:
        """Go behind the comma, or the closing bracket and say that it was one."""
        end, separator = separator_after(self._text, self._offset)
        if separator in {",", "}" if is_object else "]"}:
            self._offset = end
            return separator != ","
        raise self._no_comma(self.take(), is_object=is_object)

    def entry(self, token: Token, depth: int, *, is_object: bool) -> Entry:
        """The member or element that begins with `token`, in a container of this `depth`."""
        if not is_object:
            return Entry(token.start, token.start, None, self.value(token, depth + 1))
        if token.kind == "string":
            key = string_value(self._text, token)
        elif token.kind == "name":
            key = name_value(self._text, token)
        else:
            raise Json5SyntaxError(f"a key or `}}` is missing here: found {self.shown(token)}", token.start)
        colon = self.take()
        if not self._is(colon, ":"):
            raise Json5SyntaxError("`:` is missing after the key", colon.start)
        return Entry(token.start, token.end, key, self.value(self.take(), depth + 1))

    def after_comma(self, token: Token, *, is_object: bool) -> Token:
        """The token behind `token`, which has to be a comma."""
        if not self._is(token, ","):
            raise self._no_comma(token, is_object=is_object)
        return self.take()

    def is_closing(self, token: Token, *, is_object: bool) -> bool:
        return self._is(token, "}" if is_object else "]")

    def _no_comma(self, token: Token, *, is_object: bool) -> Json5SyntaxError:
        return Json5SyntaxError(f"`,` or `{'}' if is_object else ']'}` is missing before {self.shown(token)}", token.start)

    def _is(self, token: Token, punctuation: str) -> bool:
        return token.kind == "punctuation" and self._text[token.start] == punctuation
