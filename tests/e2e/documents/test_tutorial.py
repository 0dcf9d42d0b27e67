"""The tutorial, followed to the letter in an empty home: this test knows no more of Portico than the page tells."""

from __future__ import annotations

import re
import signal
import subprocess
import time

import pytest

from portico.testing.canary import in_text
from tests.e2e.documents.blocks_of_documents import blocks
from tests.e2e.documents.test_blocks import ANSWERS
from tests.free_port import free_port
from tests.source_tree import ROOT

pytestmark = pytest.mark.interop

PAGE = ROOT / "docs" / "tutorial" / "first-sign-in.md"
KNOWN = ("PORTICO_", "MINIMAX_", "XDG_CONFIG", "XDG_STATE", "XDG_DATA", "HTTP_PROXY", "HTTPS_PROXY", "https_proxy", "http_proxy")


def commands():
    """What is typed, by the page's numbered sections."""
    text = PAGE.read_text(encoding="utf-8")
    starts = {int(found[1]): text[: found.start()].count("\n") for found in re.finditer(r"^## (\d)\.", text, re.MULTILINE)}
    typed = {}
    for block in blocks(PAGE):
        section = max((number for number, line in starts.items() if line < block.line), default=0)
        prompted = re.split(r"^\$ ", block.body, flags=re.MULTILINE)[1:]
        typed.setdefault(section, []).extend(each.partition("\n")[0] for each in prompted)
    return typed


@pytest.fixture
def home(machine, tmp_path):
    """A home with nothing in it; of Portico the machine knows a port alone, since a gateway of the user's may have the usual one."""
    folder = tmp_path / "newcomer"
    folder.mkdir(mode=0o700)
    inherited = {name: value for name, value in machine.env.items() if not name.startswith(KNOWN)}
    machine.env = inherited | {"HOME": str(folder), "PORTICO_GATEWAY_PORT": str(free_port())}
    return folder


def test_somebody_who_knows_nothing_else_signs_in_uses_a_tool_and_signs_out(machine, home):
    typed = commands()
    (first,) = typed[1]
    emulator = subprocess.Popen(
        ["bash", "-c", f"exec {first}"], env=machine.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 20
        while subprocess.run(["bash", "-c", typed[2][0]], env=machine.env, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, "the emulator does not come up"
            time.sleep(0.1)
        script = home / "typed.sh"
        script.write_text("\n".join(["set -e", *typed[2], *typed[3], *typed[4][:-1], f"! {typed[4][-1]}"]), encoding="utf-8")
        terminal = machine.open_terminal("bash", str(script), term="dumb", columns=160)
        code = terminal.end(timeout=50, answers=ANSWERS)
        text = terminal.text
    finally:
        emulator.send_signal(signal.SIGINT)
        emulator.wait(30)

    assert code == 0, text
    assert "This is Portico's emulator, answering as MiniMax-M2.1. You said: Say hello in one sentence." in text
    assert '"object": "list"' in text
    assert "minimax-portal:default" in text
    assert in_text(text) == []
    assert emulator.returncode == 0
    assert machine.records() == []
    assert [path for path in home.rglob("*") if path.is_file() and path != script and "locks" not in path.parts] == []
