"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as much of them as model APIs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_EVENT_LIMIT: Final = 4 * 1024 * 1024


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The `data` of each event; lines end in LF, CRLF or CR, and an event that the stream's end cuts off is dropped.

    Raises:
        NetworkError: `event-too-long`: 4 MiB came without an end of line.
    """
    data: list[str] = []
    async for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" ").decode(errors="replace"))
        elif not line and data:
            yield "\n".join(data)
            data.clear()


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in chunks:
        rest += chunk
        # A CR at the end may be the first half of a CRLF: it waits for the next chunk.
        whole = rest[:-1] if rest.endswith(b"\r") else rest
        *lines, tail = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield line
        rest = tail + rest[len(whole) :]
        if len(rest) > _EVENT_LIMIT:
            raise NetworkError("event-too-long", "The answer broke off.", why="an event of it is too long to be one")
