"""A gateway that is killed under load loses no token and no row of the history that is older than a second."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import aiohttp
import pytest

from portico.gateway import control
from portico.gateway.port import bind_port
from portico.services.gateway_state import gateway_lock
from portico.testing.canary import canary
from portico.util.children import portico_command
from tests.free_port import free_port
from tests.gateway.fronts import CHAT, configure
from tests.gateway.providers import WHOLE, answered, provider


@pytest.mark.skipif(os.name != "posix", reason="killing is POSIX")
async def test_killed_under_load_it_has_lost_nothing_older_than_a_second(gateway_paths, portico_run):
    env = {"PORTICO_PASSPHRASE": canary("passphrase")}
    async with provider(answered(WHOLE)) as acme:
        await asyncio.to_thread(configure, gateway_paths, {"acme": acme.base})
        made = await asyncio.to_thread(portico_run, "gateway", "key", "add", "load", "--store", "file", env=env)
        key = made.stdout.strip()
        state = await asyncio.to_thread(control.start, gateway_paths, port=0, env={**os.environ, **env})
        done = []

        async def ask(session):
            while True:
                async with session.post(state.url + CHAT, json={"messages": []}) as answer:
                    await answer.read()
                    done.append(time.time())

        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session:
            asking = [asyncio.create_task(ask(session)) for _ in range(8)]
            await asyncio.sleep(2.5)
            os.kill(state.pid, signal.SIGKILL)
            killed = time.time()
            await asyncio.wait(asking)
            assert all(isinstance(task.exception(), aiohttp.ClientError) for task in asking)

    def noted():
        with closing(sqlite3.connect(gateway_paths.history)) as database:
            return database.execute("select count(*), max(at_ms) from requests").fetchone()

    count, last = await asyncio.to_thread(noted)
    old = [at for at in done if at < killed - 1]
    assert len(old) > 10
    assert count >= len(old)
    assert last > (killed - 1) * 1000
    os.waitpid(state.pid, 0)
    assert not await asyncio.to_thread(gateway_lock(gateway_paths).is_locked)
    shown = await asyncio.to_thread(portico_run, "gateway", "key", "show", "load", env=env)
    assert shown.stdout.strip() == key


@pytest.mark.requirement("E127")
@pytest.mark.requirement("E128")
@pytest.mark.skipif(os.name != "posix", reason="killing is POSIX")
@pytest.mark.parametrize("rounds", [4, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_at_any_moment_it_leaves_neither_its_port_nor_its_lock_and_the_next_one_starts(gateway_paths, rounds):
    port, lock = free_port(), gateway_lock(gateway_paths)
    seed = time.time_ns()
    moments = random.Random(seed)
    words = portico_command("gateway", "run", "--port", str(port), "--quiet")
    for number in range(rounds):
        kill = moments.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            time.sleep(moments.uniform(0, 1.2))
            process.send_signal(kill)
            out = process.communicate(timeout=5)[0].decode()
        context = f"seed {seed}, round {number}, {kill.name}: {out}"
        assert process.returncode in {0, -kill, 128 + kill}, context
        assert not lock.is_locked(), context
        bind_port(port).close()
        if number % 10 == 9 or number == rounds - 1:
            assert control.start(gateway_paths, port=port).port == port, context
            assert control.stop(gateway_paths).killed is False, context
