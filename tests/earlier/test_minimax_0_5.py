"""A plugin written for 0.5.0's plugin API, in a folder of its author's: it loads, signs in, refreshes and reads the plan."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from portico.paths import CONFIG_ENV, STATE_ENV
from tests.minimax_session import GLOBAL, SIGN_IN, events, sealed_store, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FOLDER = Path(__file__).parent / "minimax_0_5" / "minimax_portal_auth"
DEVICE_FLOW = ("--region", "global", "--flow", "device", "--no-browser", "--store", "file", "--json")


@pytest.fixture
def ok(portico_run, tmp_path) -> Iterator[Callable[..., str]]:
    """Standard output of a command, in a process of its own, that uses the old plugin; tokens live for two seconds."""
    with start(tmp_path / "emulation", auto_approve=True, access_ttl_s=2) as info:
        env = {name: value for name, value in info.env.items() if name not in {CONFIG_ENV, STATE_ENV}} | sealed_store()
        portico_run.paths.config.parent.mkdir(parents=True, exist_ok=True)
        config = {"plugins": {"load": {"paths": [str(FOLDER)]}, "entries": {"minimax-portal-auth": {"enabled": True}}}}
        portico_run.paths.config.write_text(json.dumps(config), encoding="utf-8")

        def run(*words: str) -> str:
            done = portico_run(*words, env=env)
            assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stderr}\n{done.stdout}"
            return done.stdout

        yield run


def test_all_that_it_imports_of_portico_is_the_plugin_api():
    imported = {
        node.module
        for path in FOLDER.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("portico")
    }
    assert imported == {"portico.plugin_api"}


def test_it_is_loaded_from_its_folder_in_place_of_the_bundled_one(ok):
    (plugin,) = [each for each in json.loads(ok("plugins", "list", "--json"))["plugins"] if each["status"] != "disabled"]

    assert (plugin["id"], plugin["origin"], plugin["status"]) == ("minimax-portal-auth", "config", "loaded")
    assert Path(plugin["source"]).parent == FOLDER
    assert "portico_auth_methods" in json.loads(ok("plugins", "info", "minimax-portal-auth", "--json"))["hookNames"]


def test_it_signs_in_by_the_device_flow_refreshes_and_reads_the_plan(ok):
    told = events(ok(*SIGN_IN, *DEVICE_FLOW))
    assert [each["profile"] for each in told if each.get("event") == "signed-in"] == [GLOBAL]

    first = ok("auth", "token")
    assert any(ok("auth", "token") != first for _ in range(30))

    (account,) = json.loads(ok("usage", "--json"))["accounts"]
    assert account["windows"] != []
