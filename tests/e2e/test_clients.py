"""Claude Code and Codex as clients of the gateway, started by `portico exec`: collected where `.ci/run` has installed them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from portico.gateway.keys import key_index
from portico.gateway.service import running

BIN = Path(__file__).parent / "clients" / "node_modules" / ".bin"
CLIENTS = {
    "claude": ("-p", "Say hello"),
    "codex": ("exec", "--skip-git-repo-check", "Say hello"),
}


@pytest.mark.parametrize("client", [name for name in CLIENTS if (BIN / name).exists()])
def test_a_real_client_gets_its_answer_through_the_gateway_and_leaves_nothing(minimax, tmp_path, client):
    session = minimax()
    session.sign_in("--region", "global")
    session.env |= {"HOME": str(tmp_path), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    folder = tmp_path / "project"
    folder.mkdir()

    done = subprocess.run(
        [sys.executable, "-m", "portico", "exec", "--", client, *CLIENTS[client]],
        env=session.run_portico.environment(session.env),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "This is Portico's emulator, answering as MiniMax-M2.1. You said:" in done.stdout
    spent = json.loads(session.ok("usage", "cost", "--by", "client", "--json"))
    assert [group["client"] for group in spent["rows"]] == [client]
    assert running(session.paths) is None
    assert [profile.client_id for profile in key_index(session.paths).profiles()] == ["default"]
