"""From the redirect reaching Portico's callback server to the profile stored: keyring commit and config write included.

Real processes, a real Secret Service and the emulator behind its TLS proxy, whose token endpoint answers at once. The floor is a
write, read and delete of a record of the same size in the same keyring.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Figure, compile_everything, environment, launcher

if TYPE_CHECKING:
    from collections.abc import Mapping

GOAL_MS = 150.0
COMMAND = ("--json", "onboard", "--auth-choice", "minimax-portal", "--region", "global", "--flow", "browser")
OPTIONS = ("--non-interactive", "--no-background", "--timeout", "30")


def measure(rounds: int = 7) -> list[Figure]:
    """The time in milliseconds; the note gives it as a ratio to the keyring's own."""
    from portico.testing.secret_service import secret_service

    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name, secret_service() as service:
        os.environ |= service.env
        signed_in, floor = asyncio.run(_rounds(Path(name), rounds, service.env))
    floor_ms = statistics.median(floor)
    note = f"{statistics.median(signed_in) / floor_ms:.3g}x a keyring set+get+delete ({floor_ms:.3g} ms)"
    return [Figure("redirect caught to profile stored", statistics.median(signed_in), GOAL_MS, "ms", note)]


async def _rounds(folder: Path, rounds: int, bus: Mapping[str, str]) -> tuple[list[float], list[float]]:
    from minimax_portal_auth.plugin import portico_emulators
    from portico.emulation.run import run_emulation
    from portico.interfaces.plugins import EmulatorOptions

    command = launcher(folder, "portico", "portico.cli.main")
    signed_in, floor = [], []
    async with run_emulation(list(portico_emulators()), EmulatorOptions(redirect=True), folder / "emulation") as emulation:
        pristine = emulation.config.read_bytes() if emulation.config.exists() else None
        for _ in range(rounds):
            env = environment(**bus, **emulation.env, HOME=str(folder))
            signed_in.append(await _sign_in_ms(command, env))
            floor.append(await asyncio.to_thread(_keyring_ms))
            await asyncio.to_thread(_forget, emulation.state, emulation.config, pristine)
    return signed_in, floor


async def _sign_in_ms(command: list[str], env: Mapping[str, str]) -> float:
    """Run one sign-in; the time between its two JSON events, read as they are printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *COMMAND,
        *OPTIONS,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    seen: dict[str, float] = {}
    async for line in process.stdout:
        at = time.perf_counter()
        if line.lstrip().startswith(b"{"):
            seen.setdefault(str(json.loads(line).get("event")), at)
    if await process.wait() != 0:
        sys.exit("the sign-in failed; run `portico demo` to see why")
    return (seen["finished"] - seen["redirect-caught"]) * 1000


def _keyring_ms() -> float:
    import keyring

    began = time.perf_counter()
    keyring.set_password("portico-benchmark", "floor", "x" * 1400)
    keyring.get_password("portico-benchmark", "floor")
    keyring.delete_password("portico-benchmark", "floor")
    return (time.perf_counter() - began) * 1000


def _forget(state: Path, config: Path, pristine: bytes | None) -> None:
    shutil.rmtree(state)
    state.mkdir(mode=0o700)
    if pristine is None:
        config.unlink(missing_ok=True)
    else:
        config.write_bytes(pristine)


if __name__ == "__main__":
    print(*measure(), sep="\n")
