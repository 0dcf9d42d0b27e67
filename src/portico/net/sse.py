"""Parse server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from portico.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

EVENT_STREAM: Final = "text/event-stream"
EVENT_LIMIT: Final = 4 << 20
"""The maximum length of a model API's event in bytes."""
_MARK: Final = b"\xef\xbb\xbf"


class EventTooLong(NetworkError):
    """An event of a stream is longer than the limit."""

    id = "event-too-long"


class EventParser:
    """Parses one stream of events, in chunks of any size.

    Lines end in LF, CRLF or CR. A byte order mark before the first line and all fields but `data` are ignored. An event of more
    than `limit` bytes is dropped and sets `overlong`. An event without its final empty line is not returned.
    """

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self.overlong = False
        self._limit = limit
        self._rest = bytearray()
        self._mark: bytes | None = b""
        self._after_cr = False
        self._dropping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of each event that `chunk` completes. Events without data are ignored."""
        return [*self.events(self.blocks(chunk))]

    def blocks(self, chunk: bytes) -> bytes:
        """Return the raw events that `chunk` completes, separated by empty lines. `events` parses them."""
        data = chunk if self._mark is None else self._without_mark(chunk)
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if not self._rest and data.endswith(b"\n\n"):
            return data[:-2]
        searched = max(0, len(self._rest) - 1)
        self._rest += data
        end = self._rest.rfind(b"\n\n", searched)
        found = bytes(self._rest[: max(end, 0)])
        if end >= 0:
            del self._rest[: end + 2]
            if self._dropping:
                self._dropping, found = False, found.partition(b"\n\n")[2]
        if len(self._rest) > self._limit:
            self.overlong = self._dropping = True
            del self._rest[:-1]  # the last byte may be the first of an empty line
        return found

    def events(self, blocks: bytes) -> Iterator[bytes]:
        """The data of each event in the result of `blocks`."""
        for block in blocks.split(b"\n\n"):
            if len(block) > self._limit:
                self.overlong = True
            elif (data := event_data(block)) is not None:
                yield data

    @property
    def is_within_event(self) -> bool:
        """Whether the last event is incomplete: its final empty line has not arrived."""
        return self._dropping or bool(self._rest.strip(b"\n"))

    @property
    def rest(self) -> bytes | None:
        """The data of the incomplete last event so far; None if it has none."""
        return None if self._dropping else event_data(bytes(self._rest))

    def _without_mark(self, chunk: bytes) -> bytes:
        start = (self._mark or b"") + chunk
        if len(start) < len(_MARK) and _MARK.startswith(start):
            self._mark = start
            return b""
        self._mark = None
        return start.removeprefix(_MARK)

    def _with_lf(self, chunk: bytes) -> bytes:
        """`chunk` with all line ends as LF. A CR ends its line at once; at the end of a stream, no LF may follow."""
        if not chunk:
            return chunk
        data = chunk.removeprefix(b"\n") if self._after_cr else chunk
        self._after_cr = chunk.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def event_data(block: bytes) -> bytes | None:
    """The data of one raw event; None if it has no `data` line."""
    before, found, data = block.rpartition(b"data:")
    if found and before[-1:] in {b"", b"\n"} and b"\n" not in data and b"data" not in before:
        return data.removeprefix(b" ")  # the usual case: one `data` line
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(lines) if lines else None


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event of a stream, as text.

    Raises:
        NetworkError: `event-too-long`: an event has more than `EVENT_LIMIT` bytes.
    """
    events = EventParser()
    async for chunk in chunks:
        for data in events.feed(chunk):
            yield data.decode(errors="replace")
        if events.overlong:
            raise EventTooLong("The answer broke off.", why="one of its events is too long")
