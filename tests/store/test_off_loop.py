from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from portico.store.off_loop import off_loop, start_off_loop


async def test_a_call_is_made_on_another_thread_and_its_outcome_comes_back():
    assert await off_loop(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await off_loop(lambda: 1 // 0)


async def test_a_caller_that_is_cancelled_leaves_the_call_running():
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def call():
        begun.set()
        go.wait(5)
        ended.set()

    caller = asyncio.create_task(off_loop(call))
    await off_loop(lambda: begun.wait(5))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    assert await off_loop(lambda: ended.wait(5))


def test_a_call_that_outlives_its_loop_tells_nobody():
    go = threading.Event()

    async def begin():
        start_off_loop(lambda: go.wait(5))

    asyncio.run(begin())
    go.set()


def test_a_call_that_never_ends_does_not_hold_the_interpreter():
    program = """
import asyncio, time
from portico.store.off_loop import off_loop
async def main():
    try:
        await asyncio.wait_for(off_loop(lambda: time.sleep(600)), 0.01)
    except TimeoutError:
        print("left")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert (done.stdout, done.stderr) == ("left\n", "")
