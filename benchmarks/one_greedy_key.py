"""What one gateway key that asks for too much costs everybody else: waiting, memory, and the time to stop."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from figures import Figure, compile_everything
from gateway import HERE, PASSPHRASE, Server, gateway_environment, started
from gateway_load import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECONDS, EVERY_S, LONGEST_S = 8.0, 0.02, 5.0
BODY = 32 << 20
CONNECTIONS, HELD, COSTLY, NAMES, NAME = 2_100, 60, 4, 20, 8 << 20
SETTLING_S = {"half-sent bodies": 14.0}  # as long as it takes to open so many connections
FLOOR = "x = the same client alone, in the same run"
QUESTION = json.dumps({"model": "bench/model", "messages": []}, separators=(",", ":")).encode()


def measure() -> list[Figure]:
    """For each attack: the other client's median and longest wait over its median alone, and the growth of memory."""
    compile_everything()
    figures = []
    for name in ATTACKS:
        with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder, gateway(Path(folder)) as pair:
            figures += under(name, *pair)
            if name == "long names":
                figures += left_behind(Path(folder), pair[1])
            figures.append(Figure(f"{name}: seconds to stop", stopping(name, *pair), 5, "s", "from SIGTERM"))
    return figures


@contextlib.contextmanager
def gateway(folder: Path) -> Iterator[tuple[Server, Server, subprocess.Popen[str]]]:
    """A gateway as its greedy client and as its other client see it, and its process."""
    with started([sys.executable, str(HERE / "gateway_stub.py")]) as stub:
        env = gateway_environment(folder, int(stub.stdout.readline()))  # type: ignore[union-attr]
        assert PASSPHRASE in env.values()
        portico = [sys.executable, "-m", "portico", "gateway"]
        keys = [
            subprocess.run(
                [*portico, "key", "add", each, "--store", "file"], env=env, capture_output=True, text=True, check=True
            ).stdout.strip()
            for each in ("greedy", "other")
        ]
        with started([*portico, "run", "--port", "0", "--json"], env) as process:
            port = json.loads(process.stdout.readline())["port"]  # type: ignore[union-attr]
            time.sleep(0.5)
            greedy, other = (Server(port, process.pid, key) for key in keys)
            yield greedy, other, process


@dataclass
class Watch:
    """Asks as another client over a connection of its own each time, and looks at the gateway's memory."""

    server: Server
    waits: list[float] = field(default_factory=list)
    failed: int = 0
    peak_kib: int = 0

    def run(self, seconds: float) -> None:
        """Ask again and again for so long. A request that fails counts as the longest wait."""
        until = time.perf_counter() + seconds
        while (now := time.perf_counter()) < until:
            ok = self._asked()
            self.waits.append(time.perf_counter() - now if ok else LONGEST_S)
            self.failed += not ok
            self.peak_kib = max(self.peak_kib, self.server.memory_kib())
            time.sleep(EVERY_S)

    def _asked(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.server.port), timeout=LONGEST_S) as connection:
                connection.sendall(Request(self.server.port, self.server.key, QUESTION).raw())
                return connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        except OSError:
            return False


def under(name: str, greedy: Server, other: Server, _process: object) -> list[Figure]:
    """The figures of one attack."""
    alone, during = Watch(other), Watch(other)
    alone.run(0.5)  # warms up
    alone = Watch(other)
    alone.run(2.0)
    before = other.memory_kib()
    with attack(name, greedy):
        time.sleep(SETTLING_S.get(name, 0.0))
        during.run(SECONDS)
    floor = statistics.median(alone.waits)
    growth = (during.peak_kib - before) / 1024
    return [
        Figure(f"{name}: another client's median wait", statistics.median(during.waits) / floor, 5, "x", FLOOR),
        Figure(f"{name}: its longest wait", max(during.waits) * 1000, 500, "ms", f"alone {max(alone.waits) * 1000:.3g} ms"),
        Figure(f"{name}: its requests that failed", during.failed, 0, "", f"of {len(during.waits)}"),
        Figure(f"{name}: growth of memory", growth, 300, "MiB", "private memory; sampled"),
    ]


def stopping(name: str, greedy: Server, _other: Server, process: subprocess.Popen[str]) -> float:
    """Seconds from SIGTERM to the end of the process while it is attacked."""
    with attack(name, greedy):
        time.sleep(SETTLING_S.get(name, 2.0))
        began = time.perf_counter()
        process.terminate()
        process.wait(60)
        return time.perf_counter() - began


def left_behind(folder: Path, other: Server) -> list[Figure]:
    """What a key has made the gateway keep: the size of `/metrics`, and of the files in its state folder."""
    with socket.create_connection(("127.0.0.1", other.port), timeout=LONGEST_S) as connection:
        head = f"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{other.port}\r\nAuthorization: Bearer {other.key}\r\n\r\n"
        connection.sendall(head.encode())
        size = 0
        while piece := connection.recv(1 << 20):
            size += len(piece)
    kept = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return [
        Figure("long names: size of /metrics afterwards", size / 1024, 64, "KiB", ""),
        Figure("long names: files of the state folder", kept / 1024, 1024, "KiB", ""),
    ]


@contextlib.contextmanager
def attack(name: str, greedy: Server) -> Iterator[None]:
    """One attack, in a process of its own, for as long as the block runs."""
    command = [sys.executable, str(Path(__file__).resolve()), name, str(greedy.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(f"{greedy.key}\n")
        process.stdin.flush()
        try:
            yield
        finally:
            process.kill()


def _head(port: int, key: str, length: int) -> bytes:
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def half_sent(port: int, key: str) -> None:
    """Connections that each send a byte of a body now and then; one that is closed is opened anew."""
    head = _head(port, key, 100_000)
    opened: dict[int, socket.socket] = {}
    while True:
        for number in range(CONNECTIONS):
            try:
                if number in opened:
                    opened[number].send(b"{", socket.MSG_DONTWAIT)
                    continue
                opened[number] = socket.create_connection(("127.0.0.1", port), timeout=1)
                opened[number].sendall(head)
            except OSError:
                opened.pop(number, None)
        time.sleep(0.5)


def held(port: int, key: str) -> None:
    """Bodies of the longest length, each of them but for its last byte."""
    data = _head(port, key, BODY) + b'{"a":"' + bytes(BODY - 7)
    _at_once(HELD, lambda: _sent(port, data, waits=True))


def costly(port: int, key: str) -> None:
    """Bodies of as many empty objects as there is room for."""
    body = b'{"model":"bench/model","a":[' + b"{}," * ((BODY - 64) // 3) + b"{}]}"
    data = _head(port, key, len(body)) + body
    while True:
        _at_once(COSTLY, lambda: _sent(port, data))
        time.sleep(0.1)


def long_names(port: int, key: str) -> None:
    """Models whose names fill most of the body, each of them new."""
    for number in range(NAMES):
        body = json.dumps({"model": f"bench/{number}" + "x" * NAME, "messages": []}).encode()
        _sent(port, _head(port, key, len(body)) + body)


def _at_once(times: int, act: Callable[[], None]) -> None:
    threads = [threading.Thread(target=act) for _ in range(times)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def _sent(port: int, data: bytes, *, waits: bool = False) -> None:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        connection.recv(1 << 16)
        while waits:
            time.sleep(1)


ATTACKS = {"half-sent bodies": half_sent, "held bodies": held, "costly JSON": costly, "long names": long_names}

if __name__ == "__main__":
    if sys.argv[1:]:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        ATTACKS[sys.argv[1]](int(sys.argv[2]), sys.stdin.readline().strip())
    else:
        print(*measure(), sep="\n")
