"""Plain entries of JSON5 read in one step: a key and a value without escapes, which is nearly all of any configuration.

What stands here in another form is left to the tokenizer, which reads everything and knows what to say of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.config.json5_tokens import TRIVIA
from portico.config.json5_tree import Entry, Scalar

if TYPE_CHECKING:
    from collections.abc import Callable

    from portico.config.json5_tree import Node

_KEY: Final = r"""(?:([A-Za-z_$][A-Za-z0-9_$]*+)|"([^"\\\n\r]*+)"|'([^'\\\n\r]*+)')"""
_SCALAR: Final = r"""(?:"([^"\\\n\r]*+)"|'([^'\\\n\r]*+)'|(-?(?:0|[1-9][0-9]{0,15}+)(?:\.[0-9]{1,30}+)?)|(true|false|null))"""
_NO_KEY: Final = r"(?:(?!)()()())?"  # groups of the same numbers as a member's
_WORDS: Final = {"true": True, "false": False, "null": None}


def _pattern(key: str, closing: str) -> Callable[[str, int], re.Match[str] | None]:
    return re.compile(rf"{TRIVIA}{key}(?:{_SCALAR}{TRIVIA}([,{closing}])|([{{\[]))").match


_MEMBER: Final = _pattern(rf"{_KEY}{TRIVIA}:{TRIVIA}", "}")
_ELEMENT: Final = _pattern(_NO_KEY, r"\]")
_SEPARATOR: Final = re.compile(rf"{TRIVIA}([,}}\]])").match


def read_run(text: str, offset: int, entries: list[Entry], *, is_object: bool) -> tuple[int, re.Match[str] | None, bool]:
    """Append the entries with scalar values that begin at `offset` to `entries`.

    Returns:
        Where the run ends; the match of an entry that begins there whose value is a container, if it is one; and whether the run
        has ended with the closing bracket.
    """
    match = _MEMBER if is_object else _ELEMENT
    while found := match(text, offset):
        bare, double, single, string, other_string, number, word, separator, opening = found.groups()
        if opening is not None:
            return offset, found, False
        node: Scalar
        if string is not None:
            node = Scalar(found.start(4) - 1, found.end(4) + 1, string)
        elif number is not None:
            node = Scalar(found.start(6), found.end(6), float(number) if "." in number else int(number))
        elif word is not None:
            node = Scalar(found.start(7), found.end(7), _WORDS[word])
        else:
            node = Scalar(found.start(5) - 1, found.end(5) + 1, other_string)
        if bare is not None:
            entries.append(Entry(found.start(1), found.end(1), bare, node))
        elif double is not None:
            entries.append(Entry(found.start(2) - 1, found.end(2) + 1, double, node))
        elif is_object:
            entries.append(Entry(found.start(3) - 1, found.end(3) + 1, single, node))
        else:
            entries.append(Entry(node.start, node.start, None, node))
        offset = found.end()
        if separator != ",":
            return offset, None, True
    return offset, None, False


def container_entry(found: re.Match[str], node: Node) -> Entry:
    """The entry that `read_run` has found, now that its value has been read."""
    for group in (1, 2, 3):
        if found[group] is not None:
            quote = int(group > 1)
            return Entry(found.start(group) - quote, found.end(group) + quote, found[group], node)
    return Entry(node.start, node.start, None, node)


def separator_after(text: str, offset: int) -> tuple[int, str]:
    """The comma or bracket that follows `offset` and where it ends; empty where there is none."""
    found = _SEPARATOR(text, offset)
    return (found.end(), found[1]) if found is not None else (offset, "")
