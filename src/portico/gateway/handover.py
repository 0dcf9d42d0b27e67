"""One gateway process taking another's place while neither the port nor the lock is ever free.

The successor gets the listening socket and the lock's open file. What connects meanwhile waits in the socket's queue; what was
connected before is finished by the one that hands over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from portico.children import portico_environment
from portico.errors import UsageError
from portico.gateway.child import gateway_command, gateway_environment
from portico.gateway.state import gateway_lock
from portico.store.off_loop import off_loop, start_off_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.paths import Paths
    from portico.secret import Secret
    from portico.store.lock import FileLock

READY_S: Final = 20.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Seat:
    """What makes a process the gateway. `told` is a pipe's end for the predecessor to hear that this one answers."""

    listener: socket.socket
    lock: FileLock
    told: int | None = None

    def tell_ready(self) -> None:
        """Let the predecessor go."""
        if self.told is not None:
            with contextlib.suppress(OSError):
                os.write(self.told, b"1")
            with contextlib.suppress(OSError):
                os.close(self.told)


def inherited(paths: Paths, words: str) -> Seat:
    """The seat that the predecessor named: the numbers of three open files.

    Raises:
        UsageError: these are none.
        StoreError: the lock is not among them.
    """
    try:
        listener, locked, told = (int(word) for word in words.split(","))
        opened = socket.socket(fileno=listener)
    except (ValueError, OSError) as error:
        raise UsageError("usage", "--inherit is for a gateway that takes another's place.", why=str(error)) from None
    lock = gateway_lock(paths)
    lock.inherit(locked)
    return Seat(opened, lock, told)


async def hand_over(
    paths: Paths, seat: Seat, env: Mapping[str, str], passphrase: Secret | None
) -> subprocess.Popen[bytes] | None:
    """Start a successor on `seat` and wait until it answers; None where it does not, and the caller stays the gateway."""
    heard, told = os.pipe()
    os.set_blocking(heard, False)
    try:
        files = (seat.listener.fileno(), seat.lock.bequeath(), told)
        command = [*gateway_command(seat.listener.getsockname()[1]), "--inherit", ",".join(map(str, files))]
        starting = start_off_loop(lambda: _started(command, files, gateway_environment(paths, env), passphrase))
        heir = await _unless_cancelled(starting, seat)
    except OSError as error:
        _log.warning("no successor could be started: %s", error)
        os.close(heard)
        return None
    except asyncio.CancelledError:
        os.close(heard)
        raise
    finally:
        os.close(told)
    try:
        if await _answers(heard):
            return heir
    except asyncio.CancelledError:  # asked to end meanwhile: neither of the two is to stay
        await _end(heir, seat)
        raise
    await _end(heir, seat)
    _log.warning("the successor (pid %s) did not answer, and was ended", heir.pid)
    return None


async def _unless_cancelled(starting: asyncio.Future[subprocess.Popen[bytes]], seat: Seat) -> subprocess.Popen[bytes]:
    """The successor once it is started. It is ended if the caller is cancelled: nobody else would know that it is there."""
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait([starting])
        if starting.exception() is None:
            await _end(starting.result(), seat)
        raise


async def _end(heir: subprocess.Popen[bytes], seat: Seat) -> None:
    """Kill the successor, and note in the lock's file that this process is the gateway still."""
    heir.kill()
    await off_loop(heir.wait)
    await off_loop(lambda: _take_back(seat))


def _started(
    command: list[str], files: tuple[int, ...], env: Mapping[str, str], passphrase: Secret | None
) -> subprocess.Popen[bytes]:
    if passphrase is not None:
        command = [*command, "--passphrase-stdin"]
    stdin = subprocess.DEVNULL if passphrase is None else subprocess.PIPE
    heir = subprocess.Popen(command, env=portico_environment(env), stdin=stdin, pass_fds=files, cwd="/")
    if passphrase is not None and heir.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            heir.stdin.write(passphrase.reveal().encode() + b"\n")
            heir.stdin.close()
    return heir


async def _answers(heard: int) -> bool:
    """Whether the successor has said so within its time; its end closes the pipe."""
    loop = asyncio.get_running_loop()
    word: asyncio.Future[bytes] = loop.create_future()
    loop.add_reader(heard, lambda: None if word.done() else word.set_result(os.read(heard, 1)))
    try:
        async with asyncio.timeout(READY_S):
            return await word == b"1"
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(heard)
        os.close(heard)


def _take_back(seat: Seat) -> None:
    with contextlib.suppress(OSError):
        seat.lock.sign()


CAN_HAND_OVER: Final = sys.platform != "win32"
"""Windows passes no listening socket on this way: there a restart is what brings in new code."""
