"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as much of them as model APIs use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_EVENT_LIMIT: Final = 4 * 1024 * 1024


class LineEnds:
    """Turns each CRLF and CR of a stream into LF, also where a CRLF is cut between two chunks.

    A CR ends its line at once: the last one of a stream has nothing behind it to wait for.
    """

    def __init__(self) -> None:
        self._after_cr = False

    def as_lf(self, chunk: bytes) -> bytes:
        """The next chunk of the stream, with LF as its only line end."""
        if not chunk:
            return chunk
        data = chunk.removeprefix(b"\n") if self._after_cr else chunk
        self._after_cr = chunk.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The `data` of each event; lines end in LF, CRLF or CR, and an event that the stream's end cuts off is dropped.

    Raises:
        NetworkError: `event-too-long`: 4 MiB came without an end of line, or without an end of the event.
    """
    data: list[str] = []
    size = 0
    async for line in _lines(chunks):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" ").decode(errors="replace"))
            size += len(line)
            if size > _EVENT_LIMIT:
                raise _too_long()
        elif not line and data:
            yield "\n".join(data)
            data.clear()
            size = 0


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest, ends = b"", LineEnds()
    async for chunk in chunks:
        *lines, rest = (rest + ends.as_lf(chunk)).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > _EVENT_LIMIT:
            raise _too_long()


def _too_long() -> NetworkError:
    return NetworkError("event-too-long", "The answer broke off.", why="an event of it is too long to be one")
