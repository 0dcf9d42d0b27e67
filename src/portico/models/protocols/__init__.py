"""The three protocols that models are called over: where a request goes, how one question is asked, how the answer is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from portico.models.protocols.completions import DONE, Completions
from portico.models.protocols.messages import Messages
from portico.models.protocols.responses import Responses

if TYPE_CHECKING:
    from collections.abc import Mapping

    from portico.interfaces.provider_spec import ApiKind
    from portico.models.protocols.question import ApiProtocol, Piece

PROTOCOLS: Final[Mapping[ApiKind, ApiProtocol]] = {
    "anthropic-messages": Messages(),
    "openai-completions": Completions(),
    "openai-responses": Responses(),
}


def read_event(protocol: ApiProtocol, data: bytes | str) -> Piece | None:
    """What the data of one event says; None if it is neither a JSON object nor the end of a stream of completions."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    if text.strip() == "[DONE]":
        return protocol.read(DONE)
    event = json_object(text)
    return None if event is None else protocol.read(event)


def json_object(data: bytes | str) -> Mapping[str, object] | None:
    """The JSON object that `data` is; None if it is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_json(data: bytes) -> bool:
    """Whether `data` is a whole JSON text."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True
