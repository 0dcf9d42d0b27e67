from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref

import pytest

from portico.util import threads
from portico.util.threads import off_loop, start_off_loop


async def test_a_call_is_made_on_another_thread_and_its_outcome_comes_back():
    assert await off_loop(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await off_loop(lambda: 1 // 0)


@pytest.mark.parametrize(("call", "name"), [(lambda: next(iter(())), "StopIteration"), (sys.exit, "SystemExit")])
async def test_an_exception_that_no_future_holds_or_that_would_end_the_loop_is_a_failure_of_the_call_alone(call, name):
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match=name):
            await off_loop(call)


async def test_a_caller_that_is_cancelled_leaves_the_call_running():
    started, go, ended = threading.Event(), threading.Event(), threading.Event()

    def call():
        started.set()
        go.wait(5)
        ended.set()

    caller = asyncio.create_task(off_loop(call))
    await off_loop(lambda: started.wait(5))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go.set()
    assert await off_loop(lambda: ended.wait(5))


def test_the_result_of_a_call_that_outlives_its_loop_is_dropped(monkeypatch):
    go, failed = threading.Event(), []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    monkeypatch.setattr(threads, "_IDLE_S", 0.01)
    monkeypatch.setattr(threads, "_idle", [])

    def call():
        go.wait(5)
        return threading.current_thread()

    async def begin():
        before = {*threading.enumerate()}
        start_off_loop(call)
        return {*threading.enumerate()} - before

    (thread,) = asyncio.run(begin())
    go.set()
    thread.join(15)
    assert (thread.is_alive(), failed) == (False, [])


def test_a_call_that_never_ends_does_not_hold_the_interpreter():
    program = """
import asyncio, time
from portico.util.threads import off_loop
async def main():
    try:
        await asyncio.wait_for(off_loop(lambda: time.sleep(600)), 0.01)
    except TimeoutError:
        print("left")
asyncio.run(main())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True)
    assert (result.stdout, result.stderr) == ("left\n", "")


@pytest.mark.requirement("E164")
async def test_calls_one_after_the_other_start_one_thread_at_most(monkeypatch):
    class SlowToBeIdle(list[object]):
        def append(self, worker: object) -> None:
            time.sleep(0.01)  # as when another thread is given the processor just here
            super().append(worker)

    monkeypatch.setattr(threads, "_idle", SlowToBeIdle())
    used = {await off_loop(threading.get_ident) for _ in range(20)}
    assert len(used) == 1


@pytest.mark.requirement("E164")
async def test_calls_at_once_wait_for_none_of_the_others():
    meet = threading.Barrier(8)
    positions = await asyncio.wait_for(asyncio.gather(*[off_loop(lambda: meet.wait(5)) for _ in range(8)]), 6)
    assert sorted(positions) == [*range(8)]


@pytest.mark.requirement("E164")
async def test_a_call_that_hangs_keeps_its_thread_and_no_other():
    go = threading.Event()
    hanging = start_off_loop(lambda: go.wait(5))
    assert await asyncio.wait_for(off_loop(lambda: "answered"), 2) == "answered"
    go.set()
    await hanging


@pytest.mark.requirement("E164")
async def test_the_objects_of_a_call_are_released_when_it_has_ended():
    class Value:
        pass

    value = Value()
    reference = weakref.ref(value)
    await off_loop(lambda value=value: None)
    del value
    async with asyncio.timeout(5):
        while reference() is not None:
            gc.collect()
            await asyncio.sleep(0.005)
    assert reference() is None


@pytest.mark.requirement("E164")
async def test_a_thread_that_has_nothing_to_do_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(threads, "_IDLE_S", 0.01)
    monkeypatch.setattr(threads, "_idle", [])  # those of other tests wait for longer
    thread = await off_loop(threading.current_thread)
    await asyncio.to_thread(thread.join, 15)
    assert not thread.is_alive()
    assert await off_loop(lambda: "another") == "another"


@pytest.mark.requirement("E164")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX")
def test_a_forked_process_has_threads_of_its_own():
    program = """
import asyncio, os
from portico.util.threads import off_loop
asyncio.run(off_loop(lambda: None))
child = os.fork()
if not child:
    asyncio.run(asyncio.wait_for(off_loop(lambda: print("called", flush=True)), 5))
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=20, check=True
    )
    assert result.stdout == "called\n0\n", result.stderr
