"""Each remedy that Portico prints names commands that exist, and is followed by a test in the situation that prints it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from portico.store import encrypted_file
from tests import remedies as folder
from tests.commands import Commands
from tests.remedies.collected import remedies, templates_in
from tests.remedies.commands import accepted, named_commands
from tests.remedies.scenario import SCENARIOS, Desk

for module in pkgutil.iter_modules(folder.__path__):
    if module.name.startswith("in_"):
        importlib.import_module(f"{folder.__name__}.{module.name}")  # it enters its scenarios

pytestmark = pytest.mark.requirement("E179")


@pytest.fixture
def desk(run_portico, minimax, request, monkeypatch):
    monkeypatch.setattr(encrypted_file, "_COST", {"n": 16, "r": 1, "p": 1})  # most scenarios sign in; a file says its own cost
    return Desk(Commands(run_portico), minimax, lambda: request.getfixturevalue("secret_service"))


@pytest.mark.parametrize("name", [pytest.param(name, marks=each.marks) for name, each in SCENARIOS.items()])
def test_a_remedy_is_printed_in_its_situation_and_following_it_helps(name, desk):
    SCENARIOS[name].run(desk)

    shown = {template for printed in desk.printed for template in templates_in(printed)}
    assert set(SCENARIOS[name].prints) <= shown, f"printed were: {desk.printed}"


def test_every_remedy_has_a_scenario():
    """A new remedy needs one: `tests/remedies/scenario.py` says how."""
    claimed = {template for each in SCENARIOS.values() for template in each.prints}

    assert sorted(claimed - set(remedies())) == [], "these scenarios are of remedies that the source does not have"
    assert sorted(set(remedies()) - claimed) == [], "these remedies have no scenario"


def test_each_command_in_a_remedy_is_one_that_the_parser_takes():
    wrong = {(template, command) for template in remedies() for command in named_commands(template) if accepted(command) is None}
    assert wrong == set()
