"""The fenced blocks of the documents, and what stands above them for whoever runs them.

A block is run unless a comment right above it says why not: `<!-- not run: REASON -->` for the whole of it, `<!-- not run: "TEXT": REASON -->`
for the commands that hold TEXT. What follows a command up to the next `$ ` is what it shows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.source_tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES: Final = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("extensions/*/*.md"))
    # Held block for block against the English page by a test of its own.
    if not path.name.endswith(".tr.md")
)
SHELL: Final = frozenset({"bash", "console", "sh"})
_BLOCK: Final = re.compile(r"((?:^<!-- .*? -->\n+)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NOT_RUN: Final = re.compile(r'<!-- not run: (?:"([^"]+)": )?(.+?) -->', re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block. `left_out` maps what is not run (an empty text: all of it) to the reason."""

    page: Path
    line: int
    language: str
    body: str
    left_out: dict[str, str]

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return "" not in self.left_out

    def commands(self) -> list[tuple[str, str]]:
        """(command, the first line that it shows) for each one that is run; a command goes on behind a backslash."""
        prompted = re.split(r"^\$ ", self.body.replace("\\\n", " "), flags=re.MULTILINE)[1:]
        matches = [each.partition("\n")[::2] for each in prompted] if self.language == "console" else [(self.body, "")]
        commands = [each for each in matches if not any(text in each[0] for text in self.left_out)]
        return [(command.partition("   #")[0].strip(), shown.strip().partition("\n")[0]) for command, shown in commands]


def blocks(page: Path) -> list[Block]:
    """Every block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page, text[: match.start(2)].count("\n") + 1, match[2], match[3], dict(_NOT_RUN.findall(match[1])))
        for match in _BLOCK.finditer(text)
    ]
