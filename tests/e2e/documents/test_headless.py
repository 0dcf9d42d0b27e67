"""The page on machines without a screen, typed section by section where there is no keyring and no bus to reach one."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from portico.config.schema import DEFAULT_PORT
from portico.store.profiles import ProfileIndex
from tests.e2e.documents.blocks_of_documents import blocks
from tests.key_index import key_index
from tests.needs import needs
from tests.source_tree import ROOT

PAGE = ROOT / "docs" / "how-to" / "headless.md"
pytestmark = [pytest.mark.interop, pytest.mark.requirement("E152"), pytest.mark.linux]


def section(title):
    """What is typed under the heading that begins with `title`, block by block."""
    text = PAGE.read_text(encoding="utf-8")
    heading = f"\n## {title}"
    assert text.count(heading) == 1, f"the page has no section {title}"
    start = text[: text.index(heading) + 1].count("\n") + 1
    end = next((n for n, line in enumerate(text.splitlines(), 1) if n > start and line.startswith("## ")), 1 << 30)
    return [[command for command, _ in each.commands()] for each in blocks(PAGE) if start < each.line < end and each.is_run]


@pytest.fixture
def server(machine, minimax, tmp_path):
    """Types commands in one shell of a machine that has neither a keyring nor a session bus, and meets the emulator."""
    session = minimax(redirect=False)
    folder = tmp_path / "desk"
    folder.mkdir()
    (folder / "key.txt").write_text("sk-emulator-global\n", encoding="utf-8")
    gone = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY", "PORTICO_PASSPHRASE", "PYTHON_KEYRING_BACKEND")
    env = machine.env | session.run_portico.environment(session.env) | {"PATH": machine.env["PATH"], "PORTICO_GATEWAY_PORT": "0"}
    env = {name: value for name, value in env.items() if name not in gone}

    def typed(commands):
        script = "\n".join(["set -e", *commands])
        assert f":{DEFAULT_PORT}" not in script
        result = subprocess.run(
            ["bash", "-c", script], env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        machine.keep(result.stderr)
        assert result.returncode == 0, result.stderr
        return result.stdout

    yield typed
    subprocess.run(
        ["portico", "gateway", "stop"],
        env=env,
        capture_output=True,
        check=False,
        executable=shutil.which("portico", path=env["PATH"]),
    )


def test_an_account_is_signed_in_kept_fresh_and_used_without_a_keyring(server, paths):
    output = server([command for part in ("Keep the tokens", "Stay signed in") for block in section(part) for command in block])

    assert "answering as MiniMax-M2.1" in output
    assert [profile.store for profile in ProfileIndex(paths).profiles()] == ["file"]


def test_a_job_with_an_api_key_alone_uses_models_tools_and_a_gateway_without_a_keyring(server, paths):
    needs("curl")
    passphrase, _ = section("Keep the tokens")

    output = server([*passphrase, *(command for block in section("In CI") for command in block)])

    assert "answering as MiniMax-M2.1" in output
    assert '"id": "minimax/MiniMax-M2.1"' in output
    assert output.splitlines()[-2].startswith("sk-portico-")
    assert ProfileIndex(paths).profiles() == ()
    assert [profile.store for profile in key_index(paths).profiles()] == ["file"]
