"""What the documents tell a reader to type is typed here, page by page, on a machine that meets the emulator."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from portico.config.document import Document
from portico.config.schema import DEFAULT_PORT
from portico.testing.canary import in_text
from tests.e2e.documents.blocks_of_documents import PAGES, SHELL, blocks
from tests.free_port import free_port
from tests.needs import needs
from tests.source_tree import ROOT

KEY = "sk-emulator-global"
KNOWN = {*SHELL, "json", "json5", "mermaid", "python", "text"}
# What is asked while a page is typed, and what is answered.
ANSWERS = {r"Select MiniMax.*endpoint[\s\S]*?\[1\]": "1\r", r"Stay signed in": "n\r"}
# What the pages call besides Portico, Python and the parts of every system.
TOOLS = ("curl", "sed", "git", "make")

EVERY = [block for page in PAGES for block in blocks(page)]
TYPED = {page: [each for each in blocks(page) if each.language in SHELL and each.is_run] for page in PAGES}


@pytest.fixture
def desk(machine, minimax, tmp_path):
    """A machine with a key in a file, in a folder of its own, that meets the emulator."""
    session = minimax(redirect=False)
    machine.env |= session.run_portico.environment(session.env) | {"PATH": machine.env["PATH"]}
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "key.txt").write_text(f"{KEY}\n", encoding="utf-8")
    machine.env["DESK"] = str(folder)
    return machine


@pytest.fixture
def at_its_port(desk):
    """Puts the gateway's port on this desk in the place of the usual one, which a gateway of the user's may have."""
    port = desk.env["PORTICO_GATEWAY_PORT"] = str(free_port())
    yield lambda text: text.replace(f":{DEFAULT_PORT}", f":{port}")
    desk.type("gateway", "stop")


def sign_in(machine):
    """What a page has done before, where it does not say how to sign in."""
    result = machine.type(
        "onboard", "--auth-choice", "minimax-portal", "--region", "global", "--non-interactive", "--no-background"
    )
    assert result.returncode == 0, result.stderr


def typed(machine, commands):
    """The commands, one after another in one shell on a terminal, up to the first that fails; what it shows."""
    script = machine.folder / "page.sh"
    script.write_text("\n".join(["set -e", 'cd "$DESK"', *commands]), encoding="utf-8")
    terminal = machine.open_terminal("bash", "-v", str(script), term="dumb", columns=160)
    code = terminal.end(timeout=120, answers=ANSWERS)
    machine.terminals.remove(terminal)
    text = terminal.text
    # `auth token` is what shows one, each time that it is typed and nowhere else.
    tokens = in_text(text)
    assert len(tokens) == len([each for each in commands if each.startswith("portico auth token")])
    for token in tokens:
        text = text.replace(token, "the token")
    machine.keep(text)
    assert code == 0, text
    return text


def test_every_block_has_a_language_and_what_is_not_run_says_why():
    assert len(EVERY) > 20
    assert [block.place for block in EVERY if block.language not in KNOWN] == []
    assert [block.place for block in EVERY if any(len(reason) < 10 for reason in block.left_out.values())] == []
    for block in EVERY:
        assert all(text in block.body for text in block.left_out), block.place


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.interop] * (page.name != "README.md")) for page in PAGES if TYPED[page]],
    ids=lambda page: str(page.relative_to(ROOT)).replace("/", " "),
)
def test_a_page_can_be_typed_as_it_stands(desk, at_its_port, page):
    commands = dict([at_its_port(part) for part in each] for block in TYPED[page] for each in block.commands())
    needs(*(tool for tool in TOOLS if any(re.search(rf"\b{tool}\b", command) for command in commands)))
    if not any("onboard" in command for command in commands):
        sign_in(desk)

    text = " ".join(typed(desk, [*commands]).split())

    assert [shown for shown in commands.values() if " ".join(shown.split()) not in text] == []


@pytest.mark.parametrize("block", [each for each in EVERY if each.language in {"json", "json5"}], ids=lambda each: each.place)
def test_a_configuration_in_a_page_is_one(run_portico, paths, block):
    Document.parse(block.body, name=block.place)
    if block.language == "json":
        json.loads(block.body)
        return
    paths.config.write_text(block.body, encoding="utf-8")

    result = run_portico("config", "validate", "--json", env={"WORKSHOP_KEY": KEY})

    assert (result.returncode, json.loads(result.stdout).get("problems", [])) == (0, [])


@pytest.mark.interop
@pytest.mark.parametrize(
    "block", [each for each in EVERY if each.language == "python" and each.is_run], ids=lambda each: each.place
)
def test_a_program_in_a_page_runs(desk, block):
    pytest.importorskip("anthropic", reason="the programs use the official SDKs")
    sign_in(desk)

    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", block.body], env=desk.env, capture_output=True, text=True, timeout=60, check=False
    )

    desk.keep(result.stdout + result.stderr)
    assert result.returncode == 0, result.stderr
    assert "answering as MiniMax-M2.1" in result.stdout
