from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from functools import cache

import pytest

from portico import errors
from portico.cli.explain import OLD_IDS
from portico.errors import ExitCode, PorticoError
from tests.error_ids import exit_codes, ids_by_reporting, leaf_classes, nameless, sources
from tests.source_tree import HOST, PLUGINS, modules


class Leaf(errors.ConfigError):
    """An error as the modules beside their code have them."""

    id = "leaf"


FAMILY = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PorticoError)}
# The notes of failures in the profile index have ids that earlier versions wrote, and no classes.
NOTES = {"portico.store.records"}


@cache
def all_ids():
    """The ids that errors have, and those that they had."""
    return {*ids_by_reporting()[0], *(old for olds in OLD_IDS.values() for old in olds)}


def test_every_error_id_is_kebab_case():
    ids = ids_by_reporting()[0]

    assert len(ids) > 50
    assert [id for id in ids if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id)] == []


def test_a_leaf_class_takes_its_message_alone_and_one_without_an_id_takes_it_first():
    """mypy takes one text or two for either."""
    nameless_here = {name for name in nameless() if not hasattr(getattr(errors, name, None), "id")}
    own = {kind.name for kind in leaf_classes() if any(getattr(node, "name", "") == "__init__" for node in kind.body)}
    plain = {*exit_codes()} - own - {"IssuerMismatch"}  # the others have constructors of another form
    found = []
    for _, path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in plain:
                texts = sum(not isinstance(arg, ast.Starred) for arg in node.args)
                found += (
                    [] if texts == (2 if node.func.id in nameless_here else 1) else [f"{path.name}:{node.lineno} {node.func.id}"]
                )

    assert found == []


def test_no_code_branches_on_the_text_of_an_id():
    found = [
        f"{module.name}:{node.lineno}"
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        if module.name not in NOTES
        for node in branches_on_ids(ast.parse(module.path.read_bytes()))
    ]

    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'error.id == "keyring-locked"',
        '"keyring-locked" != caught.value.id',
        'error.id in {"network", "keyring-locked"}',
        'getattr(error, "id", None) == "network"',
        'STATUS[error.id]\nSTATUS = {"network": 502}',
        'STATUS.get(error.id)\nSTATUS = {"network": 502}',
        'error.id in LOCKED\nLOCKED: Final = frozenset({"keyring-locked"})',
        'match error.id:\n    case "network": pass',
    ],
)
def test_every_branch_on_an_id_is_seen(source):
    assert branches_on_ids(ast.parse(source))


def test_what_has_an_id_and_is_no_error_is_left_alone():
    source = (
        'profile.id == "minimax:default"\nmodel.id in {"a", "b"}\nreport.state == "no-plan"\nNAMES[provider.id]\nNAMES = {"x": 1}'
    )

    assert branches_on_ids(ast.parse(source)) == []


def branches_on_ids(tree: ast.Module) -> list[ast.AST]:
    """Yield the branches on an attribute `id` that is the id of an error: comparisons, memberships, look-ups, cases."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    return [node for node in ast.walk(tree) if any(map(_is_id, _asked(node))) and _names_an_id(node, constants)]


def _asked(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.Subscript():
            return [node.slice]
        case ast.Call(func=ast.Attribute(attr="get" | "pop" | "startswith" | "endswith")):
            return [*node.args, node.func.value]
        case ast.Match():
            return [node.subject]
    return []


def _is_id(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return any(isinstance(each, ast.Constant) and each.value == "id" for each in node.args)
    return isinstance(node, ast.Attribute) and node.attr == "id"


def _names_an_id(node: ast.AST, constants: dict[str, ast.expr]) -> bool:
    named = [constants[each.id] for each in ast.walk(node) if isinstance(each, ast.Name) and each.id in constants]
    return any(isinstance(each, ast.Constant) and each.value in all_ids() for top in (node, *named) for each in ast.walk(top))


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    drawn = re.findall(r"\+-- (\w+)\s+(\d+) ", errors.__doc__)
    real = [(name, str(getattr(errors, name).exit_code)) for name in FAMILY if name != "PorticoError"]

    assert sorted(drawn) == sorted(real)


def test_a_hint_speaks_the_name_the_user_typed():
    error = errors.SignInNeeded("not-signed-in", "You are not signed in.", hint="{prog} onboard")

    assert error.hint_for("openclaw") == "openclaw onboard"
    assert error.as_json("openclaw")["hint"] == "openclaw onboard"


def test_an_error_as_json_holds_only_what_is_known():
    assert PorticoError("some-id", "it broke").as_json("portico") == {"id": "some-id", "message": "it broke", "exitCode": 1}


def test_an_error_as_text_says_where_what_and_why():
    error = errors.ConfigError("config-invalid", "expected a comma", why="found a brace", where="a.json5:3:7")

    assert str(error) == "a.json5:3:7: expected a comma (found a brace)"


def test_an_error_of_a_leaf_class_takes_its_message_alone():
    error = Leaf("it broke", hint="fix it")

    assert (error.id, error.message, str(error), error.exit_code) == ("leaf", "it broke", "it broke", 9)


def test_an_error_of_a_class_without_an_id_needs_one():
    with pytest.raises(TypeError, match="ConfigError needs an id"):
        errors.ConfigError("it broke")


@pytest.mark.parametrize("again", [lambda error: error.copy(), copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_an_error_that_is_copied_or_crosses_to_another_process_is_the_same(again):
    of_a_leaf, named = again(Leaf("it broke", where="a:1")), again(errors.OAuthError("some-id", "no", code="x", retry_after=2.0))

    assert (type(of_a_leaf), of_a_leaf.id, of_a_leaf.message, of_a_leaf.where) == (Leaf, "leaf", "it broke", "a:1")
    assert (named.id, str(named), named.code, named.retry_after) == ("some-id", "no", "x", 2.0)


@pytest.mark.requirement("E78")
def test_the_exit_codes_are_distinct():
    codes = [value for name, value in vars(ExitCode).items() if name.isupper()]

    assert len(codes) == len(set(codes)) == 16
