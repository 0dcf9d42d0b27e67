"""One gateway process, in the foreground: from the bound port to the drained end.

Its HTTP side lets programs of this machine in, answers `/health`, and serves the models behind a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from aiohttp import web

from portico.errors import LockBusy, StoreError
from portico.gateway.access import HEALTH, answer, local_hosts, most_connections, not_understood, refusal, refused
from portico.gateway.ending import ANSWER_S, DRAIN_S, asked_to_end, asked_to_give_way
from portico.gateway.port import bound, passed_on
from portico.net.server import Bounds, QuietServer
from portico.services.gateway_state import (
    GatewayState,
    gateway_lock,
    is_challenge,
    new_key,
    prove,
    read_state,
    remove_state,
    write_state,
)
from portico.services.managers import has_manager, notify_service_manager
from portico.util import signals
from portico.util.threads import off_loop
from portico.version import __version__

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine, Mapping
    from contextlib import AbstractAsyncContextManager

    from portico.gateway.api import Front
    from portico.gateway.ending import EndWatch
    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.util.lock import FileLock

# A stream for each of many tools, and no more than a process can have open with as many connections to providers.
BOUNDS: Final = Bounds(idle_s=75.0, connections=2048, lingers_s=2.0, cancels=True)


class GatewayRunning(LockBusy):
    """A gateway of this state folder is running."""

    id = "gateway-running"


def make_server(state: GatewayState, front: Front | None, bounds: Bounds = BOUNDS) -> QuietServer:
    """The server of one gateway process. `/health` needs no key and holds nothing secret; a challenge is answered.

    Without a `front` there is nothing else.
    """
    hosts = local_hosts(state.port)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        hostile = refusal(request, hosts)
        if hostile is not None:
            return hostile
        if request.path == HEALTH:
            return _health(request, state)
        return refused(404, "not-found", "There is nothing at this path.") if front is None else await front.respond(request)

    return QuietServer(handle, not_understood, bounds)


def _health(request: web.BaseRequest, state: GatewayState) -> web.StreamResponse:
    if request.method not in {"GET", "HEAD"}:
        return refused(405, "wrong-method", f"{HEALTH} takes GET.", Allow="GET, HEAD")
    challenge = request.query.get("challenge", "")
    proof = {"proof": prove(state.key, challenge)} if is_challenge(challenge) else {}
    return answer(200, {"status": "ok", "version": __version__, **state.as_json(), **proof})


# Seconds until a connection is aborted whose request has had its time.
_SHUTDOWN_S: Final = 0.5
# Seconds for the requests under way beside another process that is the gateway already.
_LONG_DRAIN_S: Final = 600.0
SERVICE_DRAIN_S: Final = 30.0
"""Seconds for the requests under way while another process waits for this one's end."""
_READ_S: Final = 0.05  # from the last connection that was accepted until its request is read
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
# Seconds between two looks for the gateway that this process gave way to, until the first is there, and without one from then on:
# between two of them the lock is free for a moment.
_LOOK_FOR_GATEWAY_S: Final = 0.25
_FIRST_GATEWAY_S: Final = 20.0
_WITHOUT_GATEWAY_S: Final = 3.0
UPGRADED: Final = 75
"""The exit code of a service whose manager is to start the version that is installed now (EX_TEMPFAIL of sysexits(3))."""

_log = logging.getLogger(__name__)
T = TypeVar("T")
Reason = Literal["asked to end", "giving way", "upgraded"]


@dataclass(frozen=True, slots=True)
class Inside:
    """What a gateway does: `work` for as long as it lives, and `front` for whoever asks; None where it answers nobody.

    `upgraded` returns once the version that is installed is not the one that this process runs, with a sentence about both.
    """

    work: Callable[[], Coroutine[object, object, None]]
    front: Front | None = None
    upgraded: Callable[[], Coroutine[object, object, str]] | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gateway process runs. `announce` is called once it answers; `opens_sealed`: it has the file store's passphrase."""

    paths: Paths
    port: int
    clock: Clock
    env: Mapping[str, str]
    announce: Callable[[GatewayState], None]
    opens_sealed: bool = False


def take_place(paths: Paths) -> FileLock:
    """Become the gateway of this state folder, before anything that takes time: from here on `gateway stop` finds the process.

    Returns the lock, which goes with the process: if it is found free, the process is gone. A process that only looks
    at the lock is waited for.

    Raises:
        LockBusy: `gateway-running`: this state folder has one.
    """
    lock = gateway_lock(paths)
    deadline = time.monotonic() + _LOOKING_S
    while not lock.try_acquire():
        if lock.is_locked() or time.monotonic() > deadline:
            raise already_running(paths)
        time.sleep(_TRY_EVERY_S)
    return lock


def run_gateway(
    terms: Terms, watch: EndWatch, lock: FileLock, inside: Callable[[int], AbstractAsyncContextManager[Inside]]
) -> int:
    """Make what is `inside` (its argument: the start in wall ms), then serve it on 127.0.0.1 until there is a reason to end.

    There is no port before the first request could be answered, unless a service manager keeps it. The caller's process is the
    gateway from now on, and should end when this returns.

    Returns:
        The exit code: `UPGRADED` where the service manager is to start another version.

    Raises:
        ConfigError: `port-taken`.
        UsageError: what the service manager has passed on is no socket for a gateway.
        StoreError: its state file cannot be written.
    """
    return asyncio.run(_serve(terms, watch, lock, inside))


def already_running(paths: Paths) -> LockBusy:
    """The error for a second gateway of one state folder."""
    state = read_state(paths)
    who = f"process {state.pid}, port {state.port}" if state is not None else f"process {gateway_lock(paths).holder() or '?'}"
    hint = "to look at it: {prog} gateway status; to start another in its place: {prog} gateway restart"
    return GatewayRunning("a gateway is already running", why=who, hint=hint)


async def _serve(
    terms: Terms, watch: EndWatch, lock: FileLock, inside: Callable[[int], AbstractAsyncContextManager[Inside]]
) -> int:
    ending, started_at = asked_to_end(), terms.clock.wall_ms()
    async with contextlib.AsyncExitStack() as stack:
        parts: Inside | None = await _unless_asked(ending, stack.enter_async_context(inside(started_at)))
        if parts is None:
            return 0
        kept = passed_on(terms.env)
        listener = stack.enter_context(await off_loop(lambda: bound(terms.port)) if kept is None else kept)
        port, instance = listener.getsockname()[1], secrets.token_hex(8)
        if kept is not None and terms.port not in {0, port}:
            _log.warning("the service manager keeps port %s, not %s: to change it, install the service again", port, terms.port)
        state = GatewayState(os.getpid(), port, started_at, instance, new_key(), terms.opens_sealed, __version__)
        place = Place(listener, lock, is_kept=kept is not None)
        return await _Process(terms, watch, state, place, parts, ending).run()


async def _unless_asked(ending: asyncio.Future[None], work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns; None if the process is asked to end first: `work` is cancelled then."""
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    await asyncio.wait((task, ending), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """What makes a process the gateway. `is_kept`: the service manager keeps the socket, and passes it on to the next process."""

    listener: socket.socket
    lock: FileLock
    is_kept: bool


class _Process:
    def __init__(
        self,
        terms: Terms,
        watch: EndWatch,
        state: GatewayState,
        place: Place,
        parts: Inside,
        ending: asyncio.Future[None],
    ) -> None:
        self._terms = terms
        self._watch = watch
        self._state = state
        self._place = place
        self._parts = parts
        self._ending = ending
        self._server = make_server(state, parts.front, replace(BOUNDS, connections=most_connections()))
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_SHUTDOWN_S)

    async def run(self) -> int:
        await self._runner.setup()
        working, loop = asyncio.create_task(self._parts.work(), name="gateway work"), asyncio.get_running_loop()
        giving_way = asked_to_give_way()
        reason, asked_at = None, loop.time()
        try:
            _settle_memory()
            await self._listen()
            await off_loop(lambda: write_state(self._terms.paths, self._state))
            notify_service_manager(self._terms.env, f"READY=1\nSTATUS=Serving on {self._state.url}")
            self._terms.announce(self._state)
            reason = await self._until_over(working, giving_way)
            working.cancel()  # a refresh that was sent is waited for below, while requests finish
            asked_at = loop.time()
            await self._finish(reason)
        finally:
            if not working.cancelling():  # a second cancellation would break off the wait for a refresh that was sent
                working.cancel()
            await self._answered(working, max(_WORK_S, _PLACE_S - (loop.time() - asked_at)))
            await self._runner.cleanup()
            await self._take_note_away()
            if signals.unfinished():
                await self._stay_for_answers(working)
        return UPGRADED if reason == "upgraded" else 0

    async def _take_note_away(self) -> None:
        with contextlib.suppress(StoreError):
            await off_loop(lambda: remove_state(self._terms.paths, self._state))

    async def _stay_for_answers(self, working: asyncio.Task[None]) -> None:
        """Wait for the answers to refreshes that were sent, as no gateway any more: another can take port and lock."""
        _log.info("the answer to a refresh that was sent is waited for, %g s at most", ANSWER_S)
        self._watch.guard(None)
        self._place.listener.close()
        self._place.lock.release()
        await self._answered(working, ANSWER_S)

    async def _answered(self, working: asyncio.Task[None], longest_s: float) -> None:
        """Return once the work has ended and every refresh that was sent is answered and stored, or time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await asyncio.wait([working])
                while signals.unfinished():  # noqa: ASYNC110 - what has to be finished runs on threads
                    await asyncio.sleep(_LOOK_FOR_END_S)

    async def _listen(self) -> None:
        self._accepting = self._place.listener.dup()
        await web.SockSite(self._runner, self._accepting, backlog=_ACCEPTED_AT_ONCE).start()
        self._place.listener.listen(_QUEUE)

    async def _stop_listening(self) -> None:
        # asyncio fails a connection that it has accepted and not yet set up when its server closes (`Server._attach`), and the
        # client sees a reset; so it does if a request that has come is not read any more. So accepting ends first, and what was
        # accepted is set up and read meanwhile.
        if sys.platform != "win32" and self._runner.sites:
            asyncio.get_running_loop().remove_reader(self._accepting)
            await asyncio.sleep(_READ_S)
        for site in [*self._runner.sites]:
            await site.stop()
        self._place.listener.close()

    async def _until_over(self, working: asyncio.Task[None], giving_way: asyncio.Future[None]) -> Reason:
        """Wait for a reason to end, or the end of the work, which never ends well."""
        upgrade: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if self._parts.upgraded is not None:
            upgrade = asyncio.create_task(self._parts.upgraded(), name="watch the installed version")
        reasons: set[asyncio.Future[Any]] = {working, self._ending, giving_way}
        try:
            await asyncio.wait({*reasons, upgrade}, return_when=asyncio.FIRST_COMPLETED)
            if not any(reason.done() for reason in reasons):
                if self._place.is_kept or has_manager(self._terms.env):
                    _log.warning("%s: ending, so that the service manager starts it", upgrade.result())
                    return "upgraded"
                # Nothing would start another, and this process has all of its code in memory.
                _log.warning("%s: to use it, run: portico gateway restart", upgrade.result())
                await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upgrade.cancel()
        if working.done():
            working.result()
        return "asked to end" if self._ending.done() or working.done() else "giving way"

    async def _finish(self, reason: Reason) -> None:
        """Take no more requests, and let those under way finish for as long as the `reason` allows."""
        if reason == "asked to end":
            _log.info("ending")
            notify_service_manager(self._terms.env, "STOPPING=1")
            await self._drain(DRAIN_S)
        elif reason == "upgraded" or self._place.is_kept:
            _log.info("ending, once the requests under way have finished, or after %g s", SERVICE_DRAIN_S)
            notify_service_manager(self._terms.env, "STOPPING=1")
            await self._drain_at_length(SERVICE_DRAIN_S)
        else:
            _log.info("giving way to another process")
            await self._stop_listening()
            self._watch.guard(None)
            await self._take_note_away()
            self._place.lock.release()
            await self._drain_at_length(_LONG_DRAIN_S, self._no_gateway())

    async def _drain_at_length(self, longest_s: float, *others: Coroutine[Any, Any, None]) -> None:
        """Drain for `longest_s` seconds; for `DRAIN_S` once the process is asked to end; no longer than one of `others` runs."""
        draining = asyncio.create_task(self._drain(longest_s), name="drain")
        watching = [asyncio.create_task(other) for other in others]
        await asyncio.wait([draining, self._ending, *watching], return_when=asyncio.FIRST_COMPLETED)
        for task in watching:
            task.cancel()
        if not draining.done():
            draining.cancel()
            await asyncio.wait([draining])
            await self._drain(DRAIN_S if self._ending.done() else 0)

    async def _drain(self, longest_s: float) -> None:
        """Take no more requests, and let those that were begun finish for as long as `longest_s` seconds."""
        await self._stop_listening()
        self._server.pre_shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):  # aiohttp waits twice: for each handler's end, then for its cancellation
                await self._server.shutdown(longest_s)

    async def _no_gateway(self) -> None:
        """Return once the state folder has no gateway any more: the one that this process gave way to was stopped."""
        left_s = _FIRST_GATEWAY_S
        while left_s > 0:
            await asyncio.sleep(_LOOK_FOR_GATEWAY_S)
            left_s = _WITHOUT_GATEWAY_S if await off_loop(self._place.lock.is_locked) else left_s - _LOOK_FOR_GATEWAY_S


def _settle_memory() -> None:
    """Leave what start-up made out of every later collection: only what requests make comes and goes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
