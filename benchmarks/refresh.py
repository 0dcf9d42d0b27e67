"""Refresh at expiry: one request serves every coroutine and every process, and a token from memory costs next to nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from figures import ROOT, Figure, compile_everything, environment

if TYPE_CHECKING:
    from portico.auth.broker import TokenBroker
    from portico.net.client import HttpClient
    from portico.paths import Paths
    from portico.store.profiles import ProfileIndex
    from portico.store.vault import Vault
    from portico.testing.authorization_server import AuthorizationServer

sys.path[:0] = [str(ROOT)]
COROUTINES, PROCESSES = 200, 20
ROUND_TRIP = "x = one refresh alone, lock to store, in the same run"
PROFILE = "bench:default"
IDLE_S = 20.0


def measure(rounds: int = 5) -> list[Figure]:
    """What the last caller waits, as a ratio to what one alone waits, and how many requests there were."""
    from portico.testing.secret_service import secret_service

    compile_everything()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as name, secret_service() as service:
        env = environment(
            **service.env, HOME=name, PORTICO_STATE_DIR=str(Path(name) / "state"), PORTICO_CONFIG=str(Path(name) / "none")
        )
        env["PYTHONPATH"] += os.pathsep + str(ROOT) + os.pathsep + str(Path(__file__).parent)
        os.environ |= env
        return asyncio.run(_measure(env, rounds))


@dataclass
class Bench:
    """A server that takes 50 ms for a refresh, and a store in a real Secret Service."""

    server: AuthorizationServer
    base: str
    vault: Vault
    index: ProfileIndex
    paths: Paths
    http: HttpClient

    def expire(self, *, expires_in_s: float = -1.0) -> None:
        from portico.secret import Secret
        from portico.store.records import OAuthProfile, Tokens
        from portico.testing.authorization_server import CLIENT_ID
        from portico.util.clock import SystemClock

        issued = self.server.mint.start(CLIENT_ID)
        now = SystemClock().wall_ms()
        profile = OAuthProfile(
            id=PROFILE,
            provider="bench",
            plugin="bench",
            region="",
            issuer=self.base,
            client_id=CLIENT_ID,
            dialect="standard",
            api_base=self.base,
            token_endpoint=f"{self.base}/token",
            created_at=now - 3_600_000,
        )
        self.vault.commit(profile, Tokens(Secret(issued.access), Secret(issued.refresh), now + round(expires_in_s * 1000)))
        self.server.presented.hashes.clear()

    def broker(self) -> TokenBroker:
        return a_broker(self.vault, self.index, self.paths, self.http)


def a_broker(vault: Vault, index: ProfileIndex, paths: Paths, http: HttpClient) -> TokenBroker:
    from portico.auth.broker import TokenBroker
    from portico.oauth.standard import StandardDialect
    from portico.store.token_store import LocalTokenStore
    from portico.util.clock import SystemClock

    return TokenBroker(
        store=LocalTokenStore(paths, index, lambda: vault),
        dialects=lambda _: StandardDialect(),
        http=http,
        clock=SystemClock(),
        paths=paths,
    )


async def _measure(env: dict[str, str], rounds: int) -> list[Figure]:
    from portico.net.client import HttpClient
    from portico.paths import resolve_paths
    from portico.store.profiles import ProfileIndex
    from portico.store.vault import Vault
    from portico.testing.authorization_server import AuthorizationServer, Fault, serve

    server = AuthorizationServer()
    paths = resolve_paths(env=env)
    index = ProfileIndex(paths)
    vault = Vault(paths, index, env=env)
    async with serve(server) as base, HttpClient() as http:
        bench = Bench(server, base, vault, index, paths, http)
        vault.probe()
        server.faults.always("/token", Fault(delay_s=0.05))
        shared, posts = await _coroutines(bench, rounds)
        processes = await _processes(bench, env, max(3, rounds // 2))
        return [
            Figure(f"{COROUTINES} coroutines at expiry: requests", posts, 1, "", "exactly one"),
            Figure(f"{COROUTINES} coroutines at expiry: the last one", shared, 1.2, "x", ROUND_TRIP),
            *processes,
            await _from_memory(bench),
            await _idle(bench),
        ]


async def _coroutines(bench: Bench, rounds: int) -> tuple[float, int]:
    ratios, most = [], 0
    for _ in range(rounds + 1):
        alone = await _wall_s(bench, 1)
        together = await _wall_s(bench, COROUTINES)
        most = max(most, bench.server.presented.total)
        ratios.append(together / alone)
    return statistics.median(ratios[1:]), most


async def _wall_s(bench: Bench, count: int) -> float:
    bench.expire()
    broker = bench.broker()
    began = time.perf_counter()
    await asyncio.gather(*(broker.access(PROFILE) for _ in range(count)))
    return time.perf_counter() - began


async def _processes(bench: Bench, env: dict[str, str], rounds: int) -> list[Figure]:
    """The last of the processes against: one alone, and as many that only read the keyring at once."""
    ratios, most = [], 0
    for _ in range(rounds):
        bench.expire()
        alone = max(await _race(env, 1))
        bench.expire(expires_in_s=3600)
        reading = max(await _race(env, PROCESSES))
        bench.expire()
        last = max(await _race(env, PROCESSES))
        most = max(most, bench.server.presented.total)
        ratios.append(last / (alone + reading))
    floor = f"x = one process alone + {PROCESSES} that only read the keyring, at once"
    return [
        Figure(f"{PROCESSES} processes at expiry: requests", most, 1, "", "exactly one"),
        Figure(f"{PROCESSES} processes at expiry: the last one", statistics.median(ratios), 1.2, "x", floor),
    ]


async def _race(env: dict[str, str], count: int) -> list[float]:
    """Seconds from the barrier to the token, process by process."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, str(Path(__file__)), "--child")
    running = [await asyncio.create_subprocess_exec(*command, env=env, stdin=pipe, stdout=pipe) for _ in range(count)]
    for child in running:
        await child.stdout.readline()
    began = time.perf_counter()
    for child in running:
        child.stdin.write(b"go\n")

    async def served(child: asyncio.subprocess.Process) -> float:
        if not await child.stdout.readline():
            raise RuntimeError("a process got no token")
        return time.perf_counter() - began

    taken = await asyncio.gather(*(served(child) for child in running))
    for child in running:
        await child.communicate()
    return taken


async def _from_memory(bench: Bench, calls: int = 20_000) -> Figure:
    bench.expire(expires_in_s=3600)
    broker = bench.broker()
    await broker.access(PROFILE)
    began = time.perf_counter()
    for _ in range(calls):
        await broker.access(PROFILE)
    each = (time.perf_counter() - began) / calls * 1e6
    return Figure("a valid token from memory", each, 20, "us", f"mean of {calls} calls, looks at the index included")


async def _idle(bench: Bench) -> Figure:
    from portico.auth.background import BackgroundRefresh
    from portico.util.clock import SystemClock

    bench.expire(expires_in_s=3600)
    task = asyncio.create_task(BackgroundRefresh(bench.broker(), bench.index, SystemClock()).run())
    await asyncio.sleep(1.5)
    began = time.process_time()
    await asyncio.sleep(IDLE_S)
    share = (time.process_time() - began) / IDLE_S * 100
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return Figure("the background loop, idle", share, 0.2, "%", f"of one core, over {IDLE_S:g} s")


async def _child() -> None:
    from portico.net.client import HttpClient
    from portico.paths import resolve_paths
    from portico.store.profiles import ProfileIndex
    from portico.store.vault import Vault

    paths = resolve_paths()
    index = ProfileIndex(paths)
    async with HttpClient() as http:
        broker = a_broker(Vault(paths, index), index, paths, http)
        print("ready", flush=True)
        sys.stdin.readline()
        await broker.access(PROFILE)
        print("served", flush=True)


if __name__ == "__main__":
    if "--child" in sys.argv:
        asyncio.run(_child())
    else:
        print(*measure(), sep="\n")
