"""The source tree as the tests about it see it: modules and what they import."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parent.parent
HOST: Final = ROOT / "src"
PLUGINS: Final = tuple(sorted(ROOT.glob("extensions/*/src")))


@dataclass(frozen=True, slots=True)
class Module:
    """One module of the project, by its dotted name."""

    name: str
    path: Path

    def imports(self) -> tuple[tuple[int, str], ...]:
        """(line, dotted name) of every import, also those in functions and under TYPE_CHECKING; relative ones resolved."""
        return _imports(self)

    def _imports(self) -> Iterator[tuple[int, str]]:
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        for node in ast.walk(ast.parse(self.path.read_bytes())):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                source = ".".join([*base, *([node.module] if node.module else [])])
                # `from portico import errors` names a module in its list; `from portico.errors import X` does not.
                yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


@cache
def _imports(module: Module) -> tuple[tuple[int, str], ...]:
    return tuple(module._imports())  # a dozen tests ask, and parsing the whole source takes a second


def modules(source: Path) -> list[Module]:
    """Every module under `source`, a folder that stands on the import path."""
    return [Module(_dotted(path.relative_to(source)), path) for path in sorted(source.rglob("*.py"))]


def _dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
