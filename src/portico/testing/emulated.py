"""Emulators on a separate thread, so that a test can run real commands against them and wait for each command."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from portico.emulation.run import EmulationInfo
    from portico.interfaces.plugins import Emulator, EmulatorOptions

_START_S = 20.0


@contextmanager
def emulated(emulators: Sequence[Emulator], options: EmulatorOptions, folder: Path) -> Iterator[EmulationInfo]:
    """Run `emulators` until the block ends. Yields the `EmulationInfo` of `portico.emulation.run.run_emulation`.

    Raises:
        PorticoError: they cannot be run with these options.
    """
    emulation = _EmulationThread(emulators, options, folder)
    thread = threading.Thread(target=emulation, name="emulation", daemon=True)
    thread.start()
    try:
        yield emulation.info()
    finally:
        emulation.stop()
        thread.join(_START_S)


class _EmulationThread:
    def __init__(self, emulators: Sequence[Emulator], options: EmulatorOptions, folder: Path) -> None:
        self._arguments = (emulators, options, folder)
        self._ready = threading.Event()
        self._info: EmulationInfo | None = None
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_event: asyncio.Event | None = None

    def __call__(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - re-raised on the test's thread
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from portico.emulation.run import run_emulation

        self._loop, self._stop_event = asyncio.get_running_loop(), asyncio.Event()
        async with run_emulation(*self._arguments) as info:
            self._info = info
            self._ready.set()
            await self._stop_event.wait()

    def info(self) -> EmulationInfo:
        assert self._ready.wait(_START_S)
        if self._info is None:
            raise self._failure or RuntimeError("the emulation did not start")
        return self._info

    def stop(self) -> None:
        if self._loop is not None and self._stop_event is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop_event.set)
