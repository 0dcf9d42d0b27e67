"""The remedies that the source can print, as templates: `{prog}` is the program's name, `{}` whatever is filled in.

A remedy is what an error, a finding of `doctor` or a problem of the config carries as its hint, and any other text that names a
command of Portico's, but for the examples of help texts, which `tests/cli/test_main.py` checks. The source is read, not run: a
hint that comes from a variable is followed to the strings that the function, or a constant, gives it.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from tests.source_tree import HOST, PLUGINS, modules

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLDERS: Final = frozenset({"hint", "advice", "remedy"})  # keyword arguments, variables and attributes that hold one
# Functions whose argument at this place is a hint.
_POSITIONAL: Final = {
    "Finding": 4,
    "Problem": 4,
    "error": 2,
    "warn": 2,
    "report_unusable": 2,
    "_report_error": 4,
    "report_error": 2,
    "report_warning": 2,
    "_disabled": 2,
    "_Meaning": 2,
    "Meaning": 1,
}
_NOT_PRINTED_BY_PORTICO: Final = ("portico.testing", "minimax_portal_auth.emulator.pages")
_HELP: Final = frozenset({"_EXAMPLES", "epilog", "usage", "help", "description"})
_WORDS: Final = (*_HOLDERS, "prog}", ".program", "did_you_mean", "Finding(", "_disabled(", ".report_error(", ".report_warning(")
_ENOUGH: Final = 12  # characters of its own by which a part of a longer remedy is recognised
_MOST: Final = 40  # strings that one expression may stand for


@dataclass(frozen=True)
class Source:
    """One module: its tree, its constants, its functions."""

    name: str
    tree: ast.Module
    constants: dict[str, ast.expr] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)


@cache
def remedies() -> dict[str, set[str]]:
    """Each template with the names of the modules that print it."""
    found: dict[str, set[str]] = {}
    for source in _sources():
        for template in _of_module(source):
            text = template.strip()
            if re.search(r"[a-z]{3}", text.replace("{prog}", "")) or "{prog}" in text:
                found.setdefault(text, set()).add(source.name)
    return found


def pattern(template: str) -> re.Pattern[str]:
    """What a printed remedy of this template looks like."""
    parts = template.replace("{prog}", "portico").split("{}")
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)


def templates_in(printed: str) -> set[str]:
    """The templates that a printed remedy shows: the one that fits it best as a whole, and those that fit a line or a part.

    A template that is hardly more than what is filled in fits nearly everything, and so counts only as the best for the whole.
    """
    lines = [line.strip().removeprefix("- ") for line in printed.split("\n")]
    shown = {best for text in (printed, *lines) if (best := _best(text)) is not None}
    return shown | {each for each in remedies() if len(_own_words(each)) >= _ENOUGH and pattern(each).search(printed)}


def _best(text: str) -> str | None:
    fitting = [each for each in remedies() if pattern(each).fullmatch(text)]
    return max(fitting, key=lambda each: len(_own_words(each)), default=None)


def _own_words(template: str) -> str:
    return template.replace("{}", "").replace("{prog}", "")


@cache
def _sources() -> tuple[Source, ...]:
    found = []
    for root in (HOST, *PLUGINS):
        for module in modules(root):
            if module.name.startswith(_NOT_PRINTED_BY_PORTICO):
                continue
            text = module.path.read_text(encoding="utf-8")
            if not any(word in text for word in _WORDS):
                continue  # most modules, and reading all of them would take a second
            tree = ast.parse(text)
            found.append(Source(module.name, tree, _constants(tree), _functions(tree)))
    return tuple(found)


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    values: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    values[target.id] = node.value
    return values


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _named(kind: str, name: str, own: Source) -> tuple[Source, ast.AST] | None:
    """A constant or function: of the module itself, else the only one of that name."""
    if name in getattr(own, kind):
        return own, getattr(own, kind)[name]
    others = _by_name(kind).get(name, ())
    return others[0] if len(others) == 1 else None


@cache
def _by_name(kind: str) -> dict[str, list[tuple[Source, ast.AST]]]:
    found: dict[str, list[tuple[Source, ast.AST]]] = {}
    for source in _sources():
        for name, node in getattr(source, kind).items():
            found.setdefault(name, []).append((source, node))
    return found


def _of_module(source: Source) -> Iterator[str]:
    help_texts = _help_nodes(source.tree)
    docstrings = _docstrings(source.tree)
    for scope in _scopes(source.tree):
        local = _assigned(scope)
        for node in _own_nodes(scope):
            for expression in _hint_expressions(node):
                yield from _Texts(source, local).of(expression)
            if _names_a_command(node) and node not in help_texts and node not in docstrings:
                yield from (text for text in _Texts(source, local).of(node) if "{prog} " in text and "example" not in text[:9])


def _names_a_command(node: ast.AST) -> bool:
    """Whether it is a text that begins a command; strings by the ten thousand are none."""
    if not isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
        return False
    return any(
        (isinstance(each, ast.Constant) and isinstance(each.value, str) and "{prog}" in each.value)
        or (isinstance(each, ast.Attribute) and each.attr == "program")
        for each in ast.walk(node)
    )


class _Texts:
    """What an expression may come to, as templates."""

    def __init__(self, source: Source, local: dict[str, list[ast.expr]], depth: int = 0) -> None:
        self._source = source
        self._local = local
        self._depth = depth

    def of(self, node: ast.expr | None) -> list[str]:
        if node is None or self._depth > 8:
            return []
        found = list(dict.fromkeys(self._of(node)))
        return found[:_MOST]

    def _of(self, node: ast.expr) -> list[str]:  # noqa: C901, PLR0911 - one line for each kind of expression
        match node:
            case ast.Constant(value=str() as text):
                return [text]
            case ast.JoinedStr(values=values):
                return self._joined([self._piece(value) for value in values])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._joined([self.of(left) or ["{}"], self.of(right) or ["{}"]])
            case ast.IfExp(body=body, orelse=orelse):
                return [*self.of(body), *self.of(orelse)]
            case ast.BoolOp(values=values):
                return [text for value in values for text in self.of(value)]
            case ast.Name(id=name):
                return self._named(name)
            case ast.Dict(values=values):
                return [text for value in values for text in self.of(value)]
            case ast.List(elts=elements) | ast.Tuple(elts=elements):
                return [text for element in elements for text in self.of(element)]
            case ast.Starred(value=value) | ast.Subscript(value=value) | ast.NamedExpr(value=value):
                return self.of(value)
            case ast.GeneratorExp(elt=element) | ast.ListComp(elt=element):
                return self.of(element)
            case ast.Call():
                return self._called(node)
        return []

    def _piece(self, node: ast.expr) -> list[str]:
        """One part of an f-string: text as it is, and of what is filled in only what is always the same words."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        value = node.value if isinstance(node, ast.FormattedValue) else node
        if isinstance(value, ast.Attribute) and value.attr == "program" and ast.unparse(value.value) == "app":
            return ["{prog}"]
        if isinstance(value, ast.Name) and value.id in self._local:
            texts = self.of(value)
            return texts if texts and all("{prog}" in text for text in texts) else ["{}"]
        is_fixed = isinstance(value, ast.Name) or (isinstance(value, ast.Call) and _name(value) != "quote")
        texts = self.of(value) if is_fixed else []
        return texts if texts and all(re.search(r"[a-z]{3}", text) for text in texts) else ["{}"]

    def _joined(self, parts: list[list[str]]) -> list[str]:
        whole = [""]
        for part in parts:
            whole = [start + text for start in whole for text in part][:_MOST]
        return [re.sub(r"(\{\})+", "{}", text) for text in whole]

    def _named(self, name: str) -> list[str]:
        if name in self._local:
            deeper = _Texts(self._source, {key: value for key, value in self._local.items() if key != name}, self._depth + 1)
            return [text for value in self._local[name] for text in deeper.of(value)]
        known = _named("constants", name, self._source)
        return _Texts(known[0], {}, self._depth + 1).of(known[1]) if known is not None else []

    def _called(self, node: ast.Call) -> list[str]:
        name = _name(node)
        if isinstance(node.func, ast.Attribute) and name in {"join", "format", "replace", "rstrip", "get"}:
            inner = node.args[0] if name == "join" and node.args else node.func.value
            return self.of(inner)
        known = _named("functions", name, self._source)
        if known is None or name in {"str", "next", "iso"}:
            return []
        source, function = known
        returns = [each.value for each in _own_nodes(function) if isinstance(each, ast.Return)]
        return [text for value in returns for text in _Texts(source, _assigned(function), self._depth + 1).of(value)]


def _hint_expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.Call) and _name(node) != "replace":  # of a menu's row: what the choice is, and no remedy
        yield from (keyword.value for keyword in node.keywords if keyword.arg in _HOLDERS)
        at = _POSITIONAL.get(_name(node))
        if at is not None and len(node.args) > at:
            yield node.args[at]
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = {getattr(target, "attr", getattr(target, "id", "")) for target in targets}
        if names & _HOLDERS and node.value is not None:
            yield node.value


def _scopes(tree: ast.Module) -> list[ast.AST]:
    return [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))]


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope without those of the functions in it."""
    waiting = [*ast.iter_child_nodes(scope)]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            whole = isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add))
            waiting += [] if whole else [*ast.iter_child_nodes(node)]


def _assigned(scope: ast.AST) -> dict[str, list[ast.expr]]:
    found: dict[str, list[ast.expr]] = {}
    for node in _own_nodes(scope) if not isinstance(scope, ast.Module) else ():
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def _name(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def _help_nodes(tree: ast.Module) -> set[ast.AST]:
    values: list[ast.AST] = [value for name, value in _constants(tree).items() if name in _HELP or name.endswith("_EXAMPLES")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node) == "replace":
            values += node.args  # a part of a text that comes from elsewhere
        if isinstance(node, ast.keyword) and node.arg in _HELP:
            values.append(node.value)
        if isinstance(node, ast.Assign) and {getattr(each, "attr", getattr(each, "id", "")) for each in node.targets} & _HELP:
            values.append(node.value)
    return {inner for value in values for inner in ast.walk(value)}


def _docstrings(tree: ast.Module) -> set[ast.AST]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}
