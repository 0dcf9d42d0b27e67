"""Read one line from the terminal in an event loop, such as a pasted redirect URL."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO

_LONGEST = 1 << 20  # bytes of a line; a redirect URL has a few thousand


async def read_line(stdin: TextIO) -> str:
    """Return one line from the terminal `stdin`, without its line end. On POSIX no input is lost after a cancel.

    Raises:
        EOFError: the input has ended.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    line: asyncio.Future[bytes] = loop.create_future()
    if sys.platform == "win32":
        # A console can be read only in a thread. After a cancel this thread still takes the next line.
        _read_in_thread(loop, line, stdin)
        return _decoded(await line)
    descriptor = _terminal_descriptor(stdin)
    loop.add_reader(descriptor, _collect, descriptor, line, bytearray())
    try:
        return _decoded(await line)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _terminal_descriptor(stdin: TextIO) -> int:
    # Open a new descriptor: O_NONBLOCK on the existing descriptor would also apply to the shell's.
    descriptor = stdin.fileno()
    try:
        return os.open(os.ttyname(descriptor), os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        return os.dup(descriptor)


def _collect(descriptor: int, line: Any, buffer: bytearray) -> None:
    chunk = os.read(descriptor, 65536)
    buffer += chunk
    if (not chunk or b"\n" in chunk or len(buffer) > _LONGEST) and not line.done():
        line.set_result(bytes(buffer))


def _read_in_thread(loop: Any, line: Any, stdin: TextIO) -> None:
    from threading import Thread

    def finish(raw: bytes) -> None:
        if not line.done():
            line.set_result(raw)

    def read() -> None:
        raw = stdin.readline(_LONGEST).encode()
        if not loop.is_closed():
            loop.call_soon_threadsafe(finish, raw)

    Thread(target=read, daemon=True, name="read-line").start()


def _decoded(raw: bytes) -> str:
    if not raw:
        raise EOFError("the input has ended")
    return raw.decode(errors="replace").splitlines()[0] if raw.strip(b"\r\n") else ""
