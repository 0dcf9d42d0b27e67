"""Paths into a configuration, as OpenClaw writes them: `a.b[0].c`, a backslash before a dot that belongs to a key."""

from __future__ import annotations

import re
from typing import Final

from portico.errors import UsageError

ConfigPath = tuple[str | int, ...]

_MOST_DIGITS: Final = 9  # of a place in an array; Python refuses to read thousands of them
_STEP: Final = re.compile(
    rf"\[(?P<index>[0-9]{{1,{_MOST_DIGITS}}})\]"
    r"|\[\"(?P<quoted>(?:[^\"\\]|\\.)*)\"\]"
    r"|(?P<dot>\.?)(?P<key>(?:[^.\[\]\\]|\\.)+)",
    re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL: Final = re.compile(r"([.\[\]\\])")


def parse_path(text: str) -> ConfigPath:
    """The steps of a path. `["..."]` names a key that holds dots as well.

    Raises:
        UsageError: `text` is not a path (`config-path`).
    """
    steps: list[str | int] = []
    offset = 0
    while offset < len(text) or not steps:
        found = _STEP.match(text, offset)
        if found is None or (found["key"] is not None and bool(found["dot"]) == (offset == 0)):
            raise UsageError(
                "config-path",
                f"`{text}` is not a path into the configuration",
                why=f"it cannot be read from character {offset + 1} on",
                hint=r"write it as `models.providers.minimax.models[0].id`; a dot inside a key is written `\.`",
            )
        key = found["key"] if found["quoted"] is None else found["quoted"]
        steps.append(int(found["index"]) if key is None else _ESCAPED.sub(r"\1", key))
        offset = found.end()
    return tuple(steps)


def array_index(step: str | int) -> int | None:
    """The place in an array that `step` names, as `0` of `models.0.id` does; None if it names none, as no array is so long."""
    if isinstance(step, str):
        return int(step) if step.isascii() and step.isdecimal() and len(step) <= _MOST_DIGITS else None
    return step if step >= 0 else None


def format_path(path: ConfigPath) -> str:
    """`path` as `parse_path` reads it."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + (_SPECIAL.sub(r"\\\1", step) or '[""]')
    return text.replace('.[""]', '[""]')
