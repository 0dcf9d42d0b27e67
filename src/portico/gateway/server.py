"""One gateway process, in the foreground: from the bound port to the drained end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aiohttp import web

from portico import signals
from portico.errors import LockBusy, StoreError
from portico.gateway.app import BOUNDS, make_server
from portico.gateway.descriptors import most_connections
from portico.gateway.ending import ANSWER_S, DRAIN_S, END_SIGNALS, asked_to_end
from portico.gateway.handover import CAN_HAND_OVER, Seat, hand_over, inherited
from portico.gateway.port import bound
from portico.gateway.proof import new_key
from portico.gateway.state import GatewayState, gateway_lock, read_state, remove_state, write_state
from portico.services.notify import tell_service_manager
from portico.store.off_loop import off_loop

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from portico.gateway.ending import EndWatch
    from portico.gateway.front import Front
    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.secret import Secret
    from portico.store.lock import FileLock

# Seconds until a connection is aborted whose request has had its time.
_SHUTDOWN_S: Final = 0.5
# Seconds for the requests under way when another process has taken over.
_LONG_DRAIN_S: Final = 600.0
_LOOK_EVERY_S: Final = 1.0
_LOOK_FOR_END_S: Final = 0.05
# Seconds that a refresh has after the process was asked to end, before port and lock are given up; and at least, after an error.
_PLACE_S: Final = 3.7
_WORK_S: Final = 0.5
# asyncio accepts as many as the backlog in one go, before the server hears of any and can close others for them. So it is told
# a small one, and the system a larger one.
_ACCEPTED_AT_ONCE: Final = 16
_QUEUE: Final = 1024
# Objects that come to be before a collection; a request makes and drops hundreds, hardly any of them in a cycle.
_COLLECT: Final = (10_000, 20, 20)
_LOOKING_S: Final = 1.0
_TRY_EVERY_S: Final = 0.005
# Seconds until a successor is tried again after one that did not come up; each further failure doubles them.
_TRY_AGAIN_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 600.0

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Inside:
    """What a gateway does: `work` for as long as it lives, and `front` for whoever asks; None where it answers nobody.

    `outdated` returns once the code that this process runs is not what is installed any more.
    """

    work: Callable[[], Coroutine[object, object, None]]
    front: Front | None = None
    outdated: Callable[[], Coroutine[object, object, None]] | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gateway process runs. `announce` is called once it answers; `passphrase` opens the sealed file store."""

    paths: Paths
    port: int
    clock: Clock
    env: Mapping[str, str]
    announce: Callable[[GatewayState], None]
    passphrase: Secret | None = None


def take_place(paths: Paths, inherit: str | None) -> FileLock | Seat:
    """Become the gateway of this state folder, before anything that takes time: from here on `gateway stop` finds the process.

    Returns the lock, or with `inherit` (what the predecessor named) the predecessor's lock and listening socket. It goes with the
    process, so that whoever finds the lock free knows that the process is gone.

    Raises:
        LockBusy: `gateway-running`: this state folder has one.
        UsageError, StoreError: nothing is inherited.
    """
    return _taken_lock(paths) if inherit is None else inherited(paths, inherit)


def run_gateway(
    terms: Terms, watch: EndWatch, place: FileLock | Seat, inside: Callable[[int], AbstractAsyncContextManager[Inside]]
) -> int:
    """Make what is `inside` (its argument: the start in wall ms), then serve it on 127.0.0.1 until a signal asks to end.

    There is no port before the first request could be answered. What is under way at the end gets `DRAIN_S` seconds. The caller's
    process is the gateway from now on, and should end when this returns.

    Returns:
        The exit code.

    Raises:
        ConfigError: `port-taken`.
        StoreError: its state file cannot be written.
    """
    heir = asyncio.run(_serve(terms, watch, place, inside))
    return 0 if heir is None or not sys.stderr.isatty() else _wait_for(heir)


def _wait_for(heir: subprocess.Popen[bytes]) -> int:
    """The exit code of the successor in this terminal; a signal that ends this process ends that one too."""
    for number in END_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: heir.send_signal(number))
    return heir.wait()


def _taken_lock(paths: Paths) -> FileLock:
    """The lock of the state folder's gateway, held by this process; one that only looks at it is waited for."""
    lock = gateway_lock(paths)
    deadline = time.monotonic() + _LOOKING_S
    while not lock.try_acquire():
        if lock.is_taken() or time.monotonic() > deadline:
            raise already_running(paths)
        time.sleep(_TRY_EVERY_S)
    return lock


def already_running(paths: Paths) -> LockBusy:
    """The error for a second gateway of one state folder."""
    state = read_state(paths)
    who = f"process {state.pid}, port {state.port}" if state is not None else f"process {gateway_lock(paths).holder() or '?'}"
    hint = "to look at it: {prog} gateway status; to start another in its place: {prog} gateway restart"
    return LockBusy("gateway-running", "a gateway is already running", why=who, hint=hint)


async def _serve(
    terms: Terms, watch: EndWatch, place: FileLock | Seat, inside: Callable[[int], AbstractAsyncContextManager[Inside]]
) -> subprocess.Popen[bytes] | None:
    """Serve until the end; the successor, where there is one. Without a port in the `place` one is bound once all is ready."""
    ending, started_at = asked_to_end(), terms.clock.wall_ms()
    async with contextlib.AsyncExitStack() as stack:
        parts: Inside | None = await _unless_asked(ending, stack.enter_async_context(inside(started_at)))
        if parts is None:
            return None
        taken = place if isinstance(place, Seat) else Seat(await off_loop(lambda: bound(terms.port)), place)
        stack.enter_context(taken.listener)
        port, instance = taken.listener.getsockname()[1], secrets.token_hex(8)
        state = GatewayState(os.getpid(), port, started_at, instance, new_key(), terms.passphrase is not None)
        return await _Process(terms, watch, state, taken, parts, ending).run()


async def _unless_asked(ending: asyncio.Future[None], work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns; None if the process is asked to end first: `work` is cancelled then."""
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    await asyncio.wait((task, ending), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    return None


class _Process:
    def __init__(
        self,
        terms: Terms,
        watch: EndWatch,
        state: GatewayState,
        seat: Seat,
        parts: Inside,
        ending: asyncio.Future[None],
    ) -> None:
        self._terms = terms
        self._watch = watch
        self._state = state
        self._seat = seat
        self._parts = parts
        self._ending = ending
        self._server = make_server(state, parts.front, replace(BOUNDS, connections=most_connections()))
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN_S)

    async def run(self) -> subprocess.Popen[bytes] | None:
        await self._runner.setup()
        working, loop = asyncio.create_task(self._parts.work(), name="gateway work"), asyncio.get_running_loop()
        heir, asked_at = None, loop.time()
        try:
            _settle_memory()
            await self._listen()
            await off_loop(lambda: write_state(self._terms.paths, self._state))
            await off_loop(self._seat.tell_ready)
            self._tell_ready()
            self._terms.announce(self._state)
            heir = await self._until_over(working)
            working.cancel()  # a refresh that was sent is waited for below, while requests finish
            asked_at = loop.time()
            if heir is None:
                _log.info("ending")
                tell_service_manager(self._terms.env, "STOPPING=1")
                await self._drain(DRAIN_S)
            else:
                _log.info("handed over to process %s", heir.pid)
                await self._drain_behind(heir)
        finally:
            if not working.cancelling():  # a second cancellation would break off the wait for a refresh that was sent
                working.cancel()
            await self._answered(working, max(_WORK_S, _PLACE_S - (loop.time() - asked_at)))
            await self._runner.cleanup()
            with contextlib.suppress(StoreError):
                await off_loop(lambda: remove_state(self._terms.paths, self._state))
            if signals.unfinished():
                await self._stay_for_answers(working)
        return heir

    async def _stay_for_answers(self, working: asyncio.Task[None]) -> None:
        """Wait for the answers to refreshes that were sent, as no gateway any more: another can take port and lock."""
        _log.info("the answer to a refresh that was sent is waited for, %g s at most", ANSWER_S)
        self._watch.guard(None)
        self._seat.listener.close()
        self._seat.lock.leave()  # not `release`: a predecessor, or a successor, may hold it by the same open file
        await self._answered(working, ANSWER_S)

    async def _answered(self, working: asyncio.Task[None], longest_s: float) -> None:
        """Return once the work has ended and every refresh that was sent is answered and stored, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await asyncio.wait([working])
                while signals.unfinished():  # noqa: ASYNC110 - what has to be finished runs on threads
                    await asyncio.sleep(_LOOK_FOR_END_S)

    async def _listen(self) -> None:
        self._accepting = self._seat.listener.dup()
        await web.SockSite(self._runner, self._accepting, backlog=_ACCEPTED_AT_ONCE).start()
        self._seat.listener.listen(_QUEUE)

    async def _stop_listening(self) -> None:
        # asyncio fails a connection that it has accepted and not yet set up when its server closes (`Server._attach`), and the
        # client sees a reset. So accepting ends first, and what was accepted is set up in the next turn of the loop.
        if CAN_HAND_OVER and self._runner.sites:
            asyncio.get_running_loop().remove_reader(self._accepting)
            await asyncio.sleep(0)
        for site in [*self._runner.sites]:
            await site.stop()

    async def _until_over(self, working: asyncio.Task[None]) -> subprocess.Popen[bytes] | None:
        """Wait for a signal, the end of the work, or a successor that has taken over."""
        outdated, pause = self._parts.outdated, _TRY_AGAIN_S
        while outdated is not None and CAN_HAND_OVER:
            changed = asyncio.create_task(outdated(), name="watch the installed code")
            await asyncio.wait([working, self._ending, changed], return_when=asyncio.FIRST_COMPLETED)
            if working.done() or self._ending.done():
                changed.cancel()
                break
            changed.result()
            heir = await _unless_asked(self._ending, self._handed_over())
            if heir is not None:
                return heir
            # Code that cannot start now will hardly start a second later, and each try costs a process.
            await asyncio.wait([working, self._ending], timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
        await asyncio.wait([working, self._ending], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return None

    async def _handed_over(self) -> subprocess.Popen[bytes] | None:
        _log.info("the plugins have changed: another process takes over")
        await self._stop_listening()
        terms = self._terms
        heir = await hand_over(terms.paths, self._seat, terms.env, terms.passphrase)
        if heir is None:
            await self._listen()
            await off_loop(lambda: write_state(terms.paths, self._state))
        else:
            tell_service_manager(terms.env, f"MAINPID={heir.pid}")
        return heir

    def _tell_ready(self) -> None:
        # A successor is not the main process yet: its predecessor names it to the manager, who was told of readiness before.
        if self._seat.told is None:
            tell_service_manager(self._terms.env, f"READY=1\nSTATUS=Serving on {self._state.url}")

    async def _drain(self, longest_s: float) -> None:
        """Take no more requests, and let those that were begun finish for as long as `longest_s` seconds."""
        await self._stop_listening()
        self._server.pre_shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):  # aiohttp waits twice: for each handler's end, then for its cancellation
                await self._server.shutdown(longest_s)

    async def _drain_behind(self, heir: subprocess.Popen[bytes]) -> None:
        """Finish what was begun, beside the successor; at once when this process is asked to end, or the successor has ended."""
        self._watch.guard(None)
        self._seat.lock.leave()  # held by the successor alone, so that the lock is free when that one has ended
        draining = asyncio.create_task(self._drain(_LONG_DRAIN_S), name="drain")
        over = asyncio.create_task(_ended(heir), name="watch the successor")
        await asyncio.wait([draining, over, self._ending], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if not draining.done():
            draining.cancel()
            await asyncio.wait([draining])
            await self._drain(DRAIN_S if self._ending.done() else 0)


async def _ended(heir: subprocess.Popen[bytes]) -> None:
    while heir.poll() is None:  # noqa: ASYNC110 - waiting for a child takes a thread, or a look now and then
        await asyncio.sleep(_LOOK_EVERY_S)


def _settle_memory() -> None:
    """Leave what start-up made out of every later collection: only what requests make comes and goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
