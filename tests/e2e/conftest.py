"""A machine with Portico on it: a command called `openclaw`, a real keyring, and the emulator as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import portico
from tests.needs import needs

if TYPE_CHECKING:
    from portico.testing.secret_service import SecretService
    from tests.e2e.terminal import Terminal

_CLIENTS = Path(__file__).parent / "clients"
if not any((_CLIENTS / name).exists() for name in ("node_modules", "venv")):
    collect_ignore = ["test_clients.py"]  # hundreds of megabytes, which `.ci/run` fetches
if sys.platform == "win32":
    collect_ignore_glob = ["test_*.py"]  # pseudo-terminals and signals are as POSIX has them

_LAUNCHER = "#!{python}\nimport sys\nfrom portico.cli.main import main\nsys.exit(main())\n"


@dataclass
class Machine:
    """Where a user sits. `env` is the shell's environment, `outputs` what the canary scan reads."""

    folder: Path
    env: dict[str, str]
    keyring: SecretService
    outputs: Path
    terminals: list[Terminal] = field(default_factory=list)

    def type(self, *words: str, keep: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """`openclaw WORDS`, without a terminal."""
        result = subprocess.run(
            ["openclaw", *words],
            env={**self.env, **env},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
        self.keep(result.stderr + (result.stdout if keep else ""))
        return result

    def sit_down(self, *words: str, term: str = "xterm", columns: int = 120, **env: str) -> Terminal:
        """`openclaw WORDS`, in a terminal; one of type `dumb` has no menus."""
        return self.open_terminal("openclaw", *words, term=term, columns=columns, **env)

    def open_terminal(self, *argv: str, term: str = "xterm", columns: int = 120, **env: str) -> Terminal:
        """Any program, in a terminal."""
        if term != "dumb":
            pytest.importorskip("questionary", reason="questionary draws the menus that are answered here")
        from tests.e2e.terminal import Terminal

        terminal = Terminal([*argv], {**self.env, **env}, term=term, columns=columns)
        self.terminals.append(terminal)
        return terminal

    def keep(self, text: str) -> None:
        """Leave `text` where the canary scan looks."""
        (self.outputs / f"{len(list(self.outputs.iterdir())):03d}.txt").write_text(text, encoding="utf-8")

    def records(self) -> list[str]:
        """The users of Portico's records in the Secret Service, as its attributes show them."""
        items = (item.attributes for item in self.keyring.items())
        return sorted(item["username"] for item in items if item.get("service") == "portico")

    @contextmanager
    def emulator(self, *options: str):
        """`openclaw emulator run`, and this machine's shell pointed at it as `emulator env` says."""
        process = subprocess.Popen(
            ["openclaw", "emulator", "run", "--json", *options], env=self.env, stdout=subprocess.PIPE, text=True
        )
        before = self.env
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            shell = subprocess.run(
                ["bash", "-c", 'eval "$(openclaw emulator env --shell bash)"; env -0'],
                env=self.env,
                capture_output=True,
                text=True,
                check=True,
            )
            self.env = dict(line.split("=", 1) for line in shell.stdout.split("\0") if line)
            yield ready
        finally:
            self.env = before
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            process.stdout.close()


@pytest.fixture
def launchers(tmp_path):
    """A folder for PATH, with the commands `portico` and `openclaw`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    launcher = folder / "portico"
    launcher.write_text(_LAUNCHER.format(python=sys.executable), encoding="utf-8")
    launcher.chmod(0o755)
    (folder / "openclaw").symlink_to(launcher)
    return folder


@pytest.fixture
def machine(paths, secret_service, launchers, tmp_path):
    needs("bash")
    outputs = tmp_path / "outputs"
    outputs.mkdir(exist_ok=True)
    path = (str(Path(portico.__file__).parent.parent), os.environ["PYTHONPATH"])
    env = {**os.environ, "PATH": f"{launchers}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(path)}
    user = Machine(tmp_path, env, secret_service, outputs)
    yield user
    for terminal in user.terminals:
        terminal.kill()
        user.keep(terminal.text)
