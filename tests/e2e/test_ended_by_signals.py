"""SIGTERM and SIGHUP in the middle of a refresh, of every command that refreshes and of a program with the library."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace

import pytest

from minimax_portal_auth.emulator import MinimaxEmulator
from portico.gateway import control
from portico.interfaces.plugins import EmulatorOptions
from portico.services.gateway_state import gateway_lock
from portico.store.encrypted_file import PassphraseSource
from portico.store.profiles import ProfileIndex
from portico.store.vault import Vault
from portico.testing.emulated import emulated
from portico.testing.faults import Fault
from tests.free_port import free_port
from tests.minimax_session import GLOBAL, MinimaxSession, sealed_store

pytestmark = [
    pytest.mark.requirement("E95"),
    pytest.mark.skipif(sys.platform == "win32", reason="signals as POSIX has them"),
]

TOKEN = "/oauth2/token"
ENDED_BY = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
SLOW_S = 0.8

_LIBRARY = """
from portico import load_model
print(load_model("minimax-portal/MiniMax-M2.1").credential())
"""


@dataclass
class Slow:
    """A signed-in account whose token has ended, at a portal that takes its time."""

    session: MinimaxSession
    emulator: MinimaxEmulator
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *words, command=(sys.executable, "-m", "portico"), env=None, delay_s=SLOW_S):
        """A process that has sent the refresh token, and waits for the answer."""
        before = self.sent
        self.emulator.service.faults.add(TOKEN, Fault(delay_s=delay_s))
        pipe = subprocess.PIPE
        environment = self.session.run_portico.environment({**self.session.env, **(env or {})})
        process = subprocess.Popen([*command, *words], env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        self.started.append(process)
        until(lambda: self.sent > before, process)
        return process

    @property
    def sent(self):
        return self.emulator.service.presented.total

    def generation(self):
        return ProfileIndex(self.session.paths).get(GLOBAL).generation

    def expire(self):
        """Let the stored access token have ended."""
        index = ProfileIndex(self.session.paths)
        vault = Vault(self.session.paths, index, store="file", passphrase=PassphraseSource(self.session.env))
        tokens, profile = vault.read(GLOBAL), index.get(GLOBAL)
        vault.commit(profile, replace(tokens, expires_at=profile.created_at - 1))

    def check_kept(self, before):
        """The sign-in has new tokens, and they work without another request."""
        profile = ProfileIndex(self.session.paths).get(GLOBAL)
        assert profile.generation > before
        assert (profile.failure, profile.journal_entry) == (None, None)
        sent = self.sent
        token = json.loads(self.session.ok("auth", "token", "--json"))["token"]
        assert self.emulator.service.spaces["global"].mint.family_of(token) is not None
        assert self.sent == sent == 1


def until(condition, process, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def slow(run_portico, tmp_path):
    emulator = MinimaxEmulator()
    with emulated([emulator], EmulatorOptions(redirect=True, auto_approve=True), tmp_path / "emulation") as info:
        session = MinimaxSession(info, run_portico, True, ("--store", "file"), sealed_store())
        session.sign_in("--region", "global")
        run = Slow(session, emulator)
        run.expire()
        yield run
        for process in run.started:
            process.kill()
            process.communicate()


COMMANDS = [
    ("auth", "token"),
    ("auth", "keep-fresh", "--once"),
    ("ask", "Hello"),
    ("models", "status", "--probe"),
    ("usage",),
    ("models", "list", "--live"),
    ("doctor",),
]


# Each command by one of the two signals, in turn; by the other one in `make chaos`.
EVERY = [
    pytest.param(words, number, marks=[pytest.mark.slow] * ((place + turn) % 2))
    for place, words in enumerate(COMMANDS)
    for turn, number in enumerate((signal.SIGTERM, signal.SIGHUP))
]


@pytest.mark.parametrize(("words", "number"), [*EVERY, (("auth", "token"), signal.SIGINT)])
def test_a_command_stores_the_answer_that_is_on_its_way_before_it_ends(slow, words, number):
    before = slow.generation()
    process = slow.start(*words)
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == ENDED_BY[number]
    assert "Traceback" not in err
    assert out == ""
    slow.check_kept(before)


_IN_A_HURRY = """
import sys
from portico.gateway import server, shutdown
from portico.cli.main import main
shutdown.LONGEST_S = 0.3
server.DRAIN_S = server._LEAST_REFRESH_S = server._REFRESH_S = 0.1
sys.exit(main(sys.argv[1:], "portico"))
"""
_HANGS = """
import time
from portico.gateway import server
server._Process._wait_for_refreshes = lambda *_: time.sleep(60)
"""


@pytest.mark.requirement("E127")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_gateway_gives_up_its_port_and_lock_and_stays_for_the_answer_that_is_on_its_way(slow, number):
    before, port, lock = slow.generation(), free_port(), gateway_lock(slow.session.paths)
    command = (sys.executable, "-P", "-c", _IN_A_HURRY)
    process = slow.start("gateway", "run", "--quiet", "--port", str(port), command=command, delay_s=3)
    process.send_signal(number)
    until(lambda: not lock.is_locked(), process, 2)
    with socket.create_server(("127.0.0.1", port)):
        assert control.stop(slow.session.paths) is None
    assert process.poll() is None
    _, err = process.communicate(timeout=20)
    assert (process.returncode, "Traceback" in err) == (0, False)
    slow.check_kept(before)


@pytest.mark.requirement("E127")
def test_a_gateway_that_hangs_does_not_stay_for_an_answer_that_it_could_not_read(slow):
    command = (sys.executable, "-P", "-c", _HANGS + _IN_A_HURRY)
    process = slow.start("gateway", "run", "--quiet", "--port", str(free_port()), command=command, delay_s=10)
    process.send_signal(signal.SIGTERM)
    assert process.wait(4) == 143


def test_a_terminal_that_closes_sends_more_than_one_signal(slow):
    before = slow.generation()
    process = slow.start("auth", "token")
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.05)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (129, "portico: Ended by SIGHUP.")
    slow.check_kept(before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("words", [("auth", "keep-fresh"), ("gateway", "run")], ids=" ".join)
def test_what_refreshes_in_the_background_stores_the_answer_before_it_ends(slow, words, number):
    before = slow.generation()
    process = slow.start(*words, env={"PORTICO_GATEWAY_PORT": str(free_port())})
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 0
    slow.check_kept(before)


_ON_A_THREAD = """
import asyncio
from portico import load_model
async def main():
    print(await asyncio.to_thread(load_model("minimax-portal/MiniMax-M2.1").credential))
asyncio.run(main())
"""
_LOGGING = """
import logging, threading
from portico import load_model
handler = logging.StreamHandler()
logging.getLogger().addHandler(handler)
thread = threading.Thread(target=load_model("minimax-portal/MiniMax-M2.1").credential)
thread.start()
with handler.lock:
    thread.join()
"""


_AT_ITS_END = """
import sys, threading
from portico import load_model
threading.Thread(target=load_model("minimax-portal/MiniMax-M2.1").credential, daemon=True).start()
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    "program",
    [_ON_A_THREAD, _LOGGING, _AT_ITS_END],
    ids=["asked on a thread", "a lock held by the main thread", "the main program at its end"],
)
def test_wherever_a_program_with_the_library_is_it_stores_the_answer(slow, program):
    before = slow.generation()
    process = slow.start(command=(sys.executable, "-c", program))
    if program is _AT_ITS_END:
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGTERM
    slow.check_kept(before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_program_with_the_library_stores_the_answer_and_then_ends_by_the_signal(slow, number):
    before = slow.generation()
    process = slow.start(command=(sys.executable, "-c", _LIBRARY))
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == -number
    assert out == ""
    slow.check_kept(before)


def test_a_program_that_handles_a_signal_itself_is_left_to_it(slow):
    before = slow.generation()
    own = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    process = slow.start(command=(sys.executable, "-c", own + _LIBRARY))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 7
    slow.check_kept(before)


NOHUP = ("nohup", sys.executable, "-m", "portico")


def test_a_signal_that_was_ignored_stays_ignored(slow):
    before = slow.generation()
    process = slow.start("auth", "token", command=NOHUP)
    process.send_signal(signal.SIGHUP)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.strip()
    slow.check_kept(before)


@pytest.mark.parametrize("words", [("auth", "keep-fresh"), ("gateway", "run")], ids=" ".join)
def test_a_signal_that_was_ignored_stays_ignored_by_what_runs_on(slow, words):
    before = slow.generation()
    process = slow.start(*words, command=NOHUP, env={"PORTICO_GATEWAY_PORT": str(free_port())})
    process.send_signal(signal.SIGHUP)
    until(lambda: slow.generation() > before, process)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 0
