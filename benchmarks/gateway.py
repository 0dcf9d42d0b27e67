"""The gateway beside a plain pass-through: CPU time for a request, answers a second, time to the first byte, memory."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from figures import ROOT, Figure, compile_everything, environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).parent
# Many short turns: what else the machine does meanwhile then meets both servers alike.
SECONDS, ROUNDS = 0.5, 16
FLOOR = "x = a plain aiohttp pass-through of the same run (benchmarks/gateway_floor.py)"
MESSAGES = [{"role": "user", "content": "Say two hundred words. " * 20}]
FAILING = 10
PASSPHRASE = "only for this benchmark"


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two that are compared."""

    port: int
    pid: int
    key: str = "none"

    def memory_kib(self) -> int:
        """Resident memory, without what it shares with other processes."""
        text = Path(f"/proc/{self.pid}/smaps_rollup").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in text.splitlines()[1:])
        return sum(int(fields[name].split()[0]) for name in ("Private_Clean", "Private_Dirty"))

    def cpu_s(self) -> float:
        """Seconds of the processor so far, of all its threads and of the system for them, to the nanosecond."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text(encoding="ascii").split()[0]) for each in threads) / 1e9


def measure() -> list[Figure]:
    """Ratios to the floor; rates are given as the floor's over the gateway's, so that less is better everywhere."""
    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name, servers(Path(name)) as (gateway, floor):
        idle = gateway.memory_kib() - floor.memory_kib()
        figures = [Figure("idle memory over the floor's", idle / 1024, 35, "MiB", "private memory; the floor's taken off")]
        for what, stream in (("JSON", False), ("200 events", True)):
            for clients in (1, 32, 256) if not stream else (32,):
                figures += compared(gateway, floor, what, stream=stream, clients=clients)
        return figures


def compared(gateway: Server, floor: Server, what: str, *, stream: bool, clients: int) -> list[Figure]:
    """CPU time, rate and first byte of one kind of request, the two servers taken in turns."""
    cpu, rates, firsts = [], [], []
    with loaded(floor, stream=stream, clients=clients) as lower, loaded(gateway, stream=stream, clients=clients) as upper:
        for number in range(ROUNDS + 1):
            plain, ours = asked(floor, lower), asked(gateway, upper)
            if number:  # the first round warms up
                cpu.append(ours["cpu"] / plain["cpu"])
                rates.append(plain["rate"] / ours["rate"])
                firsts.append(ours["first"] / plain["first"])
    kinds = (
        ("CPU time for a request", cpu, 1.5),
        ("the floor's rate over ours", rates, 1.25),
        ("time to the first byte", firsts, 1.5),
    )
    return [_figure(f"{what}, {clients} at once: {name}", ratios, goal) for name, ratios, goal in kinds]


def _figure(name: str, ratios: Sequence[float], goal: float) -> Figure:
    """The median of the rounds, and between which ratios the middle half of them lies."""
    low, _, high = statistics.quantiles(ratios, n=4)
    return Figure(name, statistics.median(ratios), goal, "x", f"{FLOOR}; half of the rounds: {low:.2f} to {high:.2f}")


@contextlib.contextmanager
def loaded(server: Server, *, stream: bool, clients: int) -> Iterator[subprocess.Popen[str]]:
    """A process with so many connections to a server, for `asked`."""
    body = json.dumps({"model": "bench/model", "stream": stream, "messages": MESSAGES}, separators=(",", ":"))
    given = json.dumps({"port": server.port, "body": body, "clients": clients})
    command = [sys.executable, str(HERE / "gateway_load.py"), given]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        _say(process, server.key)
        yield process
        process.communicate()


def asked(server: Server, load: subprocess.Popen[str]) -> Mapping[str, float]:
    """One turn of the load, and the server's seconds of the processor for each answer."""
    before = server.cpu_s()
    _say(load, str(SECONDS))
    found: dict[str, float] = json.loads(load.stdout.readline())  # type: ignore[union-attr]
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} requests failed")
    return {**found, "cpu": (server.cpu_s() - before) / found["answers"]}


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[Server, Server]]:
    """The gateway and the floor before one stub of a provider."""
    with started([sys.executable, str(HERE / "gateway_stub.py")]) as stub:
        upstream = int(stub.stdout.readline())  # type: ignore[union-attr]
        with started([sys.executable, str(HERE / "gateway_floor.py"), f"http://127.0.0.1:{upstream}"]) as floor:
            floor_port = int(floor.stdout.readline())  # type: ignore[union-attr]
            env = gateway_environment(folder, upstream)
            portico = [sys.executable, "-m", "portico", "gateway"]
            key = subprocess.run(
                [*portico, "key", "add", "bench", "--store", "file"], env=env, capture_output=True, text=True, check=True
            ).stdout.strip()
            with started([*portico, "run", "--port", "0", "--json"], env) as gateway:
                port = json.loads(gateway.stdout.readline())["port"]  # type: ignore[union-attr]
                time.sleep(0.5)
                yield Server(port, gateway.pid, key), Server(floor_port, floor.pid)


def gateway_environment(folder: Path, upstream: int) -> dict[str, str]:
    """An installation whose one provider is the stub, and some that answer 529 to everything."""
    base, rest = f"http://127.0.0.1:{upstream}", {"api": "openai-completions", "models": [{"id": "model"}]}
    providers = {f"failing{number}": {"baseUrl": f"{base}/fail/v1", **rest} for number in range(FAILING)}
    providers["bench"] = {"baseUrl": f"{base}/v1", **rest}
    chosen = {"model": {"primary": "bench/model", "fallbacks": []}}
    config = folder / "portico.json5"
    config.write_text(json.dumps({"models": {"providers": providers}, "agents": {"defaults": chosen}}), encoding="utf-8")
    places = {"PORTICO_CONFIG": str(config), "PORTICO_STATE_DIR": str(folder / "state"), "HOME": str(folder)}
    return environment(**places, PORTICO_PASSPHRASE=PASSPHRASE)


@contextlib.contextmanager
def started(command: list[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A server process, ended with the block."""
    log = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=dict(env or environment()), stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    print(*measure(), sep="\n")
