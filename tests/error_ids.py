"""The ids of everything that can be told: errors, findings of `doctor`, refusals of the gateway; as the source has them."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING, Final

from portico import errors
from tests.source_tree import HOST, PLUGINS, modules

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXIT_CODES: Final = {
    name: kind.exit_code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PorticoError)
}
# Functions that make such a thing, and which of their arguments is the id.
_MAKERS: Final = {"BadRequest": 1, "Finding": 0, "_refused": 2, "refused": 1}
# Where an id is passed on: of a failure that the index notes, of an error that `doctor` reports.
PASSED_ON: Final = frozenset(
    f"portico/{name}.py"
    for name in (
        *("auth/backoff", "doctor/examination", "doctor/file_checks", "doctor/finding", "doctor/model_checks", "gateway/api"),
        "cli/plugins",
    )
)


@cache
def ids_by_reporting() -> tuple[dict[str, set[int]], set[str]]:
    """Each id with the exit codes it comes with (none for what is no error), and the files that pass ids on."""
    codes_by_id: dict[str, set[int]] = {}
    passing: set[str] = set()
    for name, id in ((each.name, id) for each in leaf_classes() for id in _own_ids(each)):
        codes_by_id.setdefault(id, set()).add(exit_codes()[name])
    for source, module, tree in sources():
        constants = _constants(tree)
        for name, node in _made(tree):
            ids = _ids(node, constants)
            if not ids:
                passing.add(module.relative_to(source).as_posix())
            for id in ids:
                codes_by_id.setdefault(id, set()).update({exit_codes()[name]} if name in exit_codes() else set())
    return codes_by_id, passing


@cache
def leaf_classes() -> tuple[ast.ClassDef, ...]:
    """The classes of errors that the source defines, those of `errors.py` too."""
    codes = exit_codes()
    return tuple(kind for kind in _kinds() if kind.name in codes)


@cache
def exit_codes() -> dict[str, int]:
    """The exit code of each class of errors by its name: its own, or its base's."""
    codes = dict(EXIT_CODES)
    for _ in range(4):  # as deep as the tree is
        for kind in _kinds():
            bases = (base.id for base in kind.bases if isinstance(base, ast.Name) and base.id in codes)
            base = next(bases, None)
            if base is not None and kind.name not in EXIT_CODES:
                codes[kind.name] = _own_code(kind) or codes[base]
    return codes


@cache
def nameless() -> set[str]:
    """The classes that have no id of their own, nor from a leaf above them; those of `errors.py` take one in any case."""
    named = {kind.name for kind in leaf_classes() if any(_own_ids(kind)) and kind.name not in EXIT_CODES}
    for kind in leaf_classes():
        named |= {kind.name} if any(isinstance(base, ast.Name) and base.id in named for base in kind.bases) else set()
    return set(exit_codes()) - named


@cache
def sources() -> tuple[tuple[Path, Path, ast.Module], ...]:
    return tuple(
        (source, module.path, ast.parse(module.path.read_bytes()))
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        if not module.name.startswith(("minimax_portal_auth.emulator.", "portico.testing"))
    )


@cache
def _kinds() -> tuple[ast.ClassDef, ...]:
    return tuple(node for _, _, tree in sources() for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def _own_ids(kind: ast.ClassDef) -> Iterator[str]:
    for node in kind.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "id" and isinstance(node.value, ast.Constant):
            yield str(node.value.value)


def _own_code(kind: ast.ClassDef) -> int | None:
    for node in kind.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "exit_code" and isinstance(node.value, ast.Attribute):
            return int(getattr(errors.ExitCode, node.value.attr))
    return None


def _made(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What names an id where it is made: errors of a class that has none, findings, answers of the gateway."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        at = _MAKERS.get(name)
        if len(node.args) > 1 and name in nameless():
            at = 0
        if at is not None and len(node.args) > at:
            yield name, node.args[at]


def _constants(tree: ast.Module) -> dict[str, str]:
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }


def _ids(node: ast.expr, constants: dict[str, str]) -> set[str]:
    if isinstance(node, ast.IfExp):
        return _ids(node.body, constants) | _ids(node.orelse, constants)
    if isinstance(node, ast.Name) and node.id in constants:
        return {constants[node.id]}
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
