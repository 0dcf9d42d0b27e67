"""A kill at any step of a commit or a delete: the old state or the new one, whole, and nothing left over."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from portico.store.vault import COMMIT_CRASH_POINTS, DELETE_CRASH_POINTS
from portico.util.files import FILE_CRASH_POINTS

SCENARIOS = ("first", "again", "delete")


@pytest.mark.requirement("E41")
@pytest.mark.parametrize(
    ("store", "scenario", "which"),
    [
        ("file", "again", "every"),
        ("file", "first", "own"),
        ("file", "delete", "own"),
        ("keyring", "again", "own"),
        ("keyring", "delete", "own"),
        ("long", "again", "own"),
        *(
            pytest.param(store, one, "every", marks=[pytest.mark.slow, pytest.mark.timeout(300)])
            for store, scenarios in (("file", ("first", "delete")), ("keyring", SCENARIOS), ("long", SCENARIOS))
            for one in scenarios
        ),
    ],
)
def test_a_kill_at_any_step_leaves_the_old_or_the_new_state_whole(secret_service, store, scenario, which):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.store.kill_matrix", store, scenario, which]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    expected = {
        *(DELETE_CRASH_POINTS if scenario == "delete" else COMMIT_CRASH_POINTS),
        *(FILE_CRASH_POINTS if which == "every" else ()),
    }
    if scenario == "first":
        expected.remove("deleted")  # there is nothing old to delete
    assert {report["step"] for report in reports} >= expected
    old = "none" if scenario == "first" else "old"
    new = "none" if scenario == "delete" else "new"
    for report in reports:
        assert report["before"] in {old, new}, report
        assert report["after"] == report["before"], report
        assert report["records"] == (report["after"] != "none"), report
        assert (report["stuck"], report["leftovers"], report["again"]) == ([], 0, "new"), report
        assert report["keyed"] == (store == "long" and report["after"] == "new"), report
    states = [report["before"] for report in reports]
    turn = states.index(new) if new != old else 0
    assert states == [old] * turn + [new] * (len(states) - turn)
    assert secret_service.items() == []
