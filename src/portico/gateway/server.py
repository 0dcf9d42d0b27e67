"""One gateway process, in the foreground: from the bound port to the drained end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from portico.contracts import Redirect
from portico.errors import ConfigError, LockBusy, NoWayToSignIn, StoreError
from portico.gateway.app import make_server
from portico.gateway.ending import asked_to_end
from portico.gateway.proof import new_key
from portico.gateway.state import GatewayState, gateway_lock, read_state, remove_state, write_state
from portico.oauth.loopback import bind_loopback
from portico.store.off_loop import off_loop

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from portico.contracts import Clock
    from portico.paths import Paths
    from portico.store.lock import FileLock

_SHUTDOWN_S: Final = 5.0
# asyncio accepts as many as the backlog in one go, before the server hears of any and can close others for them. So it is told
# a small one, and the system a larger one.
_ACCEPTED_AT_ONCE: Final = 16
_QUEUE: Final = 128
_LOOKING_S: Final = 1.0
_TRY_EVERY_S: Final = 0.005

_log = logging.getLogger(__name__)


def run_gateway(
    paths: Paths,
    port: int,
    work: Callable[[], Coroutine[object, object, None]],
    *,
    clock: Clock,
    opens_sealed: bool,
    announce: Callable[[GatewayState], None],
) -> None:
    """Serve on 127.0.0.1:`port` (0: any) and do `work`, until a signal asks to end; then let what was begun finish.

    The caller's process is the gateway from now on, and should end when this returns.
    `announce` is called once it answers; `opens_sealed` says that `work` has the sealed file store's passphrase.

    Raises:
        LockBusy: `gateway-running`: this state folder has one.
        ConfigError: `port-taken`.
        StoreError: its state file cannot be written.
    """
    lock = _taken_lock(paths)
    try:
        listener = bound(port)
    except BaseException:
        lock.release()
        raise
    # From here on the lock goes with the process, so that whoever finds it free knows that the process is gone.
    with listener:
        port, instance = listener.getsockname()[1], secrets.token_hex(8)
        state = GatewayState(os.getpid(), port, clock.wall_ms(), instance, new_key(), opens_sealed)
        asyncio.run(_serve(paths, state, listener, work, announce))


def _taken_lock(paths: Paths) -> FileLock:
    """The lock of the state folder's gateway, held by this process; one that only looks at it is waited for."""
    lock = gateway_lock(paths)
    deadline = time.monotonic() + _LOOKING_S
    while not lock.try_acquire():
        if lock.is_taken() or time.monotonic() > deadline:
            raise already_running(paths)
        time.sleep(_TRY_EVERY_S)
    return lock


def bound(port: int) -> socket.socket:
    """A listening socket on 127.0.0.1.

    Raises:
        ConfigError: `port-taken`.
    """
    try:
        return bind_loopback(Redirect(port=port))[0]
    except NoWayToSignIn as error:
        raise ConfigError(
            "port-taken",
            f"port {port} on 127.0.0.1 cannot be used",
            why=error.why,
            hint="choose another: {prog} gateway start --port PORT, or {prog} config set gateway.port PORT",
        ) from None


def already_running(paths: Paths) -> LockBusy:
    """The error for a second gateway of one state folder."""
    state = read_state(paths)
    who = f"process {state.pid}, port {state.port}" if state is not None else f"process {gateway_lock(paths).holder() or '?'}"
    hint = "look at it: {prog} gateway status; or start it anew: {prog} gateway restart"
    return LockBusy("gateway-running", "a gateway is already running", why=who, hint=hint)


async def _serve(
    paths: Paths,
    state: GatewayState,
    listener: socket.socket,
    work: Callable[[], Coroutine[object, object, None]],
    announce: Callable[[GatewayState], None],
) -> None:
    ending = asked_to_end()
    runner = web.ServerRunner(make_server(state), shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    working = asyncio.create_task(work(), name="gateway work")
    try:
        await web.SockSite(runner, listener, backlog=_ACCEPTED_AT_ONCE).start()
        listener.listen(_QUEUE)
        await off_loop(lambda: write_state(paths, state))
        announce(state)
        await asyncio.wait([working, ending], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        _log.info("ending")
    finally:
        working.cancel()
        await asyncio.wait([working])
        await runner.cleanup()
        with contextlib.suppress(StoreError):
            await off_loop(lambda: remove_state(paths, state))
