"""The house keeps its floors: `docs/architecture.md` tells them, and here they are enforced."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

import pytest

from tests.source_tree import HOST, PLUGINS, ROOT, Module, modules

if TYPE_CHECKING:
    from pathlib import Path

# Lowest first: a module imports only from its own floor or one below.
FLOORS: Final = (
    ("interfaces", "errors", "secret", "paths", "urls", "util", "version"),
    ("config", "net", "store"),
    ("oauth", "services", "terminal"),
    ("auth",),
    ("models",),
    ("usage",),
    ("plugins", "plugin_api"),
    ("app",),
    ("emulation",),
    ("gateway", "library", "testing"),
    ("integrations",),
    ("accounts", "doctor"),
    ("cli", "__main__"),
)
PLUGIN_MAY_IMPORT: Final = ("portico.plugin_api", "portico.testing")
# What is for trying and testing offline. Its commands are found by the command table alone, which names them as text.
TRYING: Final = ("portico.emulation", "portico.testing", "portico.cli.demo", "portico.cli.emulator")
# The callback server, the gateway and the emulator are the only parts of the program that listen.
BANNED: Final = ("httpx", "httpx2", "requests", "pydantic", "typer", "click", "msgspec", "pickle", "marshal", "shelve")


def _room(dotted: str) -> str:
    """`oauth` for `portico.oauth.pkce`; empty for `portico` itself and for names of its `__init__`."""
    parts = dotted.split(".")
    return (
        parts[1]
        if len(parts) > 1 and (HOST / "portico" / parts[1]).is_dir() | (HOST / f"portico/{parts[1]}.py").is_file()
        else ""
    )


def _floor(dotted: str) -> int:
    return next((number for number, rooms in enumerate(FLOORS) if _room(dotted) in rooms), -1)


def _is_host(dotted: str) -> bool:
    return dotted.split(".", maxsplit=1)[0] == "portico"


def _breaches(module: Module) -> list[str]:
    own = _floor(module.name)
    return [
        f"{module.path.relative_to(ROOT)}:{line}: floor {own} imports {name} of floor {_floor(name)}"
        for line, name in module.imports()
        if _is_host(name) and _room(name) and _floor(name) > own
    ]


def imports_between_packages() -> dict[str, set[str]]:
    """For each package, or module that stands beside them, the others that it imports."""
    found: dict[str, set[str]] = {room: set() for rooms in FLOORS for room in rooms}
    for module in modules(HOST):
        if module.name != "portico":
            found[_room(module.name)] |= {_room(name) for _, name in module.imports() if _is_host(name) and _room(name)}
    return {room: others - {room} for room, others in found.items()}


@pytest.mark.requirement("S1")
def test_every_package_of_the_host_stands_on_a_floor() -> None:
    rooms = {path.stem for path in (HOST / "portico").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    placed = {room for rooms in FLOORS for room in rooms}
    assert rooms - {"__init__"} == placed


@pytest.mark.requirement("S1")
def test_a_module_imports_only_from_its_own_floor_or_below() -> None:
    assert [breach for module in modules(HOST) if module.name != "portico" for breach in _breaches(module)] == []


@pytest.mark.requirement("S1")
def test_packages_of_one_floor_import_each_other_in_no_circle() -> None:
    TopologicalSorter(imports_between_packages()).prepare()  # CycleError names the circle


@pytest.mark.requirement("S1")
def test_the_document_lists_the_same_floors_from_the_top_down() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", text, re.MULTILINE)
    listed = [(int(number), tuple(re.findall(r"`(\w+)`", packages))) for number, packages in rows]
    assert listed == [*reversed([*enumerate(FLOORS)])]


@pytest.mark.requirement("S1")
def test_a_plugin_imports_the_plugin_api_and_the_test_kit_only() -> None:
    breaches = [
        f"{module.path.relative_to(ROOT)}:{line}: {name}"
        for source in PLUGINS
        for module in modules(source)
        for line, name in module.imports()
        if _is_host(name) and not name.startswith(PLUGIN_MAY_IMPORT)
    ]
    assert breaches == []


@pytest.mark.requirement("S1")
def test_nothing_on_a_users_path_imports_what_is_for_trying_and_testing() -> None:
    assert [
        f"{module.name}:{line}: {name}"
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        if not module.name.startswith(TRYING) and ".emulator" not in module.name
        for line, name in module.imports()
        if name.startswith(TRYING)
    ] == []


@pytest.mark.requirement("S1")
def test_the_host_never_imports_a_plugin_by_name() -> None:
    plugins = {module.name.split(".")[0] for source in PLUGINS for module in modules(source)}
    assert plugins
    assert [
        f"{module.name}:{line}: {name}"
        for module in modules(HOST)
        for line, name in module.imports()
        if name.split(".")[0] in plugins
    ] == []


def test_no_module_imports_a_library_that_portico_does_without_but_to_set_that_library_up() -> None:
    assert [
        f"{module.name}:{line}: {name}"
        for source in (HOST, *PLUGINS)
        for module in modules(source)
        if not module.name.startswith("portico.integrations.")
        for line, name in module.imports()
        if name.split(".")[0] in BANNED
    ] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from . import sibling", "portico.oauth.sibling"),
        ("from ..store import vault", "portico.store.vault"),
        ("from portico import errors", "portico.errors"),
        ("import portico.cli.main", "portico.cli.main"),
        ("if TYPE_CHECKING:\n    from portico.cli import main", "portico.cli.main"),
        ("def f():\n    import portico.cli", "portico.cli"),
    ],
)
def test_the_reader_of_imports_sees_every_form(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "probe.py"
    path.write_text(text, encoding="utf-8")
    assert expected in [name for _, name in Module("portico.oauth.probe", path).imports()]
