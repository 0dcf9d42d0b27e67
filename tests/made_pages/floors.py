"""The picture of the floors in `docs/architecture.md`, made of the imports."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Final

from tests.source_tree import ROOT
from tests.test_architecture import FLOORS, imports_between_packages

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT: Final = ROOT / "docs" / "architecture.md"
_BEGIN: Final = "```mermaid\n"
_END: Final = "```\n"


def page() -> str:
    """The whole document, with the picture as the imports have it."""
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(_BEGIN)
    return f"{before}{_BEGIN}{picture()}{_END}{rest.partition(_END)[2]}"


def picture() -> str:
    """A flowchart of Mermaid's: a frame for each floor, a box for each package, and the imports that no other two imply."""
    lines = ["flowchart TB"]
    for number in reversed(range(len(FLOORS))):
        boxes = (f"    {package}" for package in FLOORS[number])
        lines += [f'  subgraph floor{number}["{number}"]', *boxes, "  end"]
    imports = imports_between_packages()
    for package in chain.from_iterable(reversed(FLOORS)):
        lines += [f"  {package} --> {other}" for other in sorted(_direct(package, imports))]
    return "\n".join([*lines, ""])


def _direct(package: str, imports: Mapping[str, set[str]]) -> set[str]:
    """What `package` imports, but for what something else that it imports leads to."""
    led_to: set[str] = set().union(*(_all_below(each, imports) for each in imports[package]))
    return imports[package] - led_to


def _all_below(package: str, imports: Mapping[str, set[str]]) -> set[str]:
    return imports[package].union(*(_all_below(each, imports) for each in imports[package]))
