"""How long Portico takes to start, against the interpreter doing nothing."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from figures import Figure, compile_everything, environment, launcher, ratios

FLOOR = "x = `python -c pass`"
GOALS = {"--version": 2.5, "--help": 6.0, "plugins list": 12.0}


def measure(rounds: int = 15) -> list[Figure]:
    """`--version`, `--help` and `plugins list` as ratios to `python -c pass`."""
    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        portico = launcher(Path(folder), "portico", "portico.cli.main")
        commands = {name: [*portico, *name.split()] for name in GOALS}
        env = environment(PORTICO_STATE_DIR=f"{folder}/state", PORTICO_CONFIG=f"{folder}/portico.json5")
        found = ratios([sys.executable, "-c", "pass"], commands, env, rounds=rounds)
    return [Figure(f"portico {name}", found[name], goal, "x", FLOOR) for name, goal in GOALS.items()]


if __name__ == "__main__":
    print(*measure(), sep="\n")
