"""Dependency floors are security floors: each has its reason here, and lowering one fails."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.source_tree import ROOT

# What must hold at least, and why. Raising a floor is free; lowering one needs the reason to be gone.
FLOORS: Final[dict[str, tuple[str, str]]] = {
    "aiohttp": ("3.14", "CVE-2026-34525 and earlier: HTTP parsing and smuggling in the server and the client"),
    "authlib": ("1.7", "CVE-2025-61920 and the state and PKCE handling before it"),
    "keyring": ("25.7", "the backends this program picks by class, with their errors as they are wrapped here"),
    "platformdirs": ("4.3", "folders on every supported system, without creating them"),
    "pluggy": ("1.6", "a hook call with a wrong argument is an error; old-style hook wrappers are gone"),
    "questionary": ("2.1", "prompts that end on Ctrl-C without a traceback"),
    "rich": ("14", "tables that do not interpret markup in received text"),
    "segno": ("1.6", "QR codes for a terminal without an image library"),
}
PYTHON_FLOOR: Final = "3.11"


def _declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {requirement.name.lower(): requirement for requirement in map(Requirement, project["dependencies"])}


def _floor_of(requirement: Requirement) -> Version:
    (floor,) = [Version(each.version) for each in requirement.specifier if each.operator == ">="]
    return floor


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return {match[1].lower(): match[2] for match in re.finditer(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE)}


@pytest.mark.requirement("E83")
def test_every_dependency_has_a_floor_with_a_reason_and_keeps_it() -> None:
    declared = _declared()
    assert declared.keys() == FLOORS.keys()
    lowered = {name: str(each) for name, each in declared.items() if _floor_of(each) < Version(FLOORS[name][0])}
    assert lowered == {}


@pytest.mark.requirement("E83")
def test_no_dependency_is_capped_against_security_updates() -> None:
    assert [str(each) for each in _declared().values() if any("<" in part.operator for part in each.specifier)] == []


@pytest.mark.requirement("E83")
@pytest.mark.parametrize("name", ["constraints.txt", "requirements.lock"])
def test_the_pins_keep_the_floors(name: str) -> None:
    pins = _pins(name)
    assert {each: pins.get(each) for each, (floor, _) in FLOORS.items() if Version(pins.get(each, "0")) < Version(floor)} == {}


@pytest.mark.requirement("E83")
def test_the_pins_of_both_files_are_the_same() -> None:
    assert _pins("constraints.txt") == _pins("requirements.lock")


@pytest.mark.requirement("E83")
def test_every_locked_version_carries_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = [entry for entry in re.split(r"\n(?=[A-Za-z0-9])", lock.replace("\\\n", " ")) if "==" in entry]
    assert [entry.split("==")[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in lock + (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.requirement("E83")
def test_what_runs_here_keeps_the_floors() -> None:
    below = {}
    for name, (floor, _) in FLOORS.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if Version(version) < Version(floor):
            below[name] = version
    assert below == {}


@pytest.mark.requirement("E83")
def test_the_python_floor_holds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">={PYTHON_FLOOR}"
    assert sys.version_info >= tuple(map(int, PYTHON_FLOOR.split(".")))
