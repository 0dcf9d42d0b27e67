"""A request's JSON body: which model it names, and the same body with another model's name in that one place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # undocumented and stable since 2.6: the C scanner of strings
from typing import Final

from portico.errors import UsageError

LIMIT: Final = 32 << 20
"""Bytes of the longest body that is taken: Anthropic's own limit (https://docs.claude.com/en/api/errors)."""

_WHITESPACE: Final = " \t\n\r"
_MEMBER: Final = re.compile(r'"model"[ \t\r\n]*:[ \t\r\n]*("[^"\\]*")')
_decode: Final = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Body:
    """The text of a body. `model` is what it names, None where it names nothing; `start` and `end` are that value's place."""

    text: str
    model: str | None
    start: int
    end: int

    def naming(self, model_id: str) -> bytes:
        """The body, byte for byte but for the model's name."""
        name = json.dumps(model_id, ensure_ascii=False)
        if self.model is None:
            tail = self.text[self.start :]
            comma = "" if tail.lstrip(_WHITESPACE).startswith("}") else ","
            return f'{self.text[: self.start]}"model":{name}{comma}{tail}'.encode()
        return f"{self.text[: self.start]}{name}{self.text[self.end :]}".encode()


def read_body(data: bytes) -> Body:
    """The body's model, found by walking its outermost object once.

    Raises:
        UsageError: `bad-json`: it is no JSON object; `model-twice`: two places name a model, and servers differ in which counts.
    """
    try:
        return _plain(data) or _walk(data.decode("utf-8"))
    except (ValueError, IndexError, RecursionError) as error:
        raise UsageError("bad-json", "The body is not a JSON object.", why=_place(error)) from None


def json_in(text: str) -> object:
    """The value that `text` is. An object without anything around it, which most are, is read by the parser alone.

    Raises:
        ValueError, RecursionError: it is none.
    """
    if text.startswith("{"):
        value, end = _decode(text)
        if end == len(text):
            return value
    return json.loads(text)


def _plain(data: bytes) -> Body | None:
    """The body whose model stands beyond doubt: its key is there once, nothing is escaped, and the parser has it outermost.

    So the usual body is read by the C parser alone; any other is walked.
    """
    if data.count(b'"model"') != 1 or b"\\u" in data:
        return None
    text = data.decode("utf-8")
    value = json_in(text)
    name = value.get("model") if isinstance(value, dict) else None
    if not isinstance(name, str):
        return None
    found = _MEMBER.search(text)
    return Body(text, name, found.start(1), found.end(1)) if found is not None and found[1] == f'"{name}"' else None


def _walk(text: str) -> Body:
    at = _skip(text, 0)
    if text[at] != "{":
        raise ValueError("it begins with something else")
    first = at = at + 1
    found: Body | None = None
    at = _skip(text, at)
    if text[at] == "}":
        return _ended(text, at, Body(text, None, first, first))
    while True:
        if text[at] != '"':
            raise ValueError(f"a name was expected at character {at}")
        name, at = scanstring(text, at + 1, True)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError(f"a colon was expected at character {at}")
        start = _skip(text, at + 1)
        value, end = _decode(text, start)
        if name == "model":
            if found is not None:
                raise UsageError("model-twice", "The body names a model twice.")
            found = Body(text, _name(value), start, end)
        at = _skip(text, end)
        if text[at] == "}":
            return _ended(text, at, found or Body(text, None, first, first))
        if text[at] != ",":
            raise ValueError(f"a comma was expected at character {at}")
        at = _skip(text, at + 1)


def _ended(text: str, at: int, body: Body) -> Body:
    if text[at + 1 :].strip(_WHITESPACE):
        raise ValueError(f"something follows at character {at + 1}")
    return body


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError("bad-model-name", "The body's `model` is not a text.")
    return value


def _skip(text: str, at: int) -> int:
    while text[at] in _WHITESPACE:
        at += 1
    return at


def _place(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 at byte {error.start}"
    if isinstance(error, IndexError):
        return "it ends too early"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
