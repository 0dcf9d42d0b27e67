"""The tools that people point at the gateway, where `.ci/run` has installed them, and a desk at which they are started."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from portico.config.schema import DEFAULT_PORT
from portico.util.children import portico_command
from tests.e2e.documents.blocks_of_documents import blocks
from tests.source_tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.minimax_session import MinimaxSession

FOLDER: Final = Path(__file__).parent / "clients"
BINARIES: Final = (FOLDER / "node_modules" / ".bin", FOLDER / "venv" / "bin")
# No news, statistics or downloads; what is tried all the same ends at the emulator's proxy.
_QUIET: Final = {
    "AIDER_ANALYTICS": "false",
    "AIDER_CHECK_UPDATE": "false",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}
_ENDS_S: Final = 15
_COMMAND: Final = re.compile(r"^\$ (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Client:
    """A tool without a terminal. `words` start it, and the question comes last; `needs` is what has to be installed."""

    id: str
    words: tuple[str, ...]
    needs: Path
    by_stdin: bool = False
    is_script: bool = False

    def is_here(self) -> bool:
        return self.needs.exists() and (not self.is_script or shutil.which("node") is not None)

    @property
    def name(self) -> str:
        return self.words[0]

    def asking(self, question: str) -> tuple[list[str], str]:
        """The command, and its standard input."""
        return ([*self.words], question) if self.by_stdin else ([*self.words, question], "")


_NODE, _PYTHON = BINARIES
_CODEX: Final = ("codex", "exec", "--skip-git-repo-check", "--sandbox", "danger-full-access")
_AIDER: Final = (
    "aider",
    "--no-git",
    "--yes-always",
    "--no-show-model-warnings",
    "--edit-format",
    "diff",
    "word.txt",
    "--message",
)
_LOOK: Final = str(FOLDER / "look.mjs")
CLIENTS: Final = (
    Client("claude", ("claude", "--allowedTools", "Read", "-p"), _NODE / "claude"),
    Client("codex", _CODEX, _NODE / "codex", is_script=True),
    Client("opencode", ("opencode", "run"), _NODE / "opencode", by_stdin=True),
    Client("aider", _AIDER, _PYTHON / "aider"),
    Client("llm", ("llm", "-m", "portico", "--functions", "look.py"), _PYTHON / "llm"),
    Client("anthropic-js", ("node", _LOOK, "anthropic"), FOLDER / "node_modules" / "@anthropic-ai" / "sdk", is_script=True),
    Client("openai-js", ("node", _LOOK, "openai"), FOLDER / "node_modules" / "openai", is_script=True),
)


def installed(*ids: str) -> list[Client]:
    """Those of these clients that are here."""
    return [client for client in CLIENTS if client.id in ids and client.is_here()]


@dataclass(slots=True)
class Desk:
    """Somebody who is signed in, in a project folder and a home of their own."""

    session: MinimaxSession
    home: Path
    project: Path
    env: dict[str, str]

    def run(
        self, command: list[str], *, within: float, stdin: str = "", until: Callable[[str], bool] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The command to its end, or up to where `until` likes its output; then it gets SIGTERM.

        Raises:
            AssertionError: neither came `within` seconds.
        """
        output = self.project.parent / "output.txt"
        with output.open("w", encoding="utf-8") as file:
            process = subprocess.Popen(
                command, env=self.env, cwd=self.project, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
            )
        try:
            assert process.stdin is not None
            process.stdin.write(stdin.encode())
            process.stdin.close()
            code = _wait(process, output, within, until)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a client leaves behind, and all of it after a failure
            process.wait()
        text = output.read_text(encoding="utf-8", errors="replace")
        assert code is not None, f"{command} still ran after {within} s:\n{text}"
        return subprocess.CompletedProcess(command, code, text, "")

    def by_exec(self, client: Client, question: str, **more: object) -> subprocess.CompletedProcess[str]:
        """`portico exec -- CLIENT`."""
        words, stdin = client.asking(question)
        return self.run([*portico_command("exec", "--"), *words], stdin=stdin, **more)

    def by_shell(self, commands: list[str], *, stdin: str = "", within: float) -> subprocess.CompletedProcess[str]:
        """Commands in one shell."""
        return self.run(["bash", "-ec", "\n".join(commands)], stdin=stdin, within=within)

    def begin_gateway(self) -> int:
        """A gateway that stays; its port."""
        port: int = json.loads(self.session.ok("gateway", "start", "--port", "0", "--json"))["port"]
        return port


def _wait(process: subprocess.Popen[bytes], output: Path, within: float, until: Callable[[str], bool] | None) -> int | None:
    """The exit code; None if it did not come in time. One that had to be ended gets time to clear away."""
    step = within if until is None else 0.2
    for _ in range(max(1, round(within / step))):
        with suppress(subprocess.TimeoutExpired):
            return process.wait(step)
        if until is not None and until(output.read_text(encoding="utf-8", errors="replace")):
            process.send_signal(signal.SIGTERM)
            return process.wait(_ENDS_S)
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_ENDS_S)
    return None


def make_desk(session: MinimaxSession, folder: Path, launchers: Path) -> Desk:
    """A home and a project in `folder`; `portico` is on PATH."""
    home, project = folder / "somebody", folder / "project"
    home.mkdir()
    project.mkdir()
    path = os.pathsep.join([str(launchers), *map(str, BINARIES), os.environ["PATH"]])
    at_home = {"HOME": str(home), "PWD": str(project), "PATH": path, "LLM_USER_PATH": str(home / "llm")}
    xdg = {name: str(home / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    # Claude Code has no store of certificates of the system's.
    trust = {"NODE_EXTRA_CA_CERTS": session.env["SSL_CERT_FILE"]}
    return Desk(session, home, project, session.run_portico.environment({**session.env, **at_home, **xdg, **trust, **_QUIET}))


def page_block(page: str, holding: str, port: int = DEFAULT_PORT) -> str:
    """The block of a how-to page that holds this text, with the gateway's port of this test in it."""
    path = ROOT / "docs" / "how-to" / page
    (body,) = [block.body for block in blocks(path) if holding in block.body]
    return body.replace(f":{DEFAULT_PORT}", f":{port}")


def page_commands(page: str, holding: str) -> list[str]:
    """What is typed in that block."""
    return _COMMAND.findall(page_block(page, holding))
