"""Read the model's name in a request's JSON body, and replace it.

Python's C parser reads a small body in a fraction of a millisecond. For a large body, only the keys of the outermost object and
the model's name are parsed; all other values are skipped. Parsing is divided into time slices, and the event loop serves other
requests between the slices.
"""

from __future__ import annotations

import asyncio
import codecs
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from json.decoder import scanstring  # type: ignore[attr-defined]  # undocumented and stable since 2.6: the C scanner of strings
from time import perf_counter
from typing import TYPE_CHECKING, Final

from portico.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Buffer = bytes | bytearray | memoryview
    Payload = bytes | tuple[Buffer, ...]

LIMIT: Final = 32 << 20
"""The maximum length of a body in bytes: Anthropic's own limit (https://docs.claude.com/en/api/errors)."""
LONGEST_NAME: Final = 256
"""The maximum length of a model name: several times the longest name of any provider."""
MOST_PARTS: Final = 500_000
"""The maximum number of strings, arrays, objects and separators in a body. This limits the parsing time."""
DEEPEST: Final = 500
"""The maximum nesting of arrays and objects. Python's own parser fails near 1,000."""

# The C parser reads a body of up to `_SMALL` bytes, or up to `_PLAIN` with few values, in a fraction of a millisecond.
_SMALL: Final = 8 << 10
_PLAIN: Final = 256 << 10
_FEW: Final = 2_000
_SLICE_S: Final = 0.0005
_TOGETHER: Final = 64 << 10
# Parsing a member of the outermost object takes as long as skipping this many strings.
_MEMBER_PARTS: Final = 20
_SHOWN: Final = 40
_LONGEST_RAW_KEY: Final = len(r'"\u006d\u006f\u0064\u0065\u006c"')
_LONGEST_RAW_NAME: Final = 2 + LONGEST_NAME * len(r"\ud83d\ude00")

_WHITESPACE: Final = " \t\n\r"
_MEMBER: Final = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("[^"\\]*")')
_SPACE: Final = re.compile(rb"[ \t\r\n]{0,65536}+")
# One match of these patterns takes at most a fraction of a millisecond. For the rest of the bytes the pattern is matched again.
_IN_STRING: Final = re.compile(rb'[^"\\]{0,65536}+(?:\\.[^"\\]{0,4096}+){0,64}+', re.DOTALL)
_BETWEEN: Final = re.compile(rb"[ \t\r\n,:0-9A-Za-z+.-]{0,65536}+")
_SCALAR: Final = re.compile(rb"[0-9A-Za-z+.-]{1,4096}")
_BLANK: Final = re.compile(r"[ \t\r\n]*+")
# Numbers are not converted, because conversion takes quadratic time for thousands of digits (CVE-2020-10735).
_decode_but_numbers: Final = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode
_QUOTE, _COLON, _COMMA, _OPENS, _ENDS = b'":,{}'
_CLOSES: Final = {ord("{"): ord("}"), ord("["): ord("]")}


class BadModelName(UsageError):
    """`model` in the body of a request is not a valid name."""

    id = "bad-model-name"


class ModelTwice(UsageError):
    """The body of a request names `model` twice."""

    id = "model-twice"


class BodyNotJson(UsageError):
    """The body of a request is not a JSON object."""

    id = "bad-json"


class TooManyValues(UsageError):
    """The body of a request has more values than the gateway parses."""

    id = "too-many-values"


@dataclass(slots=True)
class Body:
    """The bytes of a body.

    `model` is the model's name (None: the body has no model); `start` and `end` are the place of the name.

    `freed` is called when the bytes are no longer needed.
    """

    data: bytes | bytearray
    model: str | None
    start: int
    end: int
    freed: Callable[[], None] | None = None

    def naming(self, model_id: str) -> Payload:
        """Return the body with another model's name. A large body is returned in parts and not copied."""
        name = _quoted(model_id)
        if self.model is None:
            comma = b"" if _next_byte(self.data, self.start) == _ENDS else b","
            name = b'"model":' + name + comma
        if len(self.data) <= _TOGETHER:
            return b"".join((self.data[: self.start], name, self.data[self.end :]))
        view = memoryview(self.data)
        return view[: self.start], name, view[self.end :]

    def free(self) -> None:
        """Free the bytes."""
        self.data = b""
        if self.freed is not None:
            self.freed()


def read_body(data: bytes | bytearray) -> Body:
    """Parse a body and find the name of its model.

    Raises:
        UsageError: `bad-json`: the body is not a JSON object; `too-many-values`; `bad-model-name`; `model-twice`: the body
            names two models, and servers do not agree on which of them to use.
    """
    steps = _read_in_slices(data)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            body: Body = end.value
            return body


async def read_in_turn(data: bytes | bytearray, turn: asyncio.Lock) -> Body:
    """As `read_body`, but other requests run while a large body is parsed, and `turn` allows only one large body at a time."""
    if len(data) <= _SMALL:
        return _parsed(data)
    async with turn:
        steps = _read_in_slices(data)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                body: Body = end.value
                return body
            # not 0: another request needs several loop passes, and each pass would wait for a slice
            await asyncio.sleep(_SLICE_S)


def _parsed(data: bytes | bytearray) -> Body:
    """Parse the body at once by the C parser."""
    try:
        return _checked(_plain(data) or _walk(data.decode("utf-8")))
    except _UNREADABLE as error:
        raise _bad_json(error) from None


def _read_in_slices(data: bytes | bytearray) -> Generator[None, None, Body]:
    """Parse the body, with a `yield` after each time slice."""
    if _is_plain(data):
        return _parsed(data)
    try:
        return _checked((yield from _Scan(data).body()))
    except _UNREADABLE as error:
        raise _bad_json(error) from None


def _is_plain(data: bytes | bytearray) -> bool:
    return len(data) <= _SMALL or (len(data) <= _PLAIN and sum(map(data.count, (b",", b"{", b"["))) <= _FEW)


def _plain(data: bytes | bytearray) -> Body | None:
    """Parse a usual body by the C parser alone. Return None for an unusual body, which `_walk` then parses.

    A usual body has `"model"` once, as a member of the outermost object, without escapes.
    """
    if data.count(b'"model"') != 1 or b"\\u" in data:
        return None
    text = data.decode("utf-8")
    value, end = _decode_but_numbers(text, 0 if text[0] == "{" else _skip(text, 0))
    if text[end:].strip(_WHITESPACE):
        raise ValueError(f"something follows at character {end}")
    name = value.get("model") if isinstance(value, dict) else None
    match = _MEMBER.search(data)
    if not isinstance(name, str) or match is None or match[1] != f'"{name}"'.encode("utf-8", "surrogatepass"):
        return None
    return Body(data, name, match.start(1), match.end(1))


def _walk(text: str) -> Body:
    """Parse a body member by member."""
    data = text.encode()
    at = _skip(text, 0)
    if text[at] != "{":
        raise ValueError("it begins with something else")
    first = at = at + 1
    found: Body | None = None
    at = _skip(text, at)
    if text[at] == "}":
        return _ended(text, at, Body(data, None, first, first))
    while True:
        if text[at] != '"':
            raise ValueError(f"a name was expected at character {at}")
        name, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError(f"a colon was expected at character {at}")
        start = _skip(text, at + 1)
        value, end = _decode_but_numbers(text, start)
        if name == "model":
            if found is not None:
                raise _twice()
            found = Body(data, _name(value), len(text[:start].encode()), len(text[:end].encode()))
        at = _skip(text, end)
        if text[at] == "}":
            return _ended(text, at, found or Body(data, None, first, first))
        if text[at] != ",":
            raise ValueError(f"a comma was expected at character {at}")
        at = _skip(text, at + 1)


class _Scan:
    """Scans a large body once. Parses only the keys of its outermost object and the model's name, and skips the rest."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self._at = 0
        self._parts = 0
        self._until = perf_counter() + _SLICE_S

    def body(self) -> Generator[None, None, Body]:
        yield from self._check_utf8()
        yield from self._expect(_OPENS, "it begins with something else")
        first, found, data = self._at, None, self._data
        if (yield from self._next()) == _ENDS:
            self._at += 1
        else:
            while True:
                self._part(_MEMBER_PARTS)
                key = yield from self._key()
                start = yield from self._expect_value()
                if key == "model":
                    if found is not None:
                        raise _twice()
                    found = Body(data, self._name(start), start, self._at)
                if (yield from self._next()) == _ENDS:
                    self._at += 1
                    break
                yield from self._expect(_COMMA, "a comma was expected at byte {at}")
                if perf_counter() > self._until:
                    yield from self._pause()
        yield from self._skip_space()
        if self._at < len(data):
            raise ValueError(f"something follows at byte {self._at}")
        return found or Body(data, None, first, first)

    def _check_utf8(self) -> Generator[None, None, None]:
        """Raise UnicodeDecodeError (a ValueError) if the body is not UTF-8."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        view = memoryview(self._data)
        for at in range(0, len(view), _TOGETHER):
            decoder.decode(view[at : at + _TOGETHER])
            if perf_counter() > self._until:
                yield from self._pause()
        decoder.decode(b"", final=True)

    def _key(self) -> Generator[None, None, str | None]:
        """The name of the next member; None if the name is too long to be `model`."""
        if (yield from self._next()) != _QUOTE:
            raise ValueError(f"a name was expected at byte {self._at}")
        start = self._at
        yield from self._skip_string()
        raw = self._data[start : self._at] if self._at - start <= _LONGEST_RAW_KEY else b"null"
        yield from self._expect(_COLON, "a colon was expected at byte {at}")
        name: str | None = json.loads(raw)
        return name

    def _expect_value(self) -> Generator[None, None, int]:
        """Skip the next value; returns its start."""
        opens = yield from self._next()
        start = self._at
        if opens == _QUOTE:
            yield from self._skip_string()
        elif opens in _CLOSES:
            yield from self._skip_nested()
        else:
            scalar = _SCALAR.match(self._data, self._at)
            if scalar is None:
                raise ValueError(f"a value was expected at byte {self._at}")
            json.loads(scalar[0])
            self._at = scalar.end()
        return start

    def _skip_nested(self) -> Generator[None, None, None]:
        data, closes = self._data, bytearray()
        while True:
            self._part()
            byte = data[self._at]
            if byte in _CLOSES:
                closes.append(_CLOSES[byte])
                self._at += 1
                if len(closes) > DEEPEST:
                    raise RecursionError
            elif byte == _QUOTE:
                yield from self._skip_string()
            elif closes and byte == closes[-1]:
                closes.pop()
                self._at += 1
                if not closes:
                    return
            else:
                raise ValueError(f"something else was expected at byte {self._at}")
            while (end := _BETWEEN.match(data, self._at).end()) > self._at:  # type: ignore[union-attr]  # it matches nothing too
                self._at = end
                if perf_counter() > self._until:
                    yield from self._pause()
            if perf_counter() > self._until:
                yield from self._pause()

    def _skip_string(self) -> Generator[None, None, None]:
        self._part()
        data, at = self._data, self._at + 1
        while True:
            end = _IN_STRING.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing too
            if data[end] == _QUOTE:
                self._at = end + 1
                return
            if end == at:
                raise IndexError
            at = end
            if perf_counter() > self._until:
                yield from self._pause()

    def _next(self) -> Generator[None, None, int]:
        """Return the next byte that is not white space. Raise IndexError at the end of the body."""
        yield from self._skip_space()
        return self._data[self._at]

    def _skip_space(self) -> Generator[None, None, None]:
        while (end := _SPACE.match(self._data, self._at).end()) > self._at:  # type: ignore[union-attr]  # it matches nothing too
            self._at = end
            if perf_counter() > self._until:
                yield from self._pause()

    def _expect(self, byte: int, otherwise: str) -> Generator[None, None, None]:
        if (yield from self._next()) != byte:
            raise ValueError(otherwise.format(at=self._at))
        self._at += 1

    def _name(self, start: int) -> str:
        raw = self._data[start : min(self._at, start + _LONGEST_RAW_NAME + 1)]
        if len(raw) > _LONGEST_RAW_NAME:
            raise _too_long(raw[1 : 4 * _SHOWN].decode(errors="replace")[:_SHOWN])
        return _name(json.loads(raw))

    def _part(self, times: int = 1) -> None:
        self._parts += times
        if self._parts > MOST_PARTS:
            raise TooManyValues(
                f"The body has more than {MOST_PARTS:,} strings, arrays and objects.",
                hint="send fewer of them, or send a long list as one string",
            )

    def _pause(self) -> Generator[None, None, None]:
        yield
        self._until = perf_counter() + _SLICE_S


def _ended(text: str, at: int, body: Body) -> Body:
    if text[at + 1 :].strip(_WHITESPACE):
        raise ValueError(f"something follows at character {at + 1}")
    return body


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise BadModelName("The body's `model` is not a text.")
    return value


@lru_cache(maxsize=256)
def _quoted(name: str) -> bytes:
    return json.dumps(name, ensure_ascii=False).encode()


def _checked(body: Body) -> Body:
    name = body.model
    if name is not None and len(name) > LONGEST_NAME:
        raise _too_long(name[:_SHOWN])
    if name is not None and not name.isprintable():
        raise BadModelName("The model's name has control characters, line breaks or other invisible characters.")
    return body


def _too_long(start: str) -> UsageError:
    shown = "".join(each if each.isprintable() else "?" for each in start)
    return BadModelName(f"The model's name has more than {LONGEST_NAME} characters: {shown}...")


def _twice() -> UsageError:
    return ModelTwice("The body names a model twice.")


def _skip(text: str, at: int) -> int:
    end = _BLANK.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing too
    if end == len(text):
        raise IndexError
    return end


def _next_byte(data: bytes | bytearray, at: int) -> int:
    while (end := _SPACE.match(data, at).end()) > at:  # type: ignore[union-attr]  # it matches nothing too
        at = end
    return data[at]


_UNREADABLE: Final = (ValueError, IndexError, RecursionError)


def _bad_json(error: Exception) -> UsageError:
    return BodyNotJson("The body is not a JSON object.", why=_place(error))


def _place(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start}"
    if isinstance(error, IndexError):
        return "it ends too early"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
