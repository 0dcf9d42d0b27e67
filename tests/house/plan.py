"""The source as files: their lines, who imports whom, and where that goes in a circle."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from tests.source_tree import HOST, PLUGINS, Module, modules

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL_LINES: Final = 60
_NAMED_LIKE_MANY: Final = frozenset({"__init__", "__main__"})


@dataclass(frozen=True)
class House:
    """Every module of the program and of its plugins; what counts as the house itself is `own`, the program's."""

    own: tuple[Module, ...]
    plugins: tuple[Module, ...]

    @cached_property
    def lines(self) -> dict[str, int]:
        return {module.name: len(module.path.read_bytes().splitlines()) for module in self.own}

    @cached_property
    def importers(self) -> dict[str, set[str]]:
        """Who imports each module, in a function or for types alone too; a module that a table names is imported by that table."""
        found = defaultdict(set)
        for module in (*self.own, *self.plugins):
            for _, name in module.imports():
                found[self._module_of(name)].add(module.name)
            for name in _named(module):
                found[self._module_of(name)].add(module.name)
        return {name: importers - {name} for name, importers in found.items()}

    @cached_property
    def small(self) -> list[str]:
        """The modules of under `SMALL_LINES` lines that at most one other imports: a paragraph of that one."""
        rooms = (name for name, lines in self.lines.items() if lines < SMALL_LINES and not self._is_package(name))
        return sorted(name for name in rooms if len(self.importers.get(name, ())) <= 1)

    @cached_property
    def circles(self) -> list[list[str]]:
        """The groups of modules that import each other, in functions too; imports for types alone do not count."""
        graph = {module.name: {self._module_of(name) for name in _at_run_time(module)} - {module.name} for module in self.own}
        return sorted(sorted(group) for group in _strongly_connected(graph) if len(group) > 1)

    @cached_property
    def names_twice(self) -> list[str]:
        """File names that stand in more than one folder."""
        count = Counter(module.path.stem for module in self.own)
        return sorted(name for name, times in count.items() if times > 1 and name not in _NAMED_LIKE_MANY)

    def _module_of(self, name: str) -> str:
        """The module that an imported name is, or stands in; empty for one of somebody else's."""
        while name and name not in self._names:
            name = name.rpartition(".")[0]
        return name

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(module.name for module in (*self.own, *self.plugins))

    def _is_package(self, name: str) -> bool:
        return next(module.path.stem in _NAMED_LIKE_MANY for module in self.own if module.name == name)


def house() -> House:
    """The house as it stands in this checkout."""
    return House(tuple(modules(HOST)), tuple(module for source in PLUGINS for module in modules(source)))


def _named(module: Module) -> Iterator[str]:
    """The modules that a table names as text: `portico.cli.ask`, or `portico.cli.ask:run`."""
    for node in ast.walk(ast.parse(module.path.read_bytes())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("portico."):
            yield node.value.partition(":")[0]


def _at_run_time(module: Module) -> Iterator[str]:
    """What a module imports when it runs, wherever in it."""
    tree = ast.parse(module.path.read_bytes())
    for_types = {
        node.lineno
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for statement in block.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    yield from (name for line, name in module.imports() if line not in for_types)


def _strongly_connected(graph: dict[str, set[str]]) -> Iterator[set[str]]:
    """Tarjan's algorithm (SIAM Journal on Computing 1, 1972), without recursion."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    for root, first in graph.items():
        if root in index:
            continue
        work = [(root, iter(sorted(first)))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, others = work[-1]
            for other in others:
                if other not in graph:
                    continue
                if other not in index:
                    index[other] = low[other] = len(index)
                    stack.append(other)
                    work.append((other, iter(sorted(graph[other]))))
                    break
                if other in stack:
                    low[node] = min(low[node], index[other])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    at = stack.index(node)
                    yield set(stack[at:])
                    del stack[at:]
