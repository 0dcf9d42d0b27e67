"""One process that wants a token: says `ready`, waits for the barrier, and says what it got.

    python -m tests.auth.refresh_child [--die-at STEP [--of SIGNAL] | --stop-at STEP] [--without-lock] [--without-re-read] [--watch]

Its last line is the SHA-256 of the access token, or `id: why` of the failure. STEP is one of the refresh or of the commit in it:
there it kills or stops itself; `--of` names another signal than SIGKILL. `--watch` does not ask but refreshes in the background, until there is another token.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys

from portico.auth import broker as broker_module
from portico.auth import refresh
from portico.auth.background import BackgroundRefresh
from portico.auth.broker import TokenBroker
from portico.auth.tokens import PendingTokens
from portico.errors import PorticoError
from portico.net.client import HttpClient
from portico.paths import resolve_paths
from portico.store import encrypted_file, token_store
from portico.store.profiles import ProfileIndex
from portico.store.token_store import LocalTokenStore
from portico.store.vault import Vault
from portico.testing.grants import token_hash
from portico.util import signals
from portico.util.clock import SystemClock
from tests.auth.helpers import PROFILE, dialects


class NoLock:
    def try_acquire(self):
        return True

    def release(self):
        pass


def without_re_read():
    """Under the lock, a process goes by what it read before it had the lock."""
    original, first = PendingTokens.read, {}

    def read_once(self, profile_id, **_settled):
        if profile_id not in first:
            first[profile_id] = original(self, profile_id)
        return first[profile_id]

    PendingTokens.read = read_once


def on_step_of(args):
    def crash_point(step):
        if step == args.die_at:
            os.kill(os.getpid(), signal.Signals[args.of])
        if step == args.stop_at:
            print_line("stopping")
            os.kill(os.getpid(), signal.SIGSTOP)

    return crash_point


def print_line(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def watch(broker, index, vault):
    before = index.get(PROFILE).generation
    task = asyncio.create_task(BackgroundRefresh(broker, index, SystemClock()).run())
    while (await asyncio.to_thread(index.get, PROFILE)).generation == before:
        await asyncio.sleep(0.05)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return vault.read(PROFILE).access


async def main(args) -> None:
    paths = resolve_paths()
    index = ProfileIndex(paths)
    crash_point = on_step_of(args)
    vault = Vault(paths, index, store="file", crash_point=crash_point)
    async with HttpClient() as http:
        store = LocalTokenStore(paths, index, lambda: vault)
        broker = TokenBroker(store=store, dialects=dialects, http=http, clock=SystemClock(), paths=paths, crash_point=crash_point)
        print_line("ready")
        sys.stdin.readline()
        try:
            token = await watch(broker, index, vault) if args.watch else (await broker.access(PROFILE)).token
            print_line(token_hash(token.reveal()))
        except PorticoError as error:
            print_line(f"{error.id}: {error}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--die-at")
    parser.add_argument("--of", default="SIGKILL")
    parser.add_argument("--stop-at")
    parser.add_argument("--without-lock", action="store_true")
    parser.add_argument("--without-re-read", action="store_true")
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--patience", type=float)
    parser.add_argument("--post-timeout", type=float)
    arguments = parser.parse_args()
    encrypted_file._COST = {"n": 16, "r": 1, "p": 1}
    if arguments.without_lock:
        token_store.refresh_lock = lambda *_args: NoLock()
    if arguments.without_re_read:
        without_re_read()
    if arguments.patience is not None:
        broker_module.PATIENCE_S = arguments.patience
    if arguments.post_timeout is not None:
        refresh.POST_TIMEOUT_S = arguments.post_timeout
    try:
        with signals.handle_signals():
            signals.run(main(arguments))
    except signals.EndedBySignal as ended:
        sys.exit(signals.SIGNAL_EXIT_BASE + ended.number)
