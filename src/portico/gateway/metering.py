"""Token counts, read from answers as they pass. Nothing waits for the reading, and no text of an answer is kept."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from portico.gateway.body import json_in
from portico.models.server_events import LineEnds
from portico.models.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.models.protocols.question import ApiProtocol, Piece

# An event that tells counts is small; of a longer one only the end is kept, and it is not understood.
_LONGEST_EVENT: Final = 1 << 20
_TELLING: Final = re.compile(rb'usage": ?\{|"error"|\[DONE\]|message_stop|response\.(?:completed|incomplete|failed)')


class StreamMeter:
    """The counts of a stream of events. `whole`: its own end was seen; `refused`: the provider's words where it broke off."""

    def __init__(self, protocol: ApiProtocol) -> None:
        self._protocol = protocol
        self._ends = LineEnds()
        self._rest = b""
        self.usage: Usage | None = None
        self.whole = False
        self.refused: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Read what has just passed."""
        data = self._ends.as_lf(chunk)
        data = self._rest + data if self._rest else data
        end = data.rfind(b"\n\n")
        if end < 0:
            self._rest = data[-_LONGEST_EVENT:]
            return
        self._rest = data[end + 2 :]
        at = 0
        while (found := _TELLING.search(data, at, end)) is not None:
            start, at = data.rfind(b"\n\n", 0, found.start()) + 1, data.find(b"\n\n", found.end())
            piece = piece_of(self._protocol, event_data(data[start:at].strip(b"\n")))
            if piece is not None:
                self._read(piece)

    def broke_off(self) -> bool:
        """After the last piece of a stream that ends with its connection: whether that was in the middle.

        Its own end may lack the empty line after it. Not every server of completions sends `[DONE]`: such a stream may also end
        between two events.
        """
        last = self._rest.strip(b"\n")
        self.feed(b"\n\n")
        in_an_event = bool(last) and not is_json(event_data(last) or b"")
        return not self.whole and (in_an_event or self._protocol.api != "openai-completions")

    def _read(self, piece: Piece) -> None:
        if piece.usage is not None:
            self.usage = (self.usage or Usage()).updated(piece.usage)
        self.whole = self.whole or piece.end
        self.refused = piece.refused or self.refused


def first_event(data: bytes) -> bytes | None:
    """The data of the first event that has come whole; None where none has. Events of comments only are none."""
    for block in data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n\n")[:-1]:
        if (text := event_data(block)) is not None:
            return text
    return None


def event_data(block: bytes) -> bytes | None:
    """The data of one event's lines (HTML Standard, server-sent events); None where it has none."""
    lines = [line[5:].removeprefix(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def piece_of(protocol: ApiProtocol, data: bytes | None) -> Piece | None:
    """What an event says; None where it is no JSON object of the protocol's."""
    from portico.models.protocols.completions import DONE

    if data is None:
        return None
    if data.strip() == b"[DONE]":
        return protocol.read(DONE)
    event = object_in(data)
    return None if event is None else protocol.read(event)


def is_json(data: bytes) -> bool:
    """Whether `data` is a whole JSON text."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def object_in(data: bytes) -> Mapping[str, object] | None:
    """The JSON object that `data` is; None where it is none."""
    try:
        value = json_in(data.decode()) if data.startswith(b"{") else json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
