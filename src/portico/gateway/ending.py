"""Asking the gateway's process to end, and no other that has come to its id; and being asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALS: Final = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


def asked_to_end() -> asyncio.Future[None]:
    """A future that is done when this process is asked to end; from here on its signals do nothing else. Ignored ones stay so."""
    loop = asyncio.get_running_loop()
    ending: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not ending.done():
            ending.set_result(None)

    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(end))
        else:
            loop.add_signal_handler(number, end)
    return ending


def ask_to_end(pid: int, is_ours: Callable[[], bool]) -> None:
    """Send SIGTERM to process `pid`, if `is_ours` says so; nothing happens where the process has gone.

    On Linux the process is pinned first (pidfd_open(2)), so that what `is_ours` says cannot have become untrue of it.
    """
    with contextlib.suppress(ProcessLookupError):
        pinned = _pin(pid)
        try:
            if is_ours():
                _signal(pid, pinned)
        finally:
            if pinned is not None:
                os.close(pinned)


if sys.platform == "linux":

    def _pin(pid: int) -> int | None:
        try:
            return os.pidfd_open(pid)
        except ProcessLookupError:
            raise
        except OSError:
            return None  # older than Linux 5.3, or a sandbox without the call

    def _signal(pid: int, pinned: int | None) -> None:
        if pinned is None:
            os.kill(pid, signal.SIGTERM)
        else:
            signal.pidfd_send_signal(pinned, signal.SIGTERM)
else:

    def _pin(_pid: int) -> int | None:
        return None

    def _signal(pid: int, _pinned: int | None) -> None:
        os.kill(pid, signal.SIGTERM)
