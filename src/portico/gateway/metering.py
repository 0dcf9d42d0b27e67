"""Token counts, read from answers as they pass. Nothing waits for the reading, and no text of an answer is kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from portico.models.protocols import is_json, read_event
from portico.models.usage import Usage
from portico.net.sse import EventParser

if TYPE_CHECKING:
    from portico.models.protocols.question import ApiProtocol, Piece

# An event that tells counts is small.
_LONGEST_EVENT: Final = 1 << 20
_TELLING: Final = re.compile(rb'usage": ?\{|"error"|\[DONE\]|message_stop|response\.(?:completed|incomplete|failed)')


class StreamMeter:
    """The counts of a stream of events. `whole`: its own end was seen; `refused`: the provider's words where it broke off."""

    def __init__(self, protocol: ApiProtocol) -> None:
        self._protocol = protocol
        self._events = EventParser(_LONGEST_EVENT)
        self.usage: Usage | None = None
        self.whole = False
        self.refused: str | None = None

    def feed(self, chunk: bytes) -> None:
        """Read what has just passed."""
        for data in self._events.feed(chunk):
            if _TELLING.search(data) and (piece := read_event(self._protocol, data)) is not None:
                self._read(piece)

    def broke_off(self) -> bool:
        """After the last piece of a stream that ends with its connection: whether that was in the middle.

        Its own end may lack the empty line after it. Not every server of completions sends `[DONE]`: such a stream may also end
        between two events.
        """
        within_event = self._events.is_within_event and not is_json(self._events.rest or b"")
        self.feed(b"\n\n")
        return not self.whole and (within_event or self._protocol.api != "openai-completions")

    def _read(self, piece: Piece) -> None:
        if piece.usage is not None:
            self.usage = (self.usage or Usage()).updated(piece.usage)
        self.whole = self.whole or piece.end
        self.refused = piece.refused or self.refused
