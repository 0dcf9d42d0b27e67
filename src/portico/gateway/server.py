"""One gateway process in the foreground, from binding its port to draining its last request.

It admits programs of this machine, answers `/health`, and passes requests with a gateway key to `Front`.
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
from portico.gateway.access import HEALTH, answer, local_hosts, most_connections, not_understood, refused, rejection
from portico.gateway.port import bind_port, inherited_socket
from portico.gateway.shutdown import ANSWER_S, DRAIN_S, end_signal, replace_signal
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
    from portico.gateway.shutdown import EndWatch
    from portico.interfaces.basics import Clock
    from portico.paths import Paths
    from portico.util.lock import FileLock

# Enough streams for many tools. Each stream needs a second connection (to a provider), and the process's open files are
# limited.
BOUNDS: Final = Bounds(idle_s=75.0, connections=2048, lingers_s=2.0, cancels=True)


class GatewayRunning(LockBusy):
    """A gateway of this state folder is already running."""

    id = "gateway-running"


def make_server(state: GatewayState, front: Front | None, bounds: Bounds = BOUNDS) -> QuietServer:
    """The server of one gateway process.

    `/health` needs no key, shows no secret and responds to a challenge. Without a `front`, the server has no other path.
    """
    hosts = local_hosts(state.port)

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        rejected = rejection(request, hosts)
        if rejected is not None:
            return rejected
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


# Seconds until the connection of an unfinished request is aborted after the drain.
_ABORT_S: Final = 0.5
# Longest drain while a new gateway already serves requests.
_LONG_DRAIN_S: Final = 600.0
SERVICE_DRAIN_S: Final = 30.0
"""Longest drain in seconds while the next process waits for the end of this process."""
_READ_S: Final = 0.05  # seconds from accepting a connection to reading its request
_CHECK_UNFINISHED_EVERY_S: Final = 0.05
# Seconds to wait for a refresh before port and lock are released: after an end signal, and after an error.
_REFRESH_S: Final = 3.7
_LEAST_REFRESH_S: Final = 0.5
# asyncio accepts a whole backlog of connections before the server can close idle connections to make room. So asyncio gets a
# small backlog, and the system a large backlog.
_ACCEPTED_AT_ONCE: Final = 16
_BACKLOG: Final = 1024
# Thresholds of the garbage collector: a request creates and drops hundreds of objects, but hardly any reference cycles.
_GC_THRESHOLDS: Final = (10_000, 20, 20)
_LOCK_WAIT_S: Final = 1.0
_LOCK_RETRY_S: Final = 0.005
# How long this process waits for another gateway: at first until the new gateway starts, later while the lock is free. Between
# two gateways the lock is free for a moment.
_CHECK_GATEWAY_EVERY_S: Final = 0.25
_FIRST_GATEWAY_S: Final = 20.0
_WITHOUT_GATEWAY_S: Final = 3.0
UPGRADED: Final = 75
"""Exit code that makes the service manager start the newly installed version (EX_TEMPFAIL of sysexits(3))."""

_log = logging.getLogger(__name__)
T = TypeVar("T")
Reason = Literal["end signal", "replaced", "upgraded"]


@dataclass(frozen=True, slots=True)
class Inside:
    """The parts of a running gateway: `work` in the background, and `front` for requests (None: only `/health` is served).

    `upgraded` returns when the installed version is no longer the version of this process. It returns a sentence that names
    both.
    """

    work: Callable[[], Coroutine[object, object, None]]
    front: Front | None = None
    upgraded: Callable[[], Coroutine[object, object, str]] | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How a gateway process runs. `announce` is called when it serves; `opens_encrypted_file`: it has the passphrase."""

    paths: Paths
    port: int
    clock: Clock
    env: Mapping[str, str]
    announce: Callable[[GatewayState], None]
    opens_encrypted_file: bool = False


def take_place(paths: Paths) -> FileLock:
    """Take the lock that makes this process the gateway of its state folder.

    Call this first: from then on `gateway stop` finds the process, and the rest of the start takes time. The system releases
    the lock when the process ends. If another process only tests the lock, this function tries again.

    Raises:
        LockBusy: `gateway-running`: this state folder has a gateway.
    """
    lock = gateway_lock(paths)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while not lock.try_acquire():
        if lock.is_locked() or time.monotonic() > deadline:
            raise already_running(paths)
        time.sleep(_LOCK_RETRY_S)
    return lock


def run_gateway(
    terms: Terms, watch: EndWatch, lock: FileLock, inside: Callable[[int], AbstractAsyncContextManager[Inside]]
) -> int:
    """Enter `inside`, then serve on 127.0.0.1 until there is a reason to end. Blocking.

    `inside` gets the start time in ms since the epoch. The port is bound only when requests can be answered, unless a service
    manager keeps the port open. When this function returns, end the process.

    Returns:
        The exit code: `UPGRADED` if the service manager must start the newly installed version.

    Raises:
        ConfigError: `port-taken`.
        UsageError: the service manager passed something other than a socket for a gateway.
        StoreError: the state file cannot be written.
    """
    return asyncio.run(_serve(terms, watch, lock, inside))


def already_running(paths: Paths) -> LockBusy:
    """The error for a second gateway of one state folder."""
    state = read_state(paths)
    process = (
        f"process {state.pid}, port {state.port}" if state is not None else f"process {gateway_lock(paths).owner_pid() or '?'}"
    )
    hint = "to look at it: {prog} gateway status; to start another in its place: {prog} gateway restart"
    return GatewayRunning("a gateway is already running", why=process, hint=hint)


async def _serve(
    terms: Terms, watch: EndWatch, lock: FileLock, inside: Callable[[int], AbstractAsyncContextManager[Inside]]
) -> int:
    ended, started_at = end_signal(), terms.clock.wall_ms()
    async with contextlib.AsyncExitStack() as stack:
        parts: Inside | None = await _unless_ended(ended, stack.enter_async_context(inside(started_at)))
        if parts is None:
            return 0
        inherited = inherited_socket(terms.env)
        listener = stack.enter_context(await off_loop(lambda: bind_port(terms.port)) if inherited is None else inherited)
        port, instance = listener.getsockname()[1], secrets.token_hex(8)
        if inherited is not None and terms.port not in {0, port}:
            _log.warning("the service manager keeps port %s, not %s: to change it, install the service again", port, terms.port)
        state = GatewayState(os.getpid(), port, started_at, instance, new_key(), terms.opens_encrypted_file, __version__)
        place = Place(listener, lock, is_inherited=inherited is not None)
        return await _Process(terms, watch, state, place, parts, ended).run()


async def _unless_ended(ended: asyncio.Future[None], work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of `work`. If an end signal comes first, cancel `work` and return None."""
    task: asyncio.Future[T] = asyncio.ensure_future(work)
    await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait([task])
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """The lock, socket and state file that make a process the gateway.

    `is_inherited`: the service manager keeps the socket open for the next process too.
    """

    listener: socket.socket
    lock: FileLock
    is_inherited: bool


class _Process:
    def __init__(
        self,
        terms: Terms,
        watch: EndWatch,
        state: GatewayState,
        place: Place,
        parts: Inside,
        ended: asyncio.Future[None],
    ) -> None:
        self._terms = terms
        self._watch = watch
        self._state = state
        self._place = place
        self._parts = parts
        self._ended = ended
        self._server = make_server(state, parts.front, replace(BOUNDS, connections=most_connections()))
        self._runner = web.ServerRunner(self._server, shutdown_timeout=_ABORT_S)

    async def run(self) -> int:
        await self._runner.setup()
        working, loop = asyncio.create_task(self._parts.work(), name="gateway work"), asyncio.get_running_loop()
        replaced = replace_signal()
        reason, reason_at = None, loop.time()
        try:
            _freeze_memory()
            await self._listen()
            await off_loop(lambda: write_state(self._terms.paths, self._state))
            notify_service_manager(self._terms.env, f"READY=1\nSTATUS=Serving on {self._state.url}")
            self._terms.announce(self._state)
            reason = await self._wait_for_reason(working, replaced)
            working.cancel()  # the wait for a refresh that was sent continues below, while requests finish
            reason_at = loop.time()
            await self._finish(reason)
        finally:
            if not working.cancelling():  # a second cancellation would stop the wait for a refresh that was sent
                working.cancel()
            await self._wait_for_refreshes(working, max(_LEAST_REFRESH_S, _REFRESH_S - (loop.time() - reason_at)))
            await self._runner.cleanup()
            await self._remove_state()
            if signals.unfinished():
                await self._release_and_wait(working)
        return UPGRADED if reason == "upgraded" else 0

    async def _remove_state(self) -> None:
        with contextlib.suppress(StoreError):
            await off_loop(lambda: remove_state(self._terms.paths, self._state))

    async def _release_and_wait(self, working: asyncio.Task[None]) -> None:
        """Release port and lock, so that another gateway can start, and wait for the responses to refreshes that were sent."""
        _log.info("waiting for the response to a refresh that was sent, %g s at most", ANSWER_S)
        self._watch.guard(None)
        self._place.listener.close()
        self._place.lock.release()
        await self._wait_for_refreshes(working, ANSWER_S)

    async def _wait_for_refreshes(self, working: asyncio.Task[None], longest_s: float) -> None:
        """Wait up to `longest_s` seconds until the work has ended, and each refresh that was sent is answered and stored."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await asyncio.wait([working])
                while signals.unfinished():  # noqa: ASYNC110 - the unfinished work runs on threads
                    await asyncio.sleep(_CHECK_UNFINISHED_EVERY_S)

    async def _listen(self) -> None:
        self._accepting = self._place.listener.dup()
        await web.SockSite(self._runner, self._accepting, backlog=_ACCEPTED_AT_ONCE).start()
        self._place.listener.listen(_BACKLOG)

    async def _stop_listening(self) -> None:
        # If a server closes, asyncio resets connections that it has accepted but not yet set up (`Server._attach`). The client
        # of an unread request sees a reset too. So the gateway first stops accepting connections, and then gives accepted
        # connections time to be set up and read.
        if sys.platform != "win32" and self._runner.sites:
            asyncio.get_running_loop().remove_reader(self._accepting)
            await asyncio.sleep(_READ_S)
        for site in [*self._runner.sites]:
            await site.stop()
        self._place.listener.close()

    async def _wait_for_reason(self, working: asyncio.Task[None], replaced: asyncio.Future[None]) -> Reason:
        """Wait for a reason to end. The work ends only by an error, which is then raised."""
        upgrade: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if self._parts.upgraded is not None:
            upgrade = asyncio.create_task(self._parts.upgraded(), name="watch the installed version")
        reasons: set[asyncio.Future[Any]] = {working, self._ended, replaced}
        try:
            await asyncio.wait({*reasons, upgrade}, return_when=asyncio.FIRST_COMPLETED)
            if not any(reason.done() for reason in reasons):
                if self._place.is_inherited or has_manager(self._terms.env):
                    _log.warning("%s: ending, so that the service manager starts it", upgrade.result())
                    return "upgraded"
                # Without a service manager nothing would start the next process. This process has all of its code in memory, so
                # it continues.
                _log.warning("%s: to use it, run: portico gateway restart", upgrade.result())
                await asyncio.wait(reasons, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upgrade.cancel()
        if working.done():
            working.result()
        return "end signal" if self._ended.done() or working.done() else "replaced"

    async def _finish(self, reason: Reason) -> None:
        """Accept no more requests. Running requests may finish, for as long as the `reason` allows."""
        if reason == "end signal":
            _log.info("ending")
            notify_service_manager(self._terms.env, "STOPPING=1")
            await self._drain(DRAIN_S)
        elif reason == "upgraded" or self._place.is_inherited:
            _log.info("ending after the running requests, or after %g s", SERVICE_DRAIN_S)
            notify_service_manager(self._terms.env, "STOPPING=1")
            await self._drain_at_length(SERVICE_DRAIN_S)
        else:
            _log.info("replaced by another process; finishing the running requests")
            await self._stop_listening()
            self._watch.guard(None)
            await self._remove_state()
            self._place.lock.release()
            await self._drain_at_length(_LONG_DRAIN_S, self._wait_for_no_gateway())

    async def _drain_at_length(self, longest_s: float, *conditions: Coroutine[Any, Any, None]) -> None:
        """Drain for `longest_s` seconds at most. Stop earlier if one of `conditions` ends, or `DRAIN_S` after an end signal."""
        draining = asyncio.create_task(self._drain(longest_s), name="drain")
        watching = [asyncio.create_task(condition) for condition in conditions]
        await asyncio.wait([draining, self._ended, *watching], return_when=asyncio.FIRST_COMPLETED)
        for task in watching:
            task.cancel()
        if not draining.done():
            draining.cancel()
            await asyncio.wait([draining])
            await self._drain(DRAIN_S if self._ended.done() else 0)

    async def _drain(self, longest_s: float) -> None:
        """Accept no more requests. Running requests may finish, for up to `longest_s` seconds."""
        await self._stop_listening()
        self._server.pre_shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):  # aiohttp waits twice: for each handler's end, then for its cancellation
                await self._server.shutdown(longest_s)

    async def _wait_for_no_gateway(self) -> None:
        """Return when the gateway that replaced this process was stopped, so that the state folder has no gateway any more."""
        left_s = _FIRST_GATEWAY_S
        while left_s > 0:
            await asyncio.sleep(_CHECK_GATEWAY_EVERY_S)
            left_s = _WITHOUT_GATEWAY_S if await off_loop(self._place.lock.is_locked) else left_s - _CHECK_GATEWAY_EVERY_S


def _freeze_memory() -> None:
    """Exclude all objects of the start-up from garbage collection, because they stay until the process ends."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
