"""JSON5 tokens with their offsets (https://spec.json5.org, sections 3 to 8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

_SPACE: Final = "\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
TRIVIA: Final = rf"(?:[{_SPACE}]++|//[^\n\r\u2028\u2029]*+|/\*[\s\S]*?\*/)*+"
_TRIVIA: Final = re.compile(TRIVIA)
_TOKEN: Final = re.compile(
    r"(?P<punctuation>[{}\[\]:,])"
    r"|(?P<string>\"(?:[^\"\\\n\r]|\\(?:\r\n|[\s\S]))*+\"|'(?:[^'\\\n\r]|\\(?:\r\n|[\s\S]))*+')"
    r"|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![\w$.])"
    r"|[+-](?:Infinity|NaN)(?![\w$]))"
    rf"|(?P<name>(?:[^\W\d]|\$|\\u[0-9a-fA-F]{{4}})(?:[\w$\u200c\u200d]|\\u[0-9a-fA-F]{{4}}|(?![{_SPACE}])[^\x00-\x7f])*)"
)
_ESCAPE: Final = re.compile(r"\\(\r\n|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|0(?![0-9])|[\s\S])")
_SIMPLE_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
_LINE_ENDS: Final = frozenset(("\r\n", "\n", "\r", "\u2028", "\u2029"))
_MOST_HEX_DIGITS: Final = 3_000
_NOT_ESCAPES: Final = frozenset("123456789ux0")

Kind = Literal["punctuation", "string", "number", "name", "end"]


class Json5SyntaxError(ValueError):
    """The text is not JSON5. `offset` is where, in characters.

    The message repeats no word and no character of the text but JSON5's own punctuation: an API key without its quotes is such a
    word, however short it is (CWE-209).
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


@dataclass(slots=True, eq=False)
class Token:
    """One token: `text[start:end]`."""

    kind: Kind
    start: int
    end: int


def trivia_end(text: str, offset: int) -> int:
    """Where the white space and comments that begin at `offset` end."""
    found = _TRIVIA.match(text, offset)
    return found.end() if found else offset


def next_token(text: str, offset: int) -> Token:
    """The first token at or after `offset`.

    Raises:
        Json5SyntaxError: there is neither a token nor the end of the text.
    """
    start = trivia_end(text, offset)
    if start == len(text):
        return Token("end", start, start)
    found = _TOKEN.match(text, start)
    if found is None:
        raise Json5SyntaxError(_what_is_wrong(text, start), start)
    kind: Kind = found.lastgroup  # type: ignore[assignment]  # the groups of _TOKEN are named as the kinds
    return Token(kind, start, found.end())


def string_value(text: str, token: Token) -> str:
    """What a string token means."""
    raw = text[token.start + 1 : token.end - 1]
    if "\\" not in raw:
        return raw

    def unescape(found: re.Match[str]) -> str:
        body = found[1]
        if body in _LINE_ENDS:
            return ""
        if len(body) > 1:
            return chr(int(body[1:], 16))
        if body in _NOT_ESCAPES and body != "0":
            raise Json5SyntaxError(f"`\\{body}` is not an escape", token.start + 1 + found.start())
        return _SIMPLE_ESCAPES.get(body, body)

    return _joined(_ESCAPE.sub(unescape, raw), token)


def name_value(text: str, token: Token) -> str:
    """What an unquoted key means."""
    raw = text[token.start : token.end]
    name = _joined(_ESCAPE.sub(lambda found: chr(int(found[1][1:], 16)), raw), token) if "\\" in raw else raw
    if not name.isascii() or "\\" in raw:
        plain = name.replace("$", "_").replace("\u200c", "_").replace("\u200d", "_")
        if not plain.isidentifier():
            raise Json5SyntaxError("this key needs quotes", token.start)
    return name


def number_value(text: str, token: Token) -> int | float:
    """What a number token means: an int where it is written as one, else a float."""
    raw = text[token.start : token.end]
    unsigned = raw.lstrip("+-")
    sign = -1 if raw[0] == "-" else 1
    if unsigned[:2] in {"0x", "0X"}:
        if len(unsigned) > _MOST_HEX_DIGITS:  # Python reads it, and refuses to print it
            raise Json5SyntaxError("this number is too long", token.start)
        return sign * int(unsigned, 16)
    if unsigned in {"Infinity", "NaN"}:
        return sign * float(unsigned.lower())
    try:
        return sign * int(unsigned) if unsigned.isdecimal() else sign * float(unsigned)
    except ValueError:  # Python refuses to convert integers of thousands of digits
        raise Json5SyntaxError("this number is too long", token.start) from None


def _joined(value: str, token: Token) -> str:
    """`value` with its surrogate pairs joined (RFC 8259 section 7)."""
    try:
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise Json5SyntaxError("this string holds half of a surrogate pair", token.start) from None


def _what_is_wrong(text: str, offset: int) -> str:
    if text.startswith("/*", offset):
        return "this comment is not closed"
    if text[offset] in "\"'":
        return "this string is not closed on its line"
    if text[offset] in "+-.0123456789":
        return "this is not a number"
    return "no key or value can begin with this character"
