from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from portico import errors
from portico.errors import ExitCode, PorticoError

SOURCES = [*Path("src/portico").rglob("*.py"), *Path("extensions/minimax-portal-auth/src").rglob("*.py")]
FAMILY = {name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PorticoError)}


def raised_ids() -> list[tuple[str, str]]:
    """Every literal error id in the sources, with its place."""
    ids = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FAMILY and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    ids.append((first.value, f"{source}:{node.lineno}"))
    return ids


def test_every_error_id_is_kebab_case():
    ids = raised_ids()

    assert len(ids) > 10
    assert [f"{location}: {id}" for id, location in ids if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id)] == []


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    drawn = re.findall(r"\+-- (\w+)\s+(\d+) ", errors.__doc__)
    real = [(name, str(getattr(errors, name).exit_code)) for name in FAMILY if name != "PorticoError"]

    assert sorted(drawn) == sorted(real)


def test_a_hint_speaks_the_name_the_user_typed():
    error = errors.SignInNeeded("not-signed-in", "nobody is signed in", hint="{prog} onboard")

    assert error.hint_for("openclaw") == "openclaw onboard"
    assert error.as_json("openclaw")["hint"] == "openclaw onboard"


def test_an_error_as_json_holds_only_what_is_known():
    assert PorticoError("some-id", "it broke").as_json("portico") == {"id": "some-id", "message": "it broke", "exitCode": 1}


def test_an_error_as_text_says_where_what_and_why():
    error = errors.ConfigError("config-syntax", "expected a comma", why="found a brace", where="a.json5:3:7")

    assert str(error) == "a.json5:3:7: expected a comma (found a brace)"


@pytest.mark.requirement("E78")
def test_the_exit_codes_are_distinct():
    codes = [value for name, value in vars(ExitCode).items() if name.isupper()]

    assert len(codes) == len(set(codes)) == 16
