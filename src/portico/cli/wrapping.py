"""What a terminal is sent of a text: lines broken between words, nowhere that a copy of them would not work, and no controls.

What a model, a server or a file says may hold controls that repaint a terminal, fill its clipboard (OSC 52) or turn text around
(U+202E); see CVE-2003-0063 and CVE-2021-42574. They are shown as escapes. What goes to a pipe or a file stays as it is.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from typing import TextIO

# Controls (Cc), formats (Cf), separators of lines and paragraphs (Zl, Zp); not the spaces of other scripts, private letters, or
# what this Python's Unicode does not know yet.
_HIDDEN = ("Cc", "Cf", "Zl", "Zp")
# Line ends and tabs; formats that Arabic, Hebrew, Persian, the scripts of India and emoji are written with, and which turn around
# nothing beside them: soft hyphen, zero-width non-joiner and joiner; left-to-right, right-to-left and Arabic letter marks.
_PLAIN = frozenset("\n\t\u00ad\u200c\u200d\u200e\u200f\u061c")


def visible(text: str, stream: TextIO) -> str:
    r"""`text` as it is; where `stream` is a terminal, each control is shown by its number, as in JSON: ESC as `\u001b`."""
    if text.isprintable() or not stream.isatty():
        return text
    return "".join(map(_shown, text.replace("\r\n", "\n")))


def _shown(character: str) -> str:
    import unicodedata

    if character.isprintable() or character in _PLAIN or unicodedata.category(character) not in _HIDDEN:
        return character
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def fitted(text: str, stream: TextIO) -> str:
    """`text` as it is, or, where `stream` is a terminal, `visible` and with its lines wrapped. Their indent is kept.

    What stands between backquotes is a command to copy, and is not broken; neither is any word, such as a URL.
    """
    if not stream.isatty():
        return text
    width = width_of(stream)
    lines = visible(text, stream).split("\n")
    return "\n".join(line if len(line) <= width else _wrapped(line, width) for line in lines)


def fitted_help(text: str, stream: TextIO) -> str:
    """A command's help the same way; its examples are to be copied, and stay as they are."""
    blocks = text.split("\n\n")
    return "\n\n".join(visible(block, stream) if block.startswith("examples:") else fitted(block, stream) for block in blocks)


def _wrapped(line: str, width: int) -> str:
    import re

    words = re.findall(r"[^\s`]*`[^`]*`\S*|\S+", line)
    if not words:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    lines = [indent + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(indent + word)
    return "\n".join(lines)


def width_of(stream: TextIO) -> int:
    """Columns of the terminal that `stream` goes to; 80 where nobody says."""
    import os
    import shutil

    try:
        given = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        given = 0
    if given > 0:
        return given
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return shutil.get_terminal_size().columns
