"""Values written as JSON5 in a given style."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from portico.interfaces.basics import JsonValue

WIDTH: Final = 100
_BARE_KEY: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_UNSEEN: Final = {"\u2028": "\\u2028", "\u2029": "\\u2029", "\ufeff": "\\ufeff", "\x7f": "\\u007f"}


@dataclass(frozen=True, slots=True)
class Style:
    """The habits of a text.

    `unit` is one step of indentation; `pad` is what stands inside the braces of an object on one line; `one_line` keeps
    everything on one line, `short_objects` allows it for objects that fit.
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
        """`key` as its `siblings`, texts of keys with their quotes, are written."""
        if not could_be_bare(key):
            return quoted(key, self.quote)
        quotes = {sibling[0] if sibling[0] in "\"'" else "" for sibling in siblings if could_be_bare(sibling)}
        if "" in quotes or (not quotes and self.bare_keys):
            return key
        return quoted(key, min(quotes) if quotes else self.quote)

    def value(self, value: JsonValue, indent: str, column: int) -> str:
        """`value` as text that begins in `column`: on one line where that is the habit and fits, else indented from `indent`."""
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
        """A member of an object as text."""
        start = f"{self.key(key, siblings)}:{self.after_colon}"
        return start + self.value(value, indent, len(indent) + len(start))

    def _flat(self, value: dict[str, JsonValue] | list[JsonValue]) -> str:
        inside = f",{self.after_comma}".join(self._parts(value, ""))
        return f"{{{self.pad}{inside}{self.pad}}}" if isinstance(value, dict) else f"[{inside}]"

    def _tall(self, value: dict[str, JsonValue] | list[JsonValue], indent: str) -> str:
        inner = indent + self.unit
        inside = f",{self.newline}{inner}".join(self._parts(value, inner))
        comma = "," if self.trailing_comma else ""
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return f"{opening}{self.newline}{inner}{inside}{comma}{self.newline}{indent}{closing}"

    def _parts(self, value: dict[str, JsonValue] | list[JsonValue], indent: str) -> Iterator[str]:
        if isinstance(value, list):
            yield from (self.value(item, indent, len(indent)) for item in value)
        else:
            yield from (self.member(key, item, indent) for key, item in value.items())


def scalar(value: JsonValue, quote: str = '"') -> str:
    """A string, number, word or empty container as text."""
    if isinstance(value, str):
        return quoted(value, quote)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return json.dumps(value)


def quoted(text: str, quote: str) -> str:
    """`text` as a string in `quote`s; escaped are characters that cannot be seen, and halves of pairs, which nobody reads."""
    body = _HALF_PAIR.sub(lambda half: f"\\u{ord(half[0]):04x}", json.dumps(text, ensure_ascii=False)[1:-1])
    for character, escape in _UNSEEN.items():
        body = body.replace(character, escape)
    if quote == "'":
        body = body.replace('\\"', '"').replace("'", "\\'")
    return f"{quote}{body}{quote}"


def could_be_bare(written: str) -> bool:
    """Whether a key, with or without its quotes, needs none."""
    return _BARE_KEY.fullmatch(written.strip("\"'")) is not None


def _items(value: dict[str, JsonValue] | list[JsonValue]) -> Iterable[JsonValue]:
    return value.values() if isinstance(value, dict) else value
