"""The provider page, and its fenced blocks as files of their own.

`minimax.md` is OpenClaw's page in Turkish, to the letter, as of February 2026 (https://docs.openclaw.ai/tr/providers/minimax; MIT).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
PAGE: Final = FOLDER / "minimax.md"
BLOCKS: Final = FOLDER / "blocks"
SUFFIXES: Final = {"bash": ".sh", "json5": ".json5"}
_FENCE: Final = re.compile(rb"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def fences() -> list[tuple[str, bytes]]:
    """The page's blocks in their order: the language, and the bytes."""
    return [(language.decode(), body) for language, body in _FENCE.findall(PAGE.read_bytes())]


def files() -> list[Path]:
    """The files of the blocks, in the page's order."""
    return sorted(BLOCKS.iterdir())
