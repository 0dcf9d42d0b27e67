"""Long lines for a person: broken between words where the terminal ends, and nowhere that a copy of them would not work."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is a visible part of what a fresh token costs
if TYPE_CHECKING:
    from typing import TextIO


def fitted(text: str, stream: TextIO) -> str:
    """`text` as it is, or with its lines wrapped where `stream` is a terminal. Their indent is kept.

    What stands between backquotes is a command to copy, and is not broken; neither is any word, such as a URL.
    """
    if not stream.isatty():
        return text
    width = width_of(stream)
    return "\n".join(line if len(line) <= width else _wrapped(line, width) for line in text.split("\n"))


def fitted_help(text: str, stream: TextIO) -> str:
    """A command's help the same way; its examples are to be copied, and stay as they are."""
    blocks = text.split("\n\n")
    return "\n\n".join(block if block.startswith("examples:") else fitted(block, stream) for block in blocks)


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
