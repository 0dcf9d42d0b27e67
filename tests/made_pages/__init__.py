"""Pages that are made of the program itself, and a picture in one: `python -m tests.made_pages --write` renews them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.made_pages import commands, config, floors, hooks, renamed
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFERENCE: Final = ROOT / "docs" / "reference"
MADE: Final[dict[Path, Callable[[], str]]] = {
    REFERENCE / "commands.md": commands.page,
    REFERENCE / "config.md": config.page,
    REFERENCE / "hooks.md": hooks.page,
    ROOT / "docs" / "errors" / "renamed.md": renamed.page,
    floors.DOCUMENT: floors.page,
}
