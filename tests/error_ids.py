"""The ids of everything that can be told: errors, findings of `doctor`, refusals of the gateway; as the source has them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from portico import errors
from portico.models import provider_errors
from portico.oauth import token_errors
from tests.source_tree import HOST, PLUGINS, modules

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_CODES: Final = {
    name: kind.exit_code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PorticoError)
}
# Functions that make such a thing, and which of their arguments is the id.
_MAKERS: Final = {"file_error": 0, "config_file_error": 2, "BadRequest": 1, "Found": 0, "kind": 0, "Interrupted": 0}
_REFUSERS: Final = {"_refused": 2, "refused": 1}
_OF_TABLES: Final = frozenset(
    {word.replace("_", "-") for word in token_errors._MEANINGS} | {words.id for words in provider_errors._ERROR_TEXTS.values()}
)
# Where an id is passed on, or chosen between two that stand in the same expression or come from the tables above.
PASSED_ON: Final = frozenset(
    f"portico/{name}.py"
    for name in (
        *(
            "auth/backoff",
            "cli/demo",
            "config/document",
            "doctor/examination",
            "doctor/files",
            "doctor/finding",
            "doctor/models",
            "gateway/api",
        ),
        *("models/provider_errors", "oauth/flow", "oauth/token_errors", "usage/plan", "util/files"),
    )
)


def ids_by_reporting() -> tuple[dict[str, set[int]], set[str]]:
    """Each id with the exit codes it comes with (none for what is no error), and the files that pass ids on."""
    codes_by_id: dict[str, set[int]] = {id: {errors.ExitCode.NETWORK} for id in _OF_TABLES}
    passing: set[str] = set()
    for source in (HOST, *PLUGINS):
        for module in modules(source):
            if module.name.startswith(("minimax_portal_auth.emulator", "portico.testing")):
                continue
            tree = ast.parse(module.path.read_bytes())
            constants = _constants(tree)
            for name, node in _made(tree):
                ids = _ids(node, constants)
                if not ids:
                    passing.add(module.path.relative_to(source).as_posix())
                for id in ids:
                    codes_by_id.setdefault(id, set()).update({EXIT_CODES[name]} if name in EXIT_CODES else set())
    return codes_by_id, passing


def _made(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        at = 0 if name in EXIT_CODES else {**_MAKERS, **_REFUSERS}.get(name)
        if at is not None and len(node.args) > at:
            yield name, node.args[at]
    yield from _of_classes(tree)


def _of_classes(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """What a class of errors with one id gives to its base, and the base."""
    for kind in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        base = next((each.id for each in kind.bases if isinstance(each, ast.Name) and each.id in EXIT_CODES), None)
        calls = (node for node in ast.walk(kind) if isinstance(node, ast.Call) and ast.unparse(node.func) == "super().__init__")
        yield from ((base, call.args[0]) for call in calls if base and call.args and isinstance(call.args[0], ast.Constant))


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
