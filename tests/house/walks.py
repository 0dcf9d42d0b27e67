"""Which files one command goes through: those of the program and of its plugins in which a function's body runs.

Bodies of modules and classes do not count, nor do processes that the command starts. Each walk is a process of its own, so that
nothing is there from another one, and meets the emulator with an account whose token is fresh and kept in a sealed file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from portico.paths import CONFIG_ENV, STATE_ENV
from tests.minimax_session import sealed_store, start
from tests.source_tree import HOST, PLUGINS, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGN_IN: Final = (
    *("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--flow", "device", "--no-browser"),
    *("--non-interactive", "--no-background", "--store", "file"),
)
COMMANDS: Final = {
    "auth token": ("auth", "token"),
    "config set": ("config", "set", "gateway.port", "18555"),
    "models list": ("models", "list"),
    "ask": ("ask", "Hello"),
}
REQUEST: Final = "gateway request"
ONBOARD: Final = "onboard"
_IN_THE_CHILD: Final = "from tests.house.walker import {}; {}()"


@dataclass(frozen=True)
class Walk:
    """The files that a walk went through, relative to the checkout."""

    name: str
    files: tuple[str, ...]


def walks() -> Iterator[Walk]:
    """Each walk, the sign-in first."""
    with TemporaryDirectory(prefix="portico-walks-") as folder, start(Path(folder) / "emulation", auto_approve=True) as info:
        config = Path(folder) / "portico.json5"
        config.write_text(info.config.read_text(encoding="utf-8"), encoding="utf-8")
        config.chmod(0o600)
        places = {CONFIG_ENV: str(config), STATE_ENV: str(Path(folder) / "state"), "HOME": folder}
        env = {**os.environ, **info.env, **places, **sealed_store()}
        walk = partial(_walk, env, Path(folder) / "files")
        yield walk(ONBOARD, "command", SIGN_IN)
        for name, words in COMMANDS.items():
            yield walk(name, "command", words)
        yield walk(REQUEST, "request", ())


def _walk(env: dict[str, str], seen: Path, name: str, function: str, words: tuple[str, ...]) -> Walk:
    path = os.pathsep.join(map(str, (ROOT, HOST, *PLUGINS)))
    done = subprocess.run(
        [sys.executable, "-c", _IN_THE_CHILD.format(function, function), *words],
        env={**env, "PYTHONPATH": path, "PORTICO_WALK": str(seen)},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return Walk(name, tuple(json.loads(seen.read_text(encoding="utf-8"))))
