"""`usage` against one bare request to the same place, and the sums of a million noted requests against a plain `SELECT sum`."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Figure, compile_everything, environment, launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from portico.usage.history_file import HistoryFile

ROWS = 1_000_000
ENTRIES = 5_000
URL = "https://api.minimax.io/v1/token_plan/remains"
ONBOARD = ("onboard", "--auth-choice", "minimax-portal", "--region", "global", "--flow", "browser", "--non-interactive")
PLAIN = "x = SELECT sum of the five columns over the same file, in the same run"
BARE = "beyond a Python that asks the same URL with aiohttp: that takes"
# One round trip as a program without Portico makes it: Python, aiohttp, TLS, one GET.
GET = """
import asyncio, os, ssl, aiohttp
async def get():
    async with aiohttp.ClientSession(trust_env=True) as session:
        headers = {"Authorization": "Bearer " + os.environ["BENCH_KEY"]}
        async with session.get(os.environ["BENCH_URL"], headers=headers, ssl=ssl.create_default_context()) as response:
            assert (await response.json(content_type=None))["base_resp"]["status_code"] == 0
asyncio.run(get())
"""


def measure(rounds: int = 15) -> list[Figure]:
    """The plan's round trip, the sums of the history, and what noting one request costs who notes it."""
    compile_everything()
    return [_asking(rounds), *_summing(), _recording()]


def _asking(rounds: int) -> Figure:
    """`portico usage` with one sign-in, in ms beyond the bare request."""
    from minimax_portal_auth.plugin import portico_emulators
    from portico.interfaces.plugins import EmulatorOptions
    from portico.testing.emulated import emulated
    from portico.testing.secret_service import secret_service

    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name, secret_service() as service:
        folder = Path(name)
        with emulated(list(portico_emulators()), EmulatorOptions(redirect=True), folder / "emulation") as info:
            env = environment(**service.env, **info.env, HOME=name, BENCH_KEY="sk-emulator-global", BENCH_URL=URL)
            portico = launcher(folder, "portico", "portico.cli.main")
            subprocess.run([*portico, *ONBOARD, "--no-background", "--quiet"], env=env, check=True, capture_output=True)
            told = subprocess.run([*portico, "usage", "--json"], env=env, check=True, capture_output=True)
            assert json.loads(told.stdout)["accounts"][0]["state"] == "told"
            bare = [sys.executable, "-c", GET]
            found = [(_wall_ms(bare, env), _wall_ms([*portico, "usage"], env)) for _ in range(rounds + 1)][1:]
    beyond = statistics.median(usage - floor for floor, usage in found)
    ratio = statistics.median(usage / floor for floor, usage in found)
    note = f"{BARE} {statistics.median(floor for floor, _ in found):.3g} ms, this {ratio:.3g}x"
    return Figure("portico usage, one sign-in", beyond, 200, "ms", note)


def _summing() -> list[Figure]:
    from portico.paths import Paths
    from portico.usage.cost import spending
    from portico.usage.history_file import HistoryFile

    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name:
        file = HistoryFile(Paths(Path(name) / "none", Path(name) / "state", "bench"), print)
        _fill(file)
        dearest, times = 0.0, []
        for by in ("model", "profile", "client", "day"):
            ratio, wall_ms = _ratio(lambda by=by: spending(file, 0, by), lambda: file.read(_plain))  # type: ignore[misc]
            dearest, times = max(dearest, ratio), [*times, wall_ms]
    return [
        Figure(f"usage cost, {ROWS:,} requests, the dearest way", dearest, 5, "x", PLAIN),
        Figure("the same", max(times), 2000, "ms", "by model, profile, client or day"),
    ]


def _plain(history: object) -> object:
    columns = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_usd")
    return history.execute(f"SELECT {', '.join(f'sum({column})' for column in columns)} FROM requests").fetchall()  # type: ignore[attr-defined]


def _fill(file: HistoryFile) -> None:
    """A year of requests: twelve models, three tools, two accounts, and one in ten without a known price."""
    from portico.usage.history_file import INSERT

    now, step = time.time_ns() // 1_000_000, 365 * 86_400_000 // ROWS
    pick = random.Random(7)
    connection = file.open()
    connection.execute("BEGIN")
    connection.executemany(
        INSERT,
        (
            (
                now - (ROWS - number) * step,
                f"minimax-portal/MiniMax-M2.{pick.randrange(12)}",
                pick.choice(("minimax-portal:default", "minimax-portal:cn")),
                pick.choice(("ask", "claude-code", "aider")),
                "anthropic-messages",
                *(pick.randrange(9000) for _ in range(4)),
                pick.random() if pick.randrange(10) else None,
                *(400, 3000, "answered", 1),
            )
            for number in range(ROWS)
        ),
    )
    connection.execute("COMMIT")
    connection.close()


def _recording() -> Figure:
    """What `History.record` costs its caller, against a queue's own `put`."""
    from queue import SimpleQueue

    from portico.paths import Paths
    from portico.usage.entry import Entry
    from portico.usage.history import History

    entry = Entry(at_ms=1, model="acme/one", credential="c", client="bench", api="openai-completions")
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name:
        history = History(Paths(Path(name) / "none", Path(name) / "state", "bench"))
        queue: SimpleQueue[Entry] = SimpleQueue()
        put_us = _each_us(lambda: queue.put(entry))
        record_us = _each_us(lambda: history.record(entry))
        assert history.close(timeout_s=60)
    return Figure("noting one request, for who notes it", record_us, 50, "us", f"{put_us:.2g} us = SimpleQueue.put")


def _each_us(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(ENTRIES):
        work()
    return (time.perf_counter() - began) / ENTRIES * 1_000_000


def _ratio(work: Callable[[], object], floor: Callable[[], object], rounds: int = 5) -> tuple[float, float]:
    """The median of `work` over `floor`, taken in turns, and of `work` in ms; the first round warms both."""
    found = []
    for _ in range(rounds + 1):
        moments = [time.perf_counter()]
        for each in (floor, work):
            each()
            moments.append(time.perf_counter())
        found.append((moments[1] - moments[0], moments[2] - moments[1]))
    ratio = statistics.median(work_s / floor_s for floor_s, work_s in found[1:])
    return ratio, statistics.median(work_s for _, work_s in found[1:]) * 1000


def _wall_ms(command: Sequence[str], env: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=dict(env), check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    print(*measure(), sep="\n")
