"""How the benchmarks measure and print: commands taken in turns, medians, each figure as a ratio to a floor of the same run."""

from __future__ import annotations

import compileall
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
SOURCES = (ROOT / "src", *ROOT.glob("extensions/*/src"))
TOO_LONG_S = 60.0
# What an installer writes for `[project.scripts]`; one shape for every program that is compared.
LAUNCHER = "import sys\nfrom {module} import {function}\nsys.exit({function}())\n"


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the report. `unit` is `x` for a ratio to `floor`, else a unit of its own."""

    name: str
    value: float
    goal: float
    unit: str
    floor: str

    @property
    def met(self) -> bool:
        return self.value <= self.goal

    def __str__(self) -> str:
        value, goal = (f"{each:.4g}{'x' if self.unit == 'x' else f' {self.unit}'}".strip() for each in (self.value, self.goal))
        return f"{'ok  ' if self.met else 'MISS'}  {self.name:<44} {value:>12}   goal <= {goal:<10} {self.floor}"


def environment(**extra: str) -> dict[str, str]:
    """The environment of this process with the checkout on the path and byte-compilation on, as an installation has it."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**env, "PYTHONPATH": os.pathsep.join(map(str, SOURCES)), **extra}


def compile_everything() -> None:
    """Byte-compile Portico and the installed packages, so that no run pays for it."""
    for folder in (*SOURCES, *(Path(entry) for entry in sys.path if entry.endswith("site-packages"))):
        compileall.compile_dir(str(folder), quiet=2, workers=0)


def launcher(folder: Path, name: str, module: str, function: str = "main") -> list[str]:
    """The command that starts `module:function` under `name`, as an installed script would."""
    script = folder / name
    script.write_text(LAUNCHER.format(module=module, function=function), encoding="utf-8")
    return [sys.executable, str(script)]


def ratios(
    floor: Sequence[str], commands: Mapping[str, Sequence[str]], env: Mapping[str, str], *, rounds: int
) -> dict[str, float]:
    """Each command's wall time over that of `floor`: the median of the rounds' ratios, `floor` run right before each command."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            floor_s = _wall_s(floor, env)
            ratio = _wall_s(command, env) / floor_s
            if number:  # the first round warms caches
                found[name].append(ratio)
    return {name: statistics.median(each) for name, each in found.items()}


def _wall_s(command: Sequence[str], env: Mapping[str, str]) -> float:
    began = time.perf_counter()
    process = subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # A wait with a timeout looks at the process at 0.5, 1.5, 3.5, ... 63.5, 113.5 ms, and every time would be one of these.
    watchdog = threading.Timer(TOO_LONG_S, process.kill)
    watchdog.start()
    code = process.wait()
    wall_s = time.perf_counter() - began
    watchdog.cancel()
    if code:
        raise subprocess.CalledProcessError(code, list(command))
    return wall_s
