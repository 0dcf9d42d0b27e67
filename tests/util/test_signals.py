"""`portico.util.signals`: short programs that send themselves the signals of a terminal or of the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.requirement("E95"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]

_HEAD = """
import asyncio, os, signal, sys, threading, time
from portico.util import signals
def send(number=signal.SIGTERM):
    os.kill(os.getpid(), number)
def print_now(text):
    print(text, flush=True)
"""


def ran(program):
    """The exit code and the words of a program."""
    result = subprocess.run([sys.executable, "-c", _HEAD + program], capture_output=True, text=True, timeout=30, check=False)
    assert "RuntimeError" not in result.stderr, result.stderr
    return result.returncode, result.stdout.split()


def test_a_signal_in_the_last_step_of_the_work_is_not_forgotten():
    program = """
async def work():
    send()
    return 1
try:
    with signals.handle_signals():
        signals.run(work())
        print_now("went-on")
except signals.EndedBySignal as ended:
    print_now(ended.name)
"""
    assert ran(program) == (0, ["SIGTERM"])


def test_a_command_that_has_swallowed_one_signal_ends_at_a_later_one():
    program = """
try:
    with signals.handle_signals():
        try:
            send()
        except KeyboardInterrupt:
            pass
        send(signal.SIGHUP)  # the same closing terminal
        time.sleep(2.1)
        send(signal.SIGHUP)
        print_now("went-on")
except signals.EndedBySignal as ended:
    print_now(ended.name)
"""
    assert ran(program) == (0, ["SIGHUP"])


def test_a_signal_neither_cancels_nor_waits_for_work_of_another_thread():
    program = """
async def slow():
    await asyncio.sleep(0.5)
async def begins():
    thread = threading.Thread(target=lambda: signals.run(slow()))
    thread.start()
    await asyncio.sleep(0.1)
    return thread
async def work():
    await asyncio.sleep(5)
try:
    with signals.handle_signals():
        signals.run(begins()).join()
        threading.Timer(0.2, send).start()
        signals.run(work())
except signals.EndedBySignal as ended:
    print_now(ended.name)
"""
    assert ran(program) == (0, ["SIGTERM"])


def test_what_must_be_finished_is_waited_for_and_not_by_a_forked_child():
    program = """
began = time.monotonic()
with signals.handle_signals():
    signals.must_finish("work")
    child = os.fork()
    if child:
        threading.Timer(0.5, signals.finished, ["work"]).start()
if not child:
    os._exit(int(time.monotonic() - began > 0.4))
print_now(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print_now(time.monotonic() - began >= 0.5)
"""
    assert ran(program) == (0, ["0", "True"])


def test_every_engine_of_a_program_is_finished_before_a_signal_ends_it():
    program = """
for name in ("one", "two"):
    signals.finish_before_exit(lambda name=name: (time.sleep(0.2), print_now(name)))
send()
send(signal.SIGHUP)
time.sleep(5)
"""
    assert ran(program) == (-15, ["one", "two"])
